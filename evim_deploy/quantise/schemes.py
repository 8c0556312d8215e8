"""What each quantised precision of a format is: one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from evim_deploy.graph.ir import Graph
from evim_deploy.quantise.encoding import Weighting
from evim_deploy.quantise.integer_forms import integer_form
from evim_deploy.quantise.qparams import EIGHT_BITS, SIXTEEN_BITS, QuantRange

WEIGHTED = frozenset(["conv", "pointwise_conv", "linear"])
"""Operations whose kernels are stored in few bits."""


_STEM = "patch_embed."


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """A quantised precision of a format.

    Attributes:
        weights: How kernels are stored.
        floats: What everything else is stored and computed in, ``fp32`` or ``fp16``.
        integers: Operations that compute in integers: what they take and give is on grids. Empty where only weights
            are quantised.
        codes: Of these grids.
        symmetric: Of products of two computed values, by operation, the factor whose grid has to be symmetric.
        depthwise: Whether the kernels of depthwise convolutions are in few bits, too.
        is_dynamic: Whether an engine finds the grids of what it takes itself, anew for each image.
        prepare: Give the graph that integers need, before it is calibrated; exact in real arithmetic.
        deployment_target: The oldest system that has it; empty where all have.
        widened: Operations of ``integers`` that give floating point: only what they take is on grids.
        integer_bias: Whether biases are integers, too, in the units of the sums that they are added to.
        stem: How the stem's kernels are stored: they are few, and all that follows has their errors.
            None for as others.
        meaning: In a few words, for people.
    """

    weights: Weighting
    floats: str
    meaning: str
    integers: frozenset[str] = frozenset()
    codes: QuantRange = EIGHT_BITS
    symmetric: Mapping[str, int] = field(default_factory=dict, hash=False)
    depthwise: bool = True
    is_dynamic: bool = False
    prepare: tuple[Callable[[Graph], Graph], ...] = field(default=(), compare=False)
    deployment_target: str = ""
    widened: frozenset[str] = frozenset()
    integer_bias: bool = False
    stem: Weighting | None = None

    def weighting(self, layer: str) -> Weighting:
        """How a layer's kernel is stored, by the layer's name."""
        return self.stem if self.stem is not None and layer.startswith(_STEM) else self.weights

    @property
    def is_calibrated(self) -> bool:
        """Whether its grids are found on images."""
        return bool(self.integers)


_CHANNELS = Weighting(bits=8)
_APPLE = 64  # fewer values than that save nothing: a scale for each channel, and the operation that decodes them


def _apple(bits: int, *, table: bool = False, block: int | None = None) -> Weighting:
    channels = Weighting(bits=8, dtype=np.float16, least=_APPLE)
    return (
        Weighting(bits=bits, table=table, block=block, dtype=np.float16, least=_APPLE, narrow=channels)
        if table or block
        else channels
    )


_POINTWISE = frozenset(["relu", "add", "scale", "shift", "subtract", "multiply", "sigmoid", "exp", "power"])
_OVER_AXES = frozenset(["mean_channels", "max_tokens", "sum_tokens", "mean", "state_update", "state_readout"])
_FACTORS = {"state_update": 0, "state_readout": 0}
"""XNNPACK takes the second factor of BATCH_MATMUL, our first, as if its zero point was 0, and gives wrong products
otherwise (measured in ai-edge-litert 2.1.0)."""

SCHEMES: dict[tuple[str, str], Scheme] = {
    ("onnx", "int8"): Scheme(
        weights=_CHANNELS,
        floats="fp32",
        meaning="8-bit weights and values",
        integers=WEIGHTED | {"relu", "add"},
        # engines give a product's sums in float at no cost: the answer and the gates lose nothing to a grid
        widened=frozenset(["pointwise_conv", "linear"]),
        integer_bias=True,
    ),
    ("onnx", "dynamic"): Scheme(
        weights=_CHANNELS, floats="fp32", meaning="8-bit weights, values in 8 bits when it runs", is_dynamic=True
    ),
    ("tflite", "int8"): Scheme(
        weights=_CHANNELS,
        floats="fp32",
        meaning="8-bit weights and values",
        integers=WEIGHTED | _POINTWISE | _OVER_AXES,
        symmetric=_FACTORS,
        integer_bias=True,
        prepare=(integer_form,),
    ),
    ("tflite", "int16x8"): Scheme(
        weights=_CHANNELS,
        floats="fp32",
        meaning="8-bit weights, 16-bit values",
        integers=WEIGHTED | {"relu", "add"},
        codes=SIXTEEN_BITS,
        integer_bias=True,
    ),
    ("tflite", "dynamic"): Scheme(
        weights=_CHANNELS,
        floats="fp32",
        meaning="8-bit weights, values in 8 bits when it runs",
        depthwise=False,  # XNNPACK takes none of 8 bits on floats, and these are few
        is_dynamic=True,
    ),
    ("coreml", "int8"): Scheme(weights=_apple(8), floats="fp16", meaning="8-bit weights"),
    ("coreml", "pal8"): Scheme(weights=_apple(8, table=True), floats="fp16", meaning="weights from a table of 256"),
    ("coreml", "pal6"): Scheme(
        weights=_apple(6, table=True),
        floats="fp16",
        meaning="weights from a table of 64, the stem's in 8 bits",
        stem=_apple(8),
    ),
    ("coreml", "pal4"): Scheme(
        weights=_apple(4, table=True),
        floats="fp16",
        meaning="weights from a table of 16, the stem's in 8 bits",
        stem=_apple(8),
    ),
    ("coreml", "w8a8"): Scheme(
        weights=_apple(8),
        floats="fp16",
        meaning="8-bit weights and values",
        integers=frozenset(["conv", "relu"]),
        deployment_target="iOS17",
    ),
    ("coreml", "int4"): Scheme(
        weights=_apple(4, block=32),
        floats="fp16",
        meaning="4-bit weights in blocks of 32, the stem's in 8 bits",
        stem=_apple(8),
        deployment_target="iOS18",
    ),
}
"""By format and precision."""


def quantised(format_: str) -> tuple[str, ...]:
    """Names of a format's quantised precisions."""
    return tuple(precision for name, precision in SCHEMES if name == format_)


def scheme(format_: str, precision: str) -> Scheme | None:
    """Of a format's precision; None of one that is not quantised."""
    return SCHEMES.get((format_, precision))
