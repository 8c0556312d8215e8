"""How far a contender's answer may be from its model's before its time is worth nothing.

In units of the largest magnitude of the expected answer. The form for inference was held to
:data:`latency.preparation.TOLERANCE` in float32 before; what is allowed here is for rounding. The largest that
sound contenders showed, at their own sizes: EfficientViM 2.3e-6 in fp32, 3.5e-3 in fp16, 2.6e-2 in bf16; its
peers 1.9e-5, 4.7e-2 and 1.7e-1, where most stay below a tenth of that.
"""

from __future__ import annotations

_OURS = {"fp32": 1e-4, "fp16": 2e-2, "bf16": 1e-1, "int8": 0.7, "dynamic": 0.7}
_OTHERS = {"fp32": 1e-4, "fp16": 1e-1, "bf16": 3e-1}


def allowed(kind: str, precision: str, stored: str) -> float:
    """What a subject of a kind may be off.

    Args:
        kind: As :class:`latency.subjects.Subject` has it.
        precision: That the engine computes in.
        stored: Precision of the file, which may be coarser.
    """
    table = _OTHERS if kind == "peer" else _OURS
    return max(table[precision], table[stored])
