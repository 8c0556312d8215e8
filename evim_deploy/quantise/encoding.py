"""How weights are stored in few bits: integer codes with scales, or codes into a table of values.

A graph keeps the decoded values in a node's ``weights`` and the encoding beside them, so whatever computes with the
graph computes what an engine does with the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import Any

import numpy as np

from evim_deploy.graph.quantised import AffineQuantised, Array, Encoding, Palettised

Floating = type[np.floating[Any]]


@dataclass(frozen=True, kw_only=True)
class Weighting:
    """How the weights of a precision are encoded.

    Attributes:
        bits: Of a code.
        table: Whether codes are those of a look-up table, one for each array, rather than integers with scales.
        block: Input channels that share a scale; None for one scale for each output channel. For integers alone.
        dtype: In which scales and tables are stored.
        least: Arrays of fewer values stay as they are: what an encoding adds would be more than it saves.
        narrow: How kernels are encoded that have few values for each output channel, as depthwise ones: they are next
            to nothing of a file, and with a residual folded into one of its taps such a kernel fits no few steps.
            None for as the others.
    """

    bits: int
    table: bool = False
    block: int | None = None
    dtype: Floating = np.float32
    least: int = 1
    narrow: Weighting | None = None

    def encode(self, kernel: Array) -> Encoding | None:
        """A kernel (O, I, ...); None where it stays as it is."""
        if self.narrow is not None and kernel[0].size < _NARROW:
            return self.narrow.encode(kernel)
        if kernel.size < max(self.least, 2):
            return None
        if self.table:
            return _table(kernel, self.bits, self.dtype)
        return _linear(kernel, self.bits, _block_of(kernel, self.block), self.dtype)


_NARROW = 32
"""Values for an output channel: a depthwise kernel has 9, the first convolution 27."""


def _block_of(kernel: Array, block: int | None) -> int | None:
    """The block, where the input channels are a multiple of it; otherwise one for each output channel."""
    return block if block and kernel.ndim > 1 and kernel.shape[1] % block == 0 else None


_SHRINK = np.linspace(0.5, 1.0, 26)
"""Of a scale that reaches the largest weight: at 4 bits a smaller one, which clips it, can lose less."""


def _linear(kernel: Array, bits: int, block: int | None, dtype: Floating) -> AffineQuantised:
    """Symmetric codes, whose scale loses least in squares; of 8 bits the largest weight is kept."""
    most = 2 ** (bits - 1) - 1
    parts = _parts(kernel, block)  # (O, blocks, rest)
    largest = np.abs(parts).max(axis=2, keepdims=True)
    scales = (_stored(largest * share / most, dtype) for share in (_SHRINK if bits < 8 else _SHRINK[-1:]))
    best, error = None, np.inf
    for scale in scales:
        lost = np.square(np.clip(np.rint(parts / scale), -most, most) * scale - parts).sum(axis=2, keepdims=True)
        best = scale if best is None else np.where(lost < error, scale, best)
        error = np.minimum(lost, error)
    assert best is not None
    codes = np.clip(np.rint(parts / best), -most, most).astype(np.int8).reshape(kernel.shape)
    scale_shape = (len(kernel), best.shape[1], *(1,) * (kernel.ndim - 2)) if kernel.ndim > 1 else (len(kernel),)
    return AffineQuantised(bits, codes, best.reshape(scale_shape), block)


def _parts(kernel: Array, block: int | None) -> Array:
    """Weights that share a scale along the last axis, (O, blocks, rest)."""
    return kernel.reshape(len(kernel), kernel.shape[1] // block if block else 1, -1)


def _stored(values: Array, dtype: Floating) -> Array:
    return np.maximum(values, np.finfo(dtype).tiny).astype(dtype).astype(np.float64)


_ROUNDS = 50


def _table(kernel: Array, bits: int, dtype: Floating) -> Palettised:
    """One-dimensional k-means (Lloyd's algorithm), begun where many codes lie as the cube root of the density.

    Source: Panter and Dite, Quantization Distortion in Pulse-Count Modulation with Nonuniform Spacing of Levels (1951).
    """
    values = np.sort(kernel.ravel())
    entries = np.unique(values)
    if len(entries) > 2**bits:
        counts, edges = np.histogram(values, isqrt(len(values)))
        shares = np.cumsum(np.cbrt(counts)) / np.cbrt(counts).sum()
        entries = np.interp((np.arange(2**bits) + 0.5) / 2**bits, shares, edges[1:])
        sums = np.concatenate([[0.0], np.cumsum(values)])
        for _ in range(_ROUNDS):
            ends = np.searchsorted(values, (entries[1:] + entries[:-1]) / 2)
            starts, stops = np.concatenate([[0], ends]), np.concatenate([ends, [len(values)]])
            counts = stops - starts
            moved = np.where(counts > 0, (sums[stops] - sums[starts]) / np.maximum(counts, 1), entries)
            if np.array_equal(moved, entries):
                break
            entries = moved
    entries = np.unique(entries.astype(dtype).astype(np.float64))
    codes = np.searchsorted((entries[1:] + entries[:-1]) / 2, kernel).astype(np.uint8)
    table = np.concatenate([entries, np.repeat(entries[-1:], 2**bits - len(entries))])
    return Palettised(bits, codes, table)
