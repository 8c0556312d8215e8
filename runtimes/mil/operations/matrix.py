"""Matrix products and attention."""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor

from runtimes.mil.arithmetic import Float32
from runtimes.mil.operations.activation import softmax
from runtimes.mil.values import Handlers, bounded


def product(m: Float32, x: Tensor, y: Tensor) -> Tensor:
    """Matrix product, (..., M, K) (..., K, N) -> (..., M, N); the leading axes broadcast.

    Raises:
        NotImplementedError: The element types differ.
    """
    if x.dtype != y.dtype:
        raise NotImplementedError(f"{x.dtype} and {y.dtype}")
    bounded((*torch.broadcast_shapes(x.shape[:-2], y.shape[:-2]), x.shape[-2], y.shape[-1]))
    return m.matmul(x, y)


def matmul(m: Float32, x: Tensor, y: Tensor, *, transpose_x: bool = False, transpose_y: bool = False) -> Tensor:
    """Matrix product over the last two axes; the others broadcast. A vector is a row of x or a column of y."""
    rows = x[None] if x.ndim == 1 else x.mT if transpose_x else x
    columns = y[:, None] if y.ndim == 1 else y.mT if transpose_y else y
    z = product(m, rows, columns)  # (..., M, N)
    z = z.squeeze(-1) if y.ndim == 1 else z
    return z.squeeze(-1 if y.ndim == 1 else -2) if x.ndim == 1 else z


def linear(m: Float32, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Product of x (..., D_in) and the transposed weight (D_out, D_in), which may be of integers."""
    y = matmul(m, x, weight.to(x.dtype), transpose_y=True)
    return y if bias is None else m.round(y) + bias


def einsum(m: Float32, values: tuple[Tensor, ...], equation: str) -> Tensor:
    """Product (..., C, H, K) (..., K, H, N) -> (..., C, H, N), the only kind of equation that is specified."""
    x, y = values
    operands, result = equation.replace(" ", "").split("->")
    left, right = operands.split(",")
    specified = len(left) in (3, 4) and right == f"{left[:-3]}{left[-1]}{left[-2]}{right[-1]}"
    if not specified or result != f"{left[:-1]}{right[-1]}" or len(set(left + right)) != len(left) + 1:
        raise NotImplementedError(f"equation {equation!r}")
    return product(m, x.movedim(-2, -3), y.movedim(-2, -3)).movedim(-3, -2)


def attention(m: Float32, query: Tensor, key: Tensor, value: Tensor, *, attn_mask: Tensor | None = None) -> Tensor:
    """softmax(Q K^T / sqrt(E) + mask) V: (B, ..., L, E) (B, ..., S, E) (B, ..., S, EV) -> (B, ..., L, EV).

    A boolean mask selects the keys that take part.
    """
    scores = m.round(product(m, query, key.mT) / sqrt(query.shape[-1]))  # (B, ..., L, S)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -torch.inf)
    elif attn_mask is not None:
        scores = m.round(scores + attn_mask)
    return product(m, m.round(softmax(m, scores)), value)


HANDLERS: Handlers = {
    "einsum": einsum,
    "linear": linear,
    "matmul": matmul,
    "scaled_dot_product_attention": attention,
}
