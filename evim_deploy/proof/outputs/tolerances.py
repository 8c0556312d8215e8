"""How far an artifact may be from its reference: one table, by format and arithmetic.

Errors are of the largest range of the reference's output. Of float16 the flat and the strange pictures (black,
saturated colours, noise) have the largest: all tokens round alike there, and nothing averages out.

The distributions are of untrained weights over the standard inputs: 60 random tiny variants, and M1 to M4 plain and
distilled at their native size, each with its median and its largest, as ``python tests/support/distribution.py`` and
``python tests/support/distribution.py native`` print them.
"""

from __future__ import annotations

from evim_deploy.artifact.parity import Tolerance

_ORDER = "float32 adds in another order"
_WEIGHTS = "weights rounded to 11 bits"
_RUN_TIME = "values in 8 bits, on grids of their own"
_GRIDS = "a value next to the middle between two codes takes either: as far as all rounding moves outputs"

TOLERANCES = {
    ("pytorch", "fp32"): Tolerance(
        3e-5, 3e-6, _ORDER, "tiny 8.4e-7 to 5.5e-6, native 2.1e-6 to 3.3e-6; mean to 7.3e-7"
    ),
    ("onnx", "fp32"): Tolerance(3e-5, 3e-6, _ORDER, "tiny 7.4e-7 to 5.2e-6, native 2.4e-6 to 4.2e-6; mean to 7.3e-7"),
    ("tflite", "fp32"): Tolerance(3e-5, 3e-6, _ORDER, "tiny 8.0e-7 to 7.1e-6, native 2.8e-6 to 4.4e-6; mean to 7.9e-7"),
    ("coreml", "fp32"): Tolerance(3e-5, 3e-6, _ORDER, "tiny 8.1e-7 to 5.4e-6, native 2.2e-6 to 3.0e-6; mean to 7.4e-7"),
    ("onnx", "fp16"): Tolerance(
        5e-2,
        5e-3,
        f"{_WEIGHTS}, and values between operations",
        "tiny 1.8e-3 to 1.9e-2, native 3.7e-3 to 9.5e-3; mean to 1.6e-3",
    ),
    ("tflite", "fp16"): Tolerance(
        5e-2, 5e-3, _WEIGHTS, "tiny 1.6e-3 to 1.9e-2, native 3.7e-3 to 9.5e-3; mean to 1.6e-3"
    ),
    ("coreml", "fp16"): Tolerance(
        5e-2,
        5e-3,
        f"{_WEIGHTS}, and every value",
        "tiny 2.5e-3 to 2.0e-2, native 9.8e-3 to 1.4e-2; mean to 2.0e-3",
    ),
    ("coreml", "ane"): Tolerance(
        5e-2,
        5e-3,
        f"{_WEIGHTS}, and every value and partial sum",
        "tiny 3.2e-3 to 2.2e-2, mean to 1.6e-3; native sizes overflow on flat pictures, which is told and fails",
    ),
    ("onnx", "int8"): Tolerance(
        1e-2, 1e-3, _GRIDS, "tiny, digits and M1 1.0 to 1.1 times what the network loses by itself", times_own=2.0
    ),
    ("onnx", "dynamic"): Tolerance(
        2e-1, 5e-2, _RUN_TIME, "tiny 9.0e-3 to 1.0e-1, digits 4.6e-2; mean to 2.4e-2", times_own=1.0
    ),
    ("tflite", "int8"): Tolerance(
        1e-2, 1e-3, _GRIDS, "digits and M1 0.9 to 1.0 times what the network loses by itself", times_own=2.0
    ),
    ("tflite", "int16x8"): Tolerance(
        1e-2, 1e-3, _GRIDS, "digits 1.0 times what the network loses by itself", times_own=2.0
    ),
    ("tflite", "dynamic"): Tolerance(
        8e-2, 1.5e-2, _RUN_TIME, "tiny 6.4e-3 to 3.9e-2, digits 2.8e-2; mean to 5.5e-3", times_own=1.0
    ),
    **{
        ("coreml", precision): Tolerance(
            5e-2, 5e-3, "every value in float16", "int8 tiny 5e-4 to 1.2e-3 beside the simulation", times_own=1.0
        )
        for precision in ("int8", "pal8", "pal6", "pal4", "int4")
    },
    ("coreml", "w8a8"): Tolerance(
        5e-2, 5e-3, _GRIDS, "ties that float16 moves: tiny 4.3e-3 to 7.1e-2 beside the simulation", times_own=2.0
    ),
}
