"""The tolerances of all comparisons, by format and arithmetic.

Errors are in units of the largest range of the reference's output. In float16 they are largest on flat and unusual
images (black, saturated colours, noise), where all tokens have the same rounding error and nothing averages out.

The distributions (median and maximum) were measured with untrained weights over the standard inputs: 60 random tiny
variants, and M1 to M4 plain and distilled at their native size, as ``python tests/support/distribution.py`` and
``python tests/support/distribution.py native`` print them.
"""

from __future__ import annotations

from evim_deploy.artifact.parity import Tolerance

_ORDER = "another order of float32 sums"
_WEIGHTS = "weights rounded to 11 bits"
_RUN_TIME = "activations quantised to 8 bits at run time"
_TIES = "values next to a tie may round either way, which changes the outputs as much as all quantisation does"

TOLERANCES = {
    ("pytorch", "fp32"): Tolerance(
        max_abs=3e-5,
        mean_abs=3e-6,
        reason=_ORDER,
        distribution="tiny 8.4e-7 to 5.5e-6, native 2.1e-6 to 3.3e-6; mean to 7.3e-7",
    ),
    ("onnx", "fp32"): Tolerance(
        max_abs=3e-5,
        mean_abs=3e-6,
        reason=_ORDER,
        distribution="tiny 7.4e-7 to 5.2e-6, native 2.4e-6 to 4.2e-6; mean to 7.3e-7",
    ),
    ("tflite", "fp32"): Tolerance(
        max_abs=3e-5,
        mean_abs=3e-6,
        reason=_ORDER,
        distribution="tiny 8.0e-7 to 7.1e-6, native 2.8e-6 to 4.4e-6; mean to 7.9e-7",
    ),
    ("coreml", "fp32"): Tolerance(
        max_abs=3e-5,
        mean_abs=3e-6,
        reason=_ORDER,
        distribution="tiny 8.1e-7 to 5.4e-6, native 2.2e-6 to 3.0e-6; mean to 7.4e-7",
    ),
    ("onnx", "fp16"): Tolerance(
        max_abs=5e-2,
        mean_abs=5e-3,
        reason=f"{_WEIGHTS}, and values between operations",
        distribution="tiny 1.8e-3 to 1.9e-2, native 3.7e-3 to 9.5e-3; mean to 1.6e-3",
    ),
    ("tflite", "fp16"): Tolerance(
        max_abs=5e-2,
        mean_abs=5e-3,
        reason=_WEIGHTS,
        distribution="tiny 1.6e-3 to 1.9e-2, native 3.7e-3 to 9.5e-3; mean to 1.6e-3",
    ),
    ("coreml", "fp16"): Tolerance(
        max_abs=5e-2,
        mean_abs=5e-3,
        reason=f"{_WEIGHTS}, and every value",
        distribution="tiny 2.5e-3 to 2.0e-2, native 9.8e-3 to 1.4e-2; mean to 2.0e-3",
    ),
    ("coreml", "ane"): Tolerance(
        max_abs=5e-2,
        mean_abs=5e-3,
        reason=f"{_WEIGHTS}, and every value and partial sum",
        distribution=(
            "tiny 3.2e-3 to 2.2e-2, mean to 1.6e-3; native sizes overflow on flat images, which is reported and fails"
        ),
    ),
    ("onnx", "int8"): Tolerance(
        max_abs=1e-2,
        mean_abs=1e-3,
        reason=_TIES,
        distribution="tiny, digits and M1 1.0 to 1.1 times the network's own quantisation error",
        times_own=2.0,
    ),
    ("onnx", "dynamic"): Tolerance(
        max_abs=2e-1,
        mean_abs=5e-2,
        reason=_RUN_TIME,
        distribution="tiny 9.0e-3 to 1.0e-1, digits 4.6e-2; mean to 2.4e-2",
        times_own=1.0,
    ),
    ("tflite", "int8"): Tolerance(
        max_abs=1e-2,
        mean_abs=1e-3,
        reason=_TIES,
        distribution="digits and M1 0.9 to 1.0 times the network's own quantisation error",
        times_own=2.0,
    ),
    ("tflite", "int16x8"): Tolerance(
        max_abs=1e-2,
        mean_abs=1e-3,
        reason=_TIES,
        distribution="digits 1.0 times the network's own quantisation error",
        times_own=2.0,
    ),
    ("tflite", "dynamic"): Tolerance(
        max_abs=8e-2,
        mean_abs=1.5e-2,
        reason=_RUN_TIME,
        distribution="tiny 6.4e-3 to 3.9e-2, digits 2.8e-2; mean to 5.5e-3",
        times_own=1.0,
    ),
    **{
        ("coreml", precision): Tolerance(
            max_abs=5e-2,
            mean_abs=5e-3,
            reason="every value in float16",
            distribution="int8 tiny 5e-4 to 1.2e-3 beside the simulation",
            times_own=1.0,
        )
        for precision in ("int8", "pal8", "pal6", "pal4", "int4")
    },
    ("coreml", "w8a8"): Tolerance(
        max_abs=5e-2,
        mean_abs=5e-3,
        reason=_TIES,
        distribution="ties that float16 moves: tiny 4.3e-3 to 7.1e-2 beside the simulation",
        times_own=2.0,
    ),
}
