"""Quantisation of kernels: integers with scales, or indices into a look-up table.

A graph keeps the dequantised values in a node's ``weights`` and the encoding beside them, so whatever computes with the
graph computes what an engine does with the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

import numpy as np

from evim_deploy.graph.quantised import AffineQuantised, Array, Encoding, FloatType, Palettised


@dataclass(frozen=True, kw_only=True)
class WeightQuantisation:
    """The quantisation of kernels in a precision.

    Attributes:
        bits: Width of a quantised value.
        palettise: Whether quantised values are indices into a look-up table, one for each kernel, not integers with
            scales.
        group_size: Input channels that share a scale; None for one scale per output channel. For integers alone.
        dtype: Type in which a file stores scales and tables.
        min_size: Kernels of fewer weights stay in floating point: an encoding would add more than it saves.
        narrow: Quantisation of kernels with few weights per output channel, as depthwise ones: they are a negligible
            part of a file, and a residual that is folded into one of the taps needs fine steps. None for the same.
    """

    bits: int
    palettise: bool = False
    group_size: int | None = None
    dtype: FloatType = np.float32
    min_size: int = 1
    narrow: WeightQuantisation | None = None

    def encode(self, kernel: Array) -> Encoding | None:
        """Quantise a kernel (O, I, ...); None where it stays in floating point."""
        if self.narrow is not None and kernel[0].size < _NARROW:
            return self.narrow.encode(kernel)
        if kernel.size < max(self.min_size, 2):
            return None
        if self.palettise:
            return _palettise(kernel, self.bits, self.dtype)
        return _quantise(kernel, self.bits, _applicable(self.group_size, kernel), self.dtype)


_NARROW = 32
"""Weights per output channel; a depthwise kernel has 9, the first convolution 27."""


def _applicable(group_size: int | None, kernel: Array) -> int | None:
    """The group size where the input channels are a multiple of it, otherwise None."""
    return group_size if group_size and kernel.ndim > 1 and kernel.shape[1] % group_size == 0 else None


_SHRINK = np.linspace(0.5, 1.0, 26)
"""Candidate scales, relative to the scale that reaches the largest weight: with 4 bits, clipping it can lose less."""


def _quantise(kernel: Array, bits: int, group_size: int | None, dtype: FloatType) -> AffineQuantised:
    """Symmetric quantisation with the scale of least squared error; 8 bits never clip the largest weight."""
    qmax = 2 ** (bits - 1) - 1
    groups = _groups(kernel, group_size)  # (O, groups, rest)
    largest = np.abs(groups).max(axis=2, keepdims=True)
    scales = (_stored(largest * share / qmax, dtype) for share in (_SHRINK if bits < 8 else _SHRINK[-1:]))
    best, error = None, np.inf
    for scale in scales:
        lost = np.square(np.clip(np.rint(groups / scale), -qmax, qmax) * scale - groups).sum(axis=2, keepdims=True)
        best = scale if best is None else np.where(lost < error, scale, best)
        error = np.minimum(lost, error)
    assert best is not None
    values = np.clip(np.rint(groups / best), -qmax, qmax).astype(np.int8).reshape(kernel.shape)
    scale_shape = (len(kernel), best.shape[1], *(1,) * (kernel.ndim - 2)) if kernel.ndim > 1 else (len(kernel),)
    return AffineQuantised(bits, values, best.reshape(scale_shape), group_size)


def _groups(kernel: Array, group_size: int | None) -> Array:
    """Weights that share a scale along the last axis, (O, groups, rest)."""
    return kernel.reshape(len(kernel), kernel.shape[1] // group_size if group_size else 1, -1)


def _stored(scale: Array, dtype: FloatType) -> Array:
    return np.maximum(scale, np.finfo(dtype).tiny).astype(dtype).astype(np.float64)


_ROUNDS = 50


def _palettise(kernel: Array, bits: int, dtype: FloatType) -> Palettised:
    """Palettise by one-dimensional k-means (Lloyd's algorithm).

    The density of the first entries is the cube root of the weights' density.

    Source: Panter and Dite, Quantization Distortion in Pulse-Count Modulation with Nonuniform Spacing of Levels (1951).
    """
    weights = np.sort(kernel.ravel())
    entries = np.unique(weights)
    if len(entries) > 2**bits:
        counts, edges = np.histogram(weights, isqrt(len(weights)))
        shares = np.cumsum(np.cbrt(counts)) / np.cbrt(counts).sum()
        entries = np.interp((np.arange(2**bits) + 0.5) / 2**bits, shares, edges[1:])
        sums = np.concatenate([[0.0], np.cumsum(weights)])
        for _ in range(_ROUNDS):
            ends = np.searchsorted(weights, (entries[1:] + entries[:-1]) / 2)
            starts, stops = np.concatenate([[0], ends]), np.concatenate([ends, [len(weights)]])
            counts = stops - starts
            moved = np.where(counts > 0, (sums[stops] - sums[starts]) / np.maximum(counts, 1), entries)
            if np.array_equal(moved, entries):
                break
            entries = moved
    entries = np.unique(entries.astype(dtype).astype(np.float64))
    indices = np.searchsorted((entries[1:] + entries[:-1]) / 2, kernel).astype(np.uint8)
    table = np.concatenate([entries, np.repeat(entries[-1:], 2**bits - len(entries))])
    return Palettised(bits, indices, table)
