"""Gather and scatter operations of MIL, against the definitions of their specification."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from mil_cases import Array, Case, Cases, Draw, check, evaluate, of


def indices_of(draw: Draw, side: int, *shape: int) -> tuple[Array, dict[str, Any]]:
    """Draw indices of an axis: from either end in iOS 15 and 16, or non-negative with the parameter of iOS 17."""
    if draw.flag():
        return draw.integers(*shape, low=-side, high=side - 1), {}
    return draw.integers(*shape, low=0, high=side - 1), {"validate_indices": draw.flag()}


def opset(given: dict[str, Any]) -> str:
    return "iOS17" if given else "iOS16"


def gather(draw: Draw) -> Case:
    x = draw.array(*draw.shape(1, 4))
    batch_dims = draw.integer(0, x.ndim - 1)
    axis = draw.integer(batch_dims, x.ndim - 1)
    indices, given = indices_of(draw, x.shape[axis], *x.shape[:batch_dims], *draw.shape(0, 2))
    tail = indices.shape[batch_dims:]
    y = np.zeros((*x.shape[:axis], *tail, *x.shape[axis + 1 :]))
    for place in np.ndindex(*y.shape):
        index = indices[(*place[:batch_dims], *place[axis : axis + len(tail)])]
        y[place] = x[(*place[:axis], index, *place[axis + len(tail) :])]
    whole = indices.item() if indices.ndim == 0 else indices
    shown = axis - x.ndim * draw.integer(0, 1)
    return of(y, opset(given), x=x, indices=whole, axis=shown, batch_dims=batch_dims, **given)


def gather_along_axis(draw: Draw) -> Case:
    x = draw.array(*draw.shape(1, 4))
    axis = draw.axis(x.ndim)
    shape = [*x.shape]
    shape[axis] = draw.integer(1, 6)
    indices, given = indices_of(draw, x.shape[axis], *shape)
    y = np.zeros(shape)
    for place in np.ndindex(*shape):
        source = list(place)
        source[axis] = indices[place]
        y[place] = x[tuple(source)]
    return of(y, opset(given), x=x, indices=indices, axis=axis, **given)


def nd_indices(draw: Draw, sides: tuple[int, ...], *shape: int) -> tuple[Array, dict[str, Any]]:
    """Draw indices of the first K axes, (*shape, K)."""
    columns = [draw.integers(*shape, low=0, high=side - 1) for side in sides]
    return np.stack(columns, -1), draw.choice({}, {"validate_indices": draw.flag()})


def gather_nd(draw: Draw) -> Case:
    x = draw.array(*draw.shape(2, 4))
    batch_dims = draw.integer(0, x.ndim - 1)
    count = draw.integer(1, x.ndim - batch_dims)
    batch = x.shape[:batch_dims]
    indices, given = nd_indices(draw, x.shape[batch_dims:][:count], *batch, *draw.shape(1, 2))
    y = np.zeros((*indices.shape[:-1], *x.shape[batch_dims + count :]))
    for place in np.ndindex(*indices.shape[:-1]):
        y[place] = x[(*place[:batch_dims], *indices[place])]
    return of(y, opset(given), x=x, indices=indices, batch_dims=batch_dims, **given)


MODES: dict[str, Callable[[Any, Any], Any]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "max": max,
    "min": min,
    "update": lambda old, new: new,
}


def put(data: Array, sources: dict[tuple[int, ...], list[float]], mode: str) -> Array:
    y = data.copy()
    for place, updates in sources.items():
        for update in updates:
            y[place] = MODES[mode](y[place], update)
    return y


def without_repetition(draw: Draw, mode: str, indices: Array, side: int) -> Array:
    """Draw indices without repetition: several updates of one element have no specified result."""
    return draw.rng.permutation(side)[: len(indices)].astype(np.int32) if mode == "update" else indices


def scatter(draw: Draw) -> Case:
    data, mode = draw.array(*draw.shape(1, 4)), draw.choice(*MODES)
    axis = draw.axis(data.ndim)
    side = data.shape[axis]
    indices, given = indices_of(draw, side, draw.integer(1, side))
    indices = without_repetition(draw, mode, indices, side)
    positive = axis % data.ndim
    updates = draw.array(*data.shape[:positive], len(indices), *data.shape[positive + 1 :], low=0.5)
    sources: dict[tuple[int, ...], list[float]] = {}
    for place in np.ndindex(*updates.shape):
        target = (*place[:positive], int(indices[place[positive]]) % side, *place[positive + 1 :])
        sources.setdefault(target, []).append(updates[place])
    given |= {"axis": axis, "mode": mode}
    return of(
        put(data, sources, mode),
        opset(given),
        data=data,
        indices=indices,
        updates=updates,
        computed=("data", "updates"),
        **given,
    )


def scatter_along_axis(draw: Draw) -> Case:
    data, mode = draw.array(*draw.shape(1, 4)), draw.choice(*MODES)
    axis = draw.axis(data.ndim)
    indices, given = indices_of(draw, data.shape[axis], *data.shape)
    if mode == "update":
        indices = np.argsort(draw.array(*data.shape), axis).astype(np.int32)
    updates = draw.array(*data.shape, low=0.5)
    sources: dict[tuple[int, ...], list[float]] = {}
    for place in np.ndindex(*updates.shape):
        target = list(place)
        target[axis] = int(indices[place]) % data.shape[axis]
        sources.setdefault(tuple(target), []).append(updates[place])
    given |= {"axis": axis, "mode": mode}
    return of(
        put(data, sources, mode),
        opset(given),
        data=data,
        indices=indices,
        updates=updates,
        computed=("data", "updates"),
        **given,
    )


def scatter_nd(draw: Draw) -> Case:
    data, mode = draw.array(*draw.shape(1, 4)), draw.choice(*MODES)
    count = draw.integer(1, data.ndim)
    indices, given = nd_indices(draw, data.shape[:count], *((1,) if mode == "update" else draw.shape(1, 2)))
    updates = draw.array(*indices.shape[:-1], *data.shape[count:], low=0.5)
    sources: dict[tuple[int, ...], list[float]] = {}
    for place in np.ndindex(*updates.shape):
        first, rest = place[: indices.ndim - 1], place[indices.ndim - 1 :]
        sources.setdefault((*indices[first].tolist(), *rest), []).append(updates[place])
    given |= {"mode": mode}
    return of(
        put(data, sources, mode),
        opset(given),
        data=data,
        indices=indices,
        updates=updates,
        computed=("data", "updates"),
        **given,
    )


CASES: Cases = {
    "gather": gather,
    "gather_along_axis": gather_along_axis,
    "gather_nd": gather_nd,
    "scatter": scatter,
    "scatter_along_axis": scatter_along_axis,
    "scatter_nd": scatter_nd,
}


@pytest.mark.parametrize("part", range(2))
@pytest.mark.parametrize("op", CASES)
def test_operation_is_as_defined(op: str, part: int) -> None:
    check(op, CASES[op], part)


@pytest.mark.parametrize("given", [{}, {"validate_indices": False}, {"validate_indices": True}])
@pytest.mark.parametrize("index", [3, -4])
def test_an_index_outside_of_the_axis_is_refused(index: int, given: dict[str, Any]) -> None:
    with pytest.raises(NotImplementedError, match="outside of an axis of 3"):
        evaluate("gather", of(0, x=np.zeros(3), indices=np.array([0, index]), **given))


def test_from_ios_17_on_a_negative_index_is_outside() -> None:
    assert evaluate("gather", of(0, x=np.arange(3.0), indices=np.array([-1])))[0] == [2]
    with pytest.raises(NotImplementedError, match="outside"):
        evaluate("gather", of(0, x=np.arange(3.0), indices=np.array([-1]), validate_indices=False))


def test_two_updates_that_replace_one_element_are_refused() -> None:
    given = {"data": np.zeros(3), "indices": np.array([1, 1]), "updates": np.array([1.0, 2.0])}
    assert evaluate("scatter", of(0, **given, mode="add"))[0].tolist() == [0, 3, 0]
    with pytest.raises(NotImplementedError, match="several updates"):
        evaluate("scatter", of(0, **given, mode="update"))


def test_integers_are_added_and_not_divided() -> None:
    given = {"data": np.array([1, 2], np.int32), "indices": np.array([1]), "updates": np.array([3], np.int32)}
    assert evaluate("scatter", of(0, **given, mode="add"))[0].tolist() == [1, 5]
    with pytest.raises(NotImplementedError, match="integers"):
        evaluate("scatter", of(0, **given, mode="div"))
