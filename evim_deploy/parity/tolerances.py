"""How far an artifact may be from its reference: one table, by format and arithmetic.

Errors are of the range of the reference's output. In float32 they come from sums in another order;
of fp16 and ane, flat pictures (black, white, saturated) show the largest: all tokens round alike
there, and nothing averages out. The distributions are of 60 random tiny variants and of M1 to M4 with two seeds
each (tests/test_random_variants.py makes the former), median and largest of max_abs, then largest of mean_abs.
"""

from __future__ import annotations

from evim_deploy.parity.result import Tolerance

_ORDER = "sums in another order, in float32"

TOLERANCES = {
    ("pytorch", "fp32"): Tolerance(5e-5, 5e-6, _ORDER, "TODO"),
    ("onnx", "fp32"): Tolerance(5e-5, 5e-6, _ORDER, "TODO"),
    ("tflite", "fp32"): Tolerance(5e-5, 5e-6, _ORDER, "TODO"),
    ("coreml", "fp32"): Tolerance(5e-5, 5e-6, _ORDER, "TODO"),
    ("onnx", "fp16"): Tolerance(3e-2, 5e-3, "weights and values between operations rounded to 11 bits", "TODO"),
    ("tflite", "fp16"): Tolerance(3e-2, 5e-3, "weights rounded to 11 bits", "TODO"),
    ("coreml", "fp16"): Tolerance(5e-2, 5e-3, "weights and every value rounded to 11 bits", "TODO"),
    ("coreml", "ane"): Tolerance(5e-2, 5e-3, "partial sums rounded to 11 bits, too", "TODO"),
}
