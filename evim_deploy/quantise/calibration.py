"""Calibration: quantisation parameters of a network's values, from their ranges on images in PyTorch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from evim_deploy.catalog.terms import Precision
from evim_deploy.common.errors import BadInput
from evim_deploy.graph.half_precision import LARGEST_HALF
from evim_deploy.graph.interpreter import round_to, step, tensors
from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.quantised import FloatType, QuantParams
from evim_deploy.quantise.placement import quantised_values
from evim_deploy.quantise.qparams import EIGHT_BITS, QuantRange, choose_qparams
from evim_deploy.quantise.scale_limits import limit_scales
from evim_deploy.quantise.schemes import Scheme

_SAMPLES = 1 << 16
"""Numbers that are sampled of each value, whatever the number of images; a clipped range is judged on them."""

_SHRINK = (1.0, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4)
"""Candidate ranges, relative to the whole range: the ends of a long tail cost all other numbers a coarser scale."""

_HALF_OPEN = QuantParams(1 / 256, 0, 0, 255)
"""Quantisation parameters of values between 0 and 1 by definition: TFLite's own kernels require them."""

_FIXED = {"sigmoid": _HALF_OPEN, "softmax_channels": _HALF_OPEN, "exp": QuantParams(1 / 255, 0, 0, 255)}

_SEED = 0


def calibrate(
    graph: Graph, scheme: Scheme, images: Iterable[npt.NDArray[np.float32]], pixels: bool
) -> dict[str, QuantParams]:
    """Quantisation parameters of all values that a scheme quantises, by name.

    Args:
        graph: The rewritten network in floating point.
        scheme: Scheme of the precision.
        images: Inputs of the graph, (B, 3, H, W) each; read once.
        pixels: Whether they are pixels 0-255, which are quantised values already.

    Raises:
        BadInput: The network overflows float32, or the type that it computes in.
    """
    roots = quantised_values(graph, scheme)
    observers = {root: RangeObserver(seed) for seed, root in enumerate(sorted(set(roots.values())))}
    weights = tensors(graph, torch.float32)
    for image in images:
        for name, value in compute_values(graph, weights, torch.from_numpy(image)):
            if name in observers:
                observers[name].add(value)
    is_half = scheme.float_precision == Precision.FP16
    if is_half:
        for name, observer in observers.items():
            _require_half(name, observer)
    dtype: FloatType = np.float16 if is_half else np.float32
    qparams = {root: observers[root].qparams(each, dtype) for root, each in _quant_ranges(graph, scheme, roots).items()}
    qparams |= {root: each for root, each in _fixed(graph, scheme, pixels).items() if root in qparams}
    qparams = limit_scales(graph, scheme, roots=roots, qparams=qparams, dtype=dtype)
    return {value: qparams[root] for value, root in sorted(roots.items())}


def compute_values(
    graph: Graph, weights: Mapping[str, Mapping[str, Tensor]], image: Tensor
) -> Iterator[tuple[str, Tensor]]:
    """Every value by name, each released after its last use.

    Raises:
        BadInput: A value is not finite.
    """
    live, expiring = {graph.input_name: image}, graph.last_uses()
    yield graph.input_name, image
    for node in graph.nodes:
        outputs = step(node, weights[node.name], live)
        _require_finite(node, outputs)
        live.update(outputs)
        yield from outputs.items()
        for name in expiring.get(node.name, ()):
            del live[name]


def _quant_ranges(graph: Graph, scheme: Scheme, roots: Mapping[str, str]) -> dict[str, QuantRange]:
    """The integers that each root is quantised to."""
    symmetric = {
        roots.get(node.inputs[scheme.symmetric_inputs[node.op]])
        for node in graph.nodes
        if node.op in scheme.symmetric_inputs
    }
    return {
        root: replace(scheme.quant_range, is_symmetric=True) if root in symmetric else scheme.quant_range
        for root in roots.values()
    }


def _fixed(graph: Graph, scheme: Scheme, pixels: bool) -> dict[str, QuantParams]:
    """Quantisation parameters that need no calibration, by value."""
    if scheme.quant_range is not EIGHT_BITS:
        return {}
    fixed = {node.name: _FIXED[node.op] for node in graph.nodes if node.op in _FIXED}
    image = {graph.input_name: QuantParams(1.0, 0, EIGHT_BITS.qmin, EIGHT_BITS.qmax)} if pixels else {}
    return fixed | image


def _require_finite(node: Node, outputs: Mapping[str, Tensor]) -> None:
    for value in outputs.values():
        lost = value.numel() - int(value.isfinite().sum())
        if lost:
            raise BadInput(
                f"The network overflows float32 on a calibration image: {lost} of the {value.numel()} values of "
                f"{node.name} ({node.op}) are infinite or NaN.",
                "Check the weights: some are far too large, or damaged.",
            )


def _require_half(name: str, observer: RangeObserver) -> None:
    if observer.largest > LARGEST_HALF:
        raise BadInput(
            f"The network overflows float16: {name} reaches {observer.largest:.3g} on the calibration images; "
            f"the largest float16 is {LARGEST_HALF:.0f}.",
            "Choose --precision fp32, or an int8 format that computes in float32 (ONNX, TFLite).",
        )


class RangeObserver:
    """Range of a value over all images, and a sample with equally many numbers from each."""

    def __init__(self, seed: int) -> None:
        self._low, self._high = np.inf, -np.inf
        self._sample = torch.empty(0)
        self._images = 0
        self._generator = torch.Generator().manual_seed(_SEED + seed)

    @property
    def largest(self) -> float:
        """The largest magnitude."""
        return max(-self._low, self._high)

    def add(self, value: Tensor) -> None:
        """Observe the value on one more image, any shape."""
        flat = value.flatten()
        self._low = min(self._low, float(flat.min()))
        self._high = max(self._high, float(flat.max()))
        self._images += 1
        share = _SAMPLES // self._images  # of each image so far
        new = flat if len(flat) <= share else flat[self._indices(len(flat), share)]
        room = _SAMPLES - len(self._sample)
        self._sample = torch.cat([self._sample, new[:room]]) if room else self._sample
        self._sample[self._indices(len(self._sample), len(new) - room)] = new[room:]

    def _indices(self, length: int, count: int) -> Tensor:
        """Random indices (count,), with repetition: far faster than a permutation."""
        return torch.randint(length, (max(count, 0),), generator=self._generator)

    def qparams(self, quant_range: QuantRange, dtype: FloatType) -> QuantParams:
        """Quantisation parameters of the candidate range that has the least squared error."""
        candidates = [choose_qparams(self._low * share, self._high * share, quant_range, dtype) for share in _SHRINK]
        return min(candidates, key=lambda each: float((round_to(each, self._sample) - self._sample).square().sum()))
