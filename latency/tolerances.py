"""How far a contender's answer may be from its model's before its time is worth nothing.

In units of the largest magnitude of the expected answer. The form for inference was held to
:data:`latency.preparation.TOLERANCE` in float32 before; what is allowed here is for rounding. The largest that
sound contenders showed, at their own sizes: EfficientViM 2.3e-6 in fp32, 3.5e-3 in fp16, 2.6e-2 in bf16; its
peers 1.9e-5, 4.7e-2 and 1.7e-1, where most stay below a tenth of that.

Quantised files are calibrated on photographs, and what is timed is noise, which reaches further: it is clipped. M1 to
M4 at their own sizes, and M1 and digits at 64x64, showed 5.1e-1 in int8, 2.2e-1 in dynamic, 1.2e-1 in int16x8 in ONNX
Runtime, OpenVINO and LiteRT; the simulation of Core ML's 5.7e-2 in int8 and pal8, 1.5e-1 in pal6, 4.6e-1 in pal4,
3.8e-1 in int4, 2.9e-1 in w8a8. It finds a file that is broken, not one that is a little worse: that is for a proof.
"""

from __future__ import annotations

_OTHERS = {"fp32": 1e-4, "fp16": 1e-1, "bf16": 3e-1}
_OURS = {
    "fp32": 1e-4,
    "fp16": 2e-2,
    "bf16": 1e-1,
    "int8": 7e-1,
    "dynamic": 4e-1,
    "int16x8": 3e-1,
    "pal8": 2e-1,
    "pal6": 3e-1,
    "pal4": 7e-1,
    "int4": 7e-1,
    "w8a8": 6e-1,
}


def allowed(kind: str, precision: str, stored: str) -> float:
    """What a subject of a kind may be off.

    Args:
        kind: As :class:`latency.subjects.Subject` has it.
        precision: That it is timed in.
        stored: Precision of the file, which may be coarser.
    """
    table = _OTHERS if kind == "peer" else _OURS
    return max(table[precision], table[stored])
