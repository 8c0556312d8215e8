"""Matrix products."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import sqrt
from typing import Any

import torch
from torch import Tensor

from runtimes.mil.arithmetic import Exact
from runtimes.mil.operations.activation import softmax
from runtimes.mil.values import bounded


def product(m: Exact, x: Tensor, y: Tensor) -> Tensor:
    """(..., M, K) (..., K, N) -> (..., M, N), the axes before broadcast.

    Raises:
        NotImplementedError: One is of integers, the other of floats.
    """
    if x.dtype != y.dtype:
        raise NotImplementedError(f"{x.dtype} and {y.dtype}")
    bounded((*torch.broadcast_shapes(x.shape[:-2], y.shape[:-2]), x.shape[-2], y.shape[-1]))
    return m.matmul(x, y)


def matmul(m: Exact, x: Tensor, y: Tensor, transpose_x: bool = False, transpose_y: bool = False) -> Tensor:
    """Matrix product over the last two axes, the others broadcast; a vector is a row of x or a column of y."""
    rows = x[None] if x.ndim == 1 else x.mT if transpose_x else x
    columns = y[:, None] if y.ndim == 1 else y.mT if transpose_y else y
    z = product(m, rows, columns)  # (..., M, N)
    z = z.squeeze(-1) if y.ndim == 1 else z
    return z.squeeze(-1 if y.ndim == 1 else -2) if x.ndim == 1 else z


def linear(m: Exact, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (..., D_in) times the transposed weight (D_out, D_in), whose elements may be integers."""
    y = matmul(m, x, weight.to(x.dtype), transpose_y=True)
    return y if bias is None else m.round(y) + bias


def einsum(m: Exact, values: tuple[Tensor, ...], equation: str) -> Tensor:
    """(..., C, H, K) (..., K, H, N) -> (..., C, H, N), the one kind of equation that is specified."""
    x, y = values
    taken, given = equation.replace(" ", "").split("->")
    left, right = taken.split(",")
    specified = len(left) in (3, 4) and right == f"{left[:-3]}{left[-1]}{left[-2]}{right[-1]}"
    if not specified or given != f"{left[:-1]}{right[-1]}" or len(set(left + right)) != len(left) + 1:
        raise NotImplementedError(f"equation {equation!r}")
    return product(m, x.movedim(-2, -3), y.movedim(-2, -3)).movedim(-3, -2)


def attention(m: Exact, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None) -> Tensor:
    """softmax(Q K^T / sqrt(E) + mask) V: (B, ..., L, E) (B, ..., S, E) (B, ..., S, EV) -> (B, ..., L, EV).

    A mask of booleans says what takes part.
    """
    scores = m.round(product(m, query, key.mT) / sqrt(query.shape[-1]))  # (B, ..., L, S)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -torch.inf)
    elif attn_mask is not None:
        scores = m.round(scores + attn_mask)
    return product(m, m.round(softmax(m, scores)), value)


HANDLERS: Mapping[str, Callable[..., Any]] = {
    "einsum": einsum,
    "linear": linear,
    "matmul": matmul,
    "scaled_dot_product_attention": attention,
}
