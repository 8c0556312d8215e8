"""The table of quantised precisions: one scheme for each format and precision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from evim_deploy.catalog.terms import Precision
from evim_deploy.graph.ir import Graph
from evim_deploy.quantise.integer_forms import integer_form
from evim_deploy.quantise.qparams import EIGHT_BITS, SIXTEEN_BITS, QuantRange
from evim_deploy.quantise.weight_quantisation import WeightQuantisation

WEIGHTED = frozenset(["conv", "pointwise_conv", "linear"])
"""Operations whose kernels are quantised."""

_STEM = "patch_embed."


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """A quantised precision of a format.

    Attributes:
        weights: Quantisation of kernels.
        float_precision: Type of everything that is not quantised, ``fp32`` or ``fp16``.
        description: A few words for people.
        integer_ops: Operations that compute in integers: their inputs and outputs are quantised. Empty where only
            weights are quantised.
        quant_range: Integers that inputs and outputs are quantised to.
        symmetric_inputs: By operation, the index of the input that must be quantised symmetrically.
        depthwise: Whether the kernels of depthwise convolutions are quantised, too.
        is_dynamic: Whether an engine chooses the quantisation parameters of inputs itself, anew for each image.
        prepare: Exact rewrites that integer operations need, applied before calibration.
        deployment_target: The oldest system that supports it; empty for all.
        float_output_ops: Members of ``integer_ops`` with outputs in floating point: only their inputs are quantised.
        integer_bias: Whether biases are integers, too, in the unit of the sums.
        stem_weights: Quantisation of the stem's kernels: they are few, and everything inherits their errors.
            None for the same as others.
    """

    weights: WeightQuantisation
    float_precision: Precision
    description: str
    integer_ops: frozenset[str] = frozenset()
    quant_range: QuantRange = EIGHT_BITS
    symmetric_inputs: Mapping[str, int] = field(default_factory=dict, hash=False)
    depthwise: bool = True
    is_dynamic: bool = False
    prepare: tuple[Callable[[Graph], Graph], ...] = field(default=(), compare=False)
    deployment_target: str = ""
    float_output_ops: frozenset[str] = frozenset()
    integer_bias: bool = False
    stem_weights: WeightQuantisation | None = None

    def weight_quantisation(self, layer: str) -> WeightQuantisation:
        """Quantisation of a layer's kernel, by the layer's name."""
        return self.stem_weights if self.stem_weights is not None and layer.startswith(_STEM) else self.weights

    @property
    def is_calibrated(self) -> bool:
        """Whether calibration chooses its quantisation parameters."""
        return bool(self.integer_ops)


_PER_CHANNEL = WeightQuantisation(bits=8)
_COREML_MIN_SIZE = 64  # smaller kernels save nothing: a scale per channel, and the operation that dequantises them


def _coreml(bits: int, *, palettise: bool = False, group_size: int | None = None) -> WeightQuantisation:
    per_channel = WeightQuantisation(bits=8, dtype=np.float16, min_size=_COREML_MIN_SIZE)
    if not palettise and not group_size:
        return per_channel
    return WeightQuantisation(
        bits=bits,
        palettise=palettise,
        group_size=group_size,
        dtype=np.float16,
        min_size=_COREML_MIN_SIZE,
        narrow=per_channel,
    )


_ELEMENTWISE = frozenset(["relu", "add", "scale", "shift", "subtract", "multiply", "sigmoid", "exp", "power"])
_REDUCTIONS_AND_PRODUCTS = frozenset(
    ["mean_channels", "max_tokens", "sum_tokens", "mean", "state_update", "state_readout"]
)
_SYMMETRIC_INPUTS = {"state_update": 0, "state_readout": 0}
"""XNNPACK assumes a zero point of 0 for the second input of BATCH_MATMUL, our first, and computes wrong products
otherwise (measured in ai-edge-litert 2.1.0)."""

SCHEMES: dict[tuple[str, str], Scheme] = {
    ("onnx", Precision.INT8): Scheme(
        weights=_PER_CHANNEL,
        float_precision=Precision.FP32,
        description="8-bit weights and values",
        integer_ops=WEIGHTED | {"relu", "add"},
        # engines return a product's sums in floating point at no cost, so logits and gates need no rounding
        float_output_ops=frozenset(["pointwise_conv", "linear"]),
        integer_bias=True,
    ),
    ("onnx", Precision.DYNAMIC): Scheme(
        weights=_PER_CHANNEL,
        float_precision=Precision.FP32,
        description="8-bit weights, values in 8 bits when it runs",
        is_dynamic=True,
    ),
    ("tflite", Precision.INT8): Scheme(
        weights=_PER_CHANNEL,
        float_precision=Precision.FP32,
        description="8-bit weights and values",
        integer_ops=WEIGHTED | _ELEMENTWISE | _REDUCTIONS_AND_PRODUCTS,
        symmetric_inputs=_SYMMETRIC_INPUTS,
        integer_bias=True,
        prepare=(integer_form,),
    ),
    ("tflite", Precision.INT16X8): Scheme(
        weights=_PER_CHANNEL,
        float_precision=Precision.FP32,
        description="8-bit weights, 16-bit values",
        integer_ops=WEIGHTED | {"relu", "add"},
        quant_range=SIXTEEN_BITS,
        integer_bias=True,
    ),
    ("tflite", Precision.DYNAMIC): Scheme(
        weights=_PER_CHANNEL,
        float_precision=Precision.FP32,
        description="8-bit weights, values in 8 bits when it runs",
        depthwise=False,  # XNNPACK has no kernel for 8-bit depthwise weights on floats, and these weights are few
        is_dynamic=True,
    ),
    ("coreml", Precision.INT8): Scheme(weights=_coreml(8), float_precision=Precision.FP16, description="8-bit weights"),
    ("coreml", Precision.PAL8): Scheme(
        weights=_coreml(8, palettise=True),
        float_precision=Precision.FP16,
        description="weights from a table of 256",
    ),
    ("coreml", Precision.PAL6): Scheme(
        weights=_coreml(6, palettise=True),
        float_precision=Precision.FP16,
        description="weights from a table of 64, the stem's in 8 bits",
        stem_weights=_coreml(8),
    ),
    ("coreml", Precision.PAL4): Scheme(
        weights=_coreml(4, palettise=True),
        float_precision=Precision.FP16,
        description="weights from a table of 16, the stem's in 8 bits",
        stem_weights=_coreml(8),
    ),
    ("coreml", Precision.W8A8): Scheme(
        weights=_coreml(8),
        float_precision=Precision.FP16,
        description="8-bit weights and values",
        integer_ops=frozenset(["conv", "relu"]),
        deployment_target="iOS17",
    ),
    ("coreml", Precision.INT4): Scheme(
        weights=_coreml(4, group_size=32),
        float_precision=Precision.FP16,
        description="4-bit weights in groups of 32, the stem's in 8 bits",
        stem_weights=_coreml(8),
        deployment_target="iOS18",
    ),
}
"""By format and precision."""


def quantised_precisions(format_: str) -> tuple[str, ...]:
    """Names of a format's quantised precisions."""
    return tuple(precision for name, precision in SCHEMES if name == format_)


def find_scheme(format_: str, precision: str) -> Scheme | None:
    """The scheme of a format's precision; None where the precision is not quantised."""
    return SCHEMES.get((format_, precision))
