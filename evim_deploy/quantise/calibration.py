"""Find the grids of a network's values on images, one after the other, in PyTorch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from evim_deploy.common.errors import BadInput
from evim_deploy.graph.half_precision import LARGEST_HALF
from evim_deploy.graph.interpreter import round_to, step, tensors
from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.quantised import QuantParams
from evim_deploy.quantise.apply import quantised_values
from evim_deploy.quantise.limits import within_limits
from evim_deploy.quantise.qparams import EIGHT_BITS, QuantRange, choose_qparams
from evim_deploy.quantise.schemes import Scheme

_SAMPLES = 1 << 16
"""Values that are kept of each value of the graph, whatever the number of images: a clipped range is judged on them."""

_SHRINK = (1.0, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4)
"""Of the whole range, what is tried; the ends of a long tail cost all other values a coarser grid."""

_HALF_OPEN = QuantParams(1 / 256, 0, 0, 255)
"""Of what lies between 0 and 1 by definition: TFLite's own kernels demand it."""

_FIXED = {"sigmoid": _HALF_OPEN, "softmax_channels": _HALF_OPEN, "exp": QuantParams(1 / 255, 0, 0, 255)}

_SEED = 0


def calibrate(
    graph: Graph, scheme: Scheme, images: Iterable[npt.NDArray[np.float32]], pixels: bool
) -> dict[str, QuantParams]:
    """Grids by name of all values that a scheme rounds.

    Args:
        graph: Rewritten, in floating point.
        scheme: Of the precision.
        images: As the graph takes them, (B, 3, H, W) each; read once.
        pixels: Whether they are pixels 0-255, whose grid is themselves.

    Raises:
        BadInput: The network overflows what it computes in.
    """
    wanted = quantised_values(graph, scheme)
    seen = {root: _Seen(seed) for seed, root in enumerate(sorted(set(wanted.values())))}
    weights = tensors(graph, torch.float32)
    for image in images:
        for name, value in values(graph, weights, torch.from_numpy(image)):
            if name in seen:
                seen[name].add(value)
    dtype = np.float16 if scheme.floats == "fp16" else np.float32
    if scheme.floats == "fp16":
        for name, found in seen.items():
            _require_half(name, found)
    is_fine = scheme.codes is not EIGHT_BITS
    fixed = {} if is_fine else {node.name: _FIXED[node.op] for node in graph.nodes if node.op in _FIXED}
    if pixels and not is_fine:
        fixed[graph.input_name] = QuantParams(1.0, 0, EIGHT_BITS.least, EIGHT_BITS.most)
    factors = {
        wanted.get(node.inputs[index])
        for node in graph.nodes
        for op, index in scheme.symmetric.items()
        if node.op == op
    }
    codes = {root: replace(scheme.codes, is_symmetric=True) if root in factors else scheme.codes for root in seen}
    qparams = {root: fixed.get(root) or found.grid(codes[root], dtype) for root, found in seen.items()}
    qparams = within_limits(graph, scheme, wanted, qparams, dtype)
    return {value: qparams[root] for value, root in sorted(wanted.items())}


def values(graph: Graph, weights: Mapping[str, Mapping[str, Tensor]], image: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Every value by name, each dropped once nothing needs it any more.

    Raises:
        BadInput: One is not finite.
    """
    kept, expiring = {graph.input_name: image}, graph.last_uses()
    yield graph.input_name, image
    for node in graph.nodes:
        outputs = step(node, weights[node.name], kept)
        _require_finite(node, outputs)
        kept.update(outputs)
        yield from outputs.items()
        for name in expiring.get(node.name, ()):
            del kept[name]


def _require_finite(node: Node, outputs: Mapping[str, Tensor]) -> None:
    for value in outputs.values():
        lost = value.numel() - int(value.isfinite().sum())
        if lost:
            raise BadInput(
                f"The network overflows float32 on a calibration image: {node.name} ({node.op}) gives {lost} of "
                f"{value.numel()} values that are infinite or not numbers.",
                "Check the weights: some are far too large, or damaged.",
            )


def _require_half(name: str, seen: _Seen) -> None:
    if seen.largest > LARGEST_HALF:
        raise BadInput(
            f"The network overflows float16: {name} reaches {seen.largest:.3g} on the calibration images, "
            f"and float16 ends at {LARGEST_HALF:.0f}.",
            "Choose --precision fp32, or an int8 format that computes in float32 (ONNX, TFLite).",
        )


class _Seen:
    """What was seen of one value: its ends, and a sample to which each image gave as many numbers."""

    def __init__(self, seed: int) -> None:
        self._least, self._greatest = np.inf, -np.inf
        self._sample = torch.empty(0)
        self._images = 0
        self._generator = torch.Generator().manual_seed(_SEED + seed)

    @property
    def largest(self) -> float:
        """The largest magnitude."""
        return max(-self._least, self._greatest)

    def add(self, value: Tensor) -> None:
        flat = value.flatten()
        self._least = min(self._least, float(flat.min()))
        self._greatest = max(self._greatest, float(flat.max()))
        self._images += 1
        share = _SAMPLES // self._images  # of each image so far
        new = flat if len(flat) <= share else flat[self._places(len(flat), share)]
        room = _SAMPLES - len(self._sample)
        self._sample = torch.cat([self._sample, new[:room]]) if room else self._sample
        self._sample[self._places(len(self._sample), len(new) - room)] = new[room:]

    def _places(self, among: int, count: int) -> Tensor:
        """Drawn at random, (count,), some of them more than once: far sooner than a permutation."""
        return torch.randint(among, (max(count, 0),), generator=self._generator)

    def grid(self, codes: QuantRange, dtype: type[np.floating[Any]]) -> QuantParams:
        """The one of the tried ranges whose rounding loses least in squares."""
        tried = [choose_qparams(self._least * share, self._greatest * share, codes, dtype) for share in _SHRINK]
        return min(tried, key=lambda grid: float((round_to(grid, self._sample) - self._sample).square().sum()))
