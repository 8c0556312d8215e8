"""Norms, reductions and ordering operations of MIL, against the formulas of their specification."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from mil_cases import Array, Case, Cases, Draw, check, evaluate, of


def along(vector: Array | None, x: Array, default: float) -> Any:
    """Reshape a vector over the channels of (B, C, *sides) for broadcasting."""
    return default if vector is None else vector.reshape(-1, *(1,) * (x.ndim - 2))


def batch_norm(draw: Draw) -> Case:
    x = draw.array(*draw.shape(3, 5))
    mean, variance = draw.array(x.shape[1]), draw.array(x.shape[1], low=0.1)
    gamma, beta = (draw.choice(None, draw.array(x.shape[1])) for _ in range(2))
    epsilon = draw.choice(None, draw.number())
    scaled = (x - along(mean, x, 0)) / np.sqrt(along(variance, x, 1) + (1e-5 if epsilon is None else epsilon))
    y = along(gamma, x, 1) * scaled + along(beta, x, 0)
    return of(y, x=x, mean=mean, variance=variance, gamma=gamma, beta=beta, epsilon=epsilon)


def standardised(x: Array, axes: tuple[int, ...], epsilon: float | None) -> Array:
    variance = ((x - x.mean(axes, keepdims=True)) ** 2).mean(axes, keepdims=True)
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(variance + (1e-5 if epsilon is None else epsilon))


def instance_norm(draw: Draw) -> Case:
    x, epsilon = draw.array(*draw.shape(3, 4, low=2)), draw.choice(None, draw.number())
    gamma, beta = (draw.choice(None, draw.array(x.shape[1])) for _ in range(2))
    y = along(gamma, x, 1) * standardised(x, tuple(range(2, x.ndim)), epsilon) + along(beta, x, 0)
    return of(y, x=x, gamma=gamma, beta=beta, epsilon=epsilon)


def layer_norm(draw: Draw) -> Case:
    x, epsilon = draw.array(*draw.shape(2, 5, low=2)), draw.choice(None, draw.number())
    axes = draw.choice(None, sorted(axis % x.ndim for axis in draw.axes(x.ndim)))
    over = tuple(range(x.ndim) if axes is None else axes)
    normalised = tuple(x.shape[axis] for axis in over)
    gamma, beta = (draw.choice(None, draw.array(*normalised)) for _ in range(2))
    places = [side if axis in over else 1 for axis, side in enumerate(x.shape)]
    y = standardised(x, over, epsilon)
    y = y * (1 if gamma is None else gamma.reshape(places)) + (0 if beta is None else beta.reshape(places))
    negative = axes if axes is None or draw.flag() else [axis - x.ndim for axis in axes]
    return of(y, x=x, axes=negative, gamma=gamma, beta=beta, epsilon=epsilon)


def l2_norm(draw: Draw) -> Case:
    x, epsilon = draw.array(*draw.shape(3, 5)), draw.choice(None, draw.number())
    squares = (x**2).sum((-1, -2, -3), keepdims=True)
    return of(x / np.sqrt(squares + (1e-6 if epsilon is None else epsilon)), x=x, epsilon=epsilon)


def local_response_norm(draw: Draw) -> Case:
    x, size = draw.array(*draw.shape(4, 4)), draw.choice(1, 3, 5)
    alpha, beta, k = (draw.choice(None, draw.number()) for _ in range(3))
    sums = np.zeros_like(x)
    for channel in range(x.shape[1]):
        around = range(max(0, channel - size // 2), min(x.shape[1], channel + size // 2 + 1))
        sums[:, channel] = sum(x[:, each] ** 2 for each in around)
    numbers = [default if each is None else each for each, default in ((k, 1), (alpha, 1e-4), (beta, 0.75))]
    y = x / (numbers[0] + numbers[1] / size * sums) ** numbers[2]
    return of(y, x=x, size=size, alpha=alpha, beta=beta, k=k)


def reduction(formula: Callable[..., Any], *, integers: bool = True, low: float = -2) -> Callable[[Draw], Case]:
    def make(draw: Draw) -> Case:
        shape = draw.shape(1, 5)
        x = draw.integers(*shape) if integers and draw.flag() else draw.array(*shape, low=low)
        axes, keep = draw.choice(None, draw.axes(x.ndim)), draw.choice(None, True, False)
        over = tuple(range(x.ndim) if axes is None else axes)
        y = np.asarray(formula(x, axis=over, keepdims=bool(keep)))
        return of(np.trunc(y).astype(x.dtype) if x.dtype == np.int32 else y, x=x, axes=axes, keep_dims=keep)

    return make


def distinct(draw: Draw) -> Array:
    """Draw distinct values, because the order of equal ones is not specified."""
    shape = draw.shape(1, 4)
    return draw.rng.permutation(int(np.prod(shape))).reshape(shape) / 8 - 2


def argument(formula: Callable[..., Any]) -> Callable[[Draw], Case]:
    def make(draw: Draw) -> Case:
        x, keep = distinct(draw), draw.choice(None, True)
        axis = draw.choice(None, draw.axis(x.ndim))
        y = formula(x, axis=-1 if axis is None else axis, keepdims=bool(keep))
        return of(np.asarray(y, dtype=np.int32), x=x, axis=axis, keep_dims=keep)

    return make


def argsort(draw: Draw) -> Case:
    x, ascending = distinct(draw), draw.choice(None, True, False)
    axis = draw.axis(x.ndim)
    return of(np.argsort(x if ascending else -x, axis).astype(np.int32), x=x, axis=axis, ascending=ascending)


def topk(draw: Draw) -> Case:
    x, ascending = distinct(draw), draw.choice(None, True, False)
    axis = draw.axis(x.ndim)
    k = draw.choice(-1, draw.integer(1, x.shape[axis]))
    order = np.argsort(x if ascending else -x, axis)
    indices = order if k == -1 else np.take(order, range(k), axis)
    with_indices = draw.flag()
    outputs = (np.take_along_axis(x, indices, axis), indices.astype(np.int32))[: 2 if with_indices else 1]
    given = {"x": x, "k": k, "axis": axis, "return_indices": with_indices}
    return Case(given | ({} if ascending is None else {"ascending": ascending}), outputs, "iOS17")


def cumsum(draw: Draw) -> Case:
    shape = draw.shape(1, 4)
    x = draw.array(*shape)
    axis, exclusive, backwards = draw.integer(-1, x.ndim - 1), draw.flag(), draw.flag()
    y = np.zeros_like(x)
    for i in range(x.shape[axis]):
        before = range(i + exclusive, x.shape[axis]) if backwards else range(i + (not exclusive))
        total = np.take(x, before, axis).sum(axis)
        np.moveaxis(y, axis, 0)[i] = total
    return of(y, x=x, axis=axis, exclusive=exclusive, reverse=backwards)


CASES: Cases = {
    "argsort": argsort,
    "batch_norm": batch_norm,
    "cumsum": cumsum,
    "instance_norm": instance_norm,
    "l2_norm": l2_norm,
    "layer_norm": layer_norm,
    "local_response_norm": local_response_norm,
    "reduce_argmax": argument(np.argmax),
    "reduce_argmin": argument(np.argmin),
    "reduce_l1_norm": reduction(lambda x, **over: np.abs(x).sum(**over)),
    "reduce_l2_norm": reduction(lambda x, **over: np.sqrt((x**2).sum(**over)), integers=False),
    "reduce_log_sum": reduction(lambda x, **over: np.log(x.sum(**over)), integers=False, low=0.1),
    "reduce_log_sum_exp": reduction(lambda x, **over: np.log(np.exp(x).sum(**over)), integers=False),
    "reduce_max": reduction(np.max),
    "reduce_mean": reduction(np.mean),
    "reduce_min": reduction(np.min),
    "reduce_prod": reduction(np.prod),
    "reduce_sum": reduction(np.sum),
    "reduce_sum_square": reduction(lambda x, **over: (x**2).sum(**over)),
    "topk": topk,
}


@pytest.mark.parametrize("op", CASES)
def test_operation_computes_its_formula(op: str) -> None:
    check(op, CASES[op])


def test_log_sum_exp_does_not_overflow() -> None:
    """exp(1000) is infinite in float32, and log(exp(1000) + exp(1000)) is 1000 + log(2)."""
    (y,) = evaluate("reduce_log_sum_exp", of(0, x=np.array([1000.0, 1000.0])))
    assert y == pytest.approx(1000 + np.log(2))
