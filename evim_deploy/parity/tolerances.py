"""How far an artifact may be from its reference: one table, by format and arithmetic.

Errors are of the range of the reference's output. Of float16 the flat and the strange pictures (black,
saturated colours, noise) have the largest: all tokens round alike there, and nothing averages out.

The distributions are of untrained weights over the standard inputs: 60 random tiny variants, and M1 to M4 plain and
distilled at their native size, each with its median and its largest. They were taken with each image's own range as
the unit, which is never above the usual one. ``python tests/distribution.py`` measures such distributions.
"""

from __future__ import annotations

from evim_deploy.parity.result import Tolerance

_ORDER = "float32 adds in another order"
_WEIGHTS = "weights rounded to 11 bits"

TOLERANCES = {
    ("pytorch", "fp32"): Tolerance(5e-5, 5e-6, _ORDER, "tiny 1.6e-6 to 1.3e-5, native 2.7e-6 to 4e-6; mean to 1.1e-6"),
    ("onnx", "fp32"): Tolerance(5e-5, 5e-6, _ORDER, "tiny 1.3e-6 to 1.8e-5, native 2.3e-6 to 5.2e-6; mean to 9.8e-7"),
    ("tflite", "fp32"): Tolerance(5e-5, 5e-6, _ORDER, "tiny 1.6e-6 to 7.9e-6, native 3.1e-6 to 5.7e-6; mean to 8.8e-7"),
    ("coreml", "fp32"): Tolerance(5e-5, 5e-6, _ORDER, "tiny 9.8e-7 to 7.6e-6, native 1.7e-6 to 3.7e-6; mean to 9.4e-7"),
    ("onnx", "fp16"): Tolerance(
        5e-2,
        5e-3,
        f"{_WEIGHTS}, and values between operations",
        "tiny 3.5e-3 to 2.0e-2, native 5.3e-3 to 9.5e-3; mean to 2.0e-3",
    ),
    ("tflite", "fp16"): Tolerance(
        5e-2, 5e-3, _WEIGHTS, "tiny 3.6e-3 to 2.5e-2, native 9.3e-3 to 1.4e-2; mean to 1.6e-3"
    ),
    ("coreml", "fp16"): Tolerance(
        5e-2,
        5e-3,
        f"{_WEIGHTS}, and every value",
        "tiny 5.2e-3 to 2.6e-2, native 1.1e-2 to 1.4e-2; mean to 2.8e-3",
    ),
    ("coreml", "ane"): Tolerance(
        5e-2,
        5e-3,
        f"{_WEIGHTS}, and every value and partial sum",
        "tiny 6.1e-3 to 2.9e-2, mean to 2.7e-3; native sizes overflow on flat pictures, which is told and fails",
    ),
}
