"""The largest error of a case's output, above which its time is invalid.

Errors are relative to the largest magnitude of the expected output. The inference form is compared in float32 first,
within :data:`latency.preparation.TOLERANCE`; these tolerances allow for rounding. The largest errors of correct cases,
at their native sizes: EfficientViM 2.3e-6 in fp32, 3.5e-3 in fp16, 2.6e-2 in bf16; its peers 1.9e-5, 4.7e-2 and 1.7e-1,
where most stay below a tenth of that.

Quantised files are calibrated on photographs, but timed on noise, whose values exceed the calibrated range and are
clipped. M1 to M4 at their native sizes, and M1 and digits at 64x64, showed 5.1e-1 in int8, 2.2e-1 in dynamic, 1.2e-1 in
int16x8 in ONNX Runtime, OpenVINO and LiteRT; the simulation of Core ML's 5.7e-2 in int8 and pal8, 1.5e-1 in pal6,
4.6e-1 in pal4, 3.8e-1 in int4, 2.9e-1 in w8a8. These tolerances detect a broken file; a small loss of accuracy is the
parity check's concern.
"""

from __future__ import annotations

from latency.enums import SubjectKind

_PEERS = {"fp32": 1e-4, "fp16": 1e-1, "bf16": 3e-1}
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


def max_error(kind: SubjectKind, precision: str, file_precision: str) -> float:
    """The largest relative error allowed for a case.

    Args:
        kind: Kind of the subject.
        precision: Precision that the engine computes in.
        file_precision: Precision of the file, which may be lower.
    """
    table = _PEERS if kind == SubjectKind.PEER else _OURS
    return max(table[precision], table[file_precision])
