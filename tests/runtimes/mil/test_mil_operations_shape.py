"""Operations of MIL that create, join and reshape values, against the definitions of their specification."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from mil_cases import Case, Cases, Draw, check, evaluate, of


def reshape(draw: Draw) -> Case:
    """Draw a shape: 0 copies the side of x, counted from the end, or is 1 if there is none; -1 is inferred."""
    x = draw.array(*draw.shape(2, 4))
    zeros = draw.integer(0, x.ndim - 1)
    missing = draw.integer(0, 1) if zeros == x.ndim - 1 else 0
    wanted = [0] * missing + [-1] + [1] * draw.integer(0, 1 - missing) + [0] * zeros
    kept = x.shape[x.ndim - zeros :]
    y = x.reshape([1] * missing + [-1] + [1] * (len(wanted) - missing - 1 - zeros) + list(kept))
    return of(y, "iOS17", x=x, shape=wanted)


def reshape_like(draw: Draw) -> Case:
    first, second = draw.array(*draw.shape(2, 3)), draw.array(*draw.shape(2, 3))
    begins, ends, masks = (draw.integer(0, 1), draw.integer(0, 1)), (2, -7), (False, True)
    wanted = (*first.shape[begins[0] : 2], *second.shape[begins[1] :])
    x = draw.array(int(np.prod(wanted)))
    given = {"ref_tensors": (first, second), "begins": begins, "ends": ends, "end_masks": masks}
    return of(x.reshape(wanted), "iOS16", x=x, computed=("x", "ref_tensors"), **given)


def expand_dims(draw: Draw) -> Case:
    x = draw.array(*draw.shape(1, 3))
    rank = x.ndim + draw.integer(1, 2)
    axes = [axis - rank * draw.integer(0, 1) for axis in draw.rng.permutation(rank)[: rank - x.ndim].tolist()]
    return of(np.expand_dims(x, tuple(axes)), x=x, axes=axes)


def squeeze(draw: Draw) -> Case:
    """Draw axes to squeeze; only those of length 1 are removed."""
    x = draw.array(*draw.shape(2, 5, high=2), 2)
    axes = draw.choice(None, draw.axes(x.ndim))
    named = range(x.ndim) if axes is None else [axis % x.ndim for axis in axes]
    return of(x.reshape([side for i, side in enumerate(x.shape) if side > 1 or i not in named]), x=x, axes=axes)


def flatten2d(draw: Draw) -> Case:
    x = draw.array(*draw.shape(1, 4))
    axis = draw.choice(None, draw.axis(x.ndim))
    first = x.shape[: 1 if axis is None else axis]
    return of(x.reshape(int(np.prod(first)), -1), x=x, axis=axis)


def transpose(draw: Draw) -> Case:
    x = draw.array(*draw.shape(1, 5))
    perm = draw.rng.permutation(x.ndim).tolist()
    return of(x.transpose(perm), x=x, perm=[axis - x.ndim * draw.integer(0, 1) for axis in perm])


def fill(draw: Draw) -> Case:
    shape, value = draw.shape(1, 4), draw.choice(None, draw.number(), 3)
    return of(np.full(shape, 0.0 if value is None else value).astype(type(value or 0.0)), shape=[*shape], value=value)


def fill_like(draw: Draw) -> Case:
    x, value = draw.array(*draw.shape(1, 4)), draw.choice(None, draw.number())
    return of(np.full(x.shape, value or 0.0), "iOS16", ref_tensor=x, value=value, computed=("ref_tensor",))


def range_1d(draw: Draw) -> Case:
    kind = draw.choice(np.int32, np.float64)
    start, step, steps = (draw.integers(low=low, high=9).item() for low in (-9, 1, 0))
    step *= draw.choice(1, -1)
    end = start + step * steps + draw.choice(0, 1 if step > 0 else -1)
    numbers = {key: kind(value).item() for key, value in (("start", start), ("end", end), ("step", step))}
    return of(np.arange(start, end, step).astype(kind), **numbers)


def one_hot(draw: Draw) -> Case:
    size, indices = draw.integer(1, 6), draw.integers(*draw.shape(1, 3), low=0, high=7)
    on, off = draw.choice((None, None), (draw.number(), -draw.number()), (5, 2))
    axis = draw.choice(None, draw.integer(-indices.ndim - 1, indices.ndim))
    rows = np.full((*indices.shape, size), 0 if off is None else off, dtype=type(off or 0))
    for place in np.ndindex(*indices.shape):
        if indices[place] < size:
            rows[place][indices[place]] = 1 if on is None else on
    y = np.moveaxis(rows, -1, -1 if axis is None else axis)
    y = y.astype(np.int32) if y.dtype == np.int64 else y
    given = {"one_hot_vector_size": size, "axis": axis, "on_value": on, "off_value": off}
    return of(y, indices=indices, computed=("indices",), **given)


def band_part(draw: Draw) -> Case:
    x, lower, upper = draw.array(*draw.shape(2, 4)), draw.integer(-1, 3), draw.integer(-1, 3)
    y = x.copy()
    for row, column in np.ndindex(*x.shape[-2:]):
        if (lower >= 0 and row - column > lower) or (upper >= 0 and column - row > upper):
            y[..., row, column] = 0
    return of(y, x=x, lower=lower, upper=upper)


def non_zero(draw: Draw) -> Case:
    x = draw.integers(*draw.shape(1, 4), low=0, high=2).astype(np.float64)
    return of(np.array([at for at in np.ndindex(*x.shape) if x[at]], dtype=np.int32).reshape(-1, x.ndim), x=x)


def concat(draw: Draw) -> Case:
    shape, count, interleave = draw.shape(1, 4), draw.integer(1, 3), draw.choice(None, True, False)
    axis = draw.axis(len(shape))
    parts = []
    for _ in range(count):
        sides = list(shape)
        sides[axis] = shape[axis] if interleave else draw.integer(1, 4)
        parts.append(draw.array(*sides))
    y = np.concatenate(parts, axis)
    if interleave:  # in1[0], in2[0] ..., in1[1], in2[1] ...
        turns = [part * shape[axis] + i for i in range(shape[axis]) for part in range(count)]
        y = np.take(y, turns, axis)
    return of(y, values=tuple(parts), axis=axis, interleave=interleave, computed=("values",))


def stack(draw: Draw) -> Case:
    shape = draw.shape(1, 4)
    parts, axis = tuple(draw.array(*shape) for _ in range(draw.integer(1, 3))), draw.axis(len(shape) + 1)
    return of(np.stack(parts, axis), values=parts, axis=axis, computed=("values",))


def tile(draw: Draw) -> Case:
    x = draw.array(*draw.shape(1, 4))
    reps = [draw.integer(1, 3) for _ in x.shape]
    return of(np.tile(x, reps), x=x, reps=reps)


def pad(draw: Draw) -> Case:
    """Draw a padding of the last axes of x; ``reflect`` omits the end element, ``replicate`` repeats it."""
    x, mode = draw.array(*draw.shape(1, 4, low=2)), draw.choice(None, "constant", "reflect", "replicate")
    padded = draw.integer(1, x.ndim)
    amounts = [(draw.integer(0, side - 1), draw.integer(0, side - 1)) for side in x.shape[x.ndim - padded :]]
    value = draw.number() if mode == "constant" else None
    everywhere = [(0, 0)] * (x.ndim - padded) + amounts
    names: dict[str, Any] = {"reflect": "reflect", "replicate": "edge"}
    options = {} if mode in names else {"constant_values": value or 0}
    y = np.pad(x, everywhere, names.get(mode, "constant"), **options)
    return of(y, x=x, pad=[amount for pair in amounts for amount in pair], mode=mode, constant_val=value)


def moved(
    shape: Callable[[int, int, int, int, int], tuple[int, ...]],
    source: Callable[..., tuple[int, ...]],
    parameter: str,
    deep: bool,
    opset: str = "iOS15",
) -> Callable[[Draw], Case]:
    """Move blocks of n x n pixels: the shape of the output and the source of each of its elements."""

    def make(draw: Draw) -> Case:
        n, (b, c, h, w) = draw.integer(2, 3), draw.shape(4, 4, high=3)
        x = draw.array(b, c * n * n, h, w) if deep else draw.array(b, c, h * n, w * n)
        y = np.zeros(shape(b, c, h, w, n))
        for place in product(*map(range, y.shape)):
            y[place] = x[source(*place, n=n, c=c)]
        return of(y, opset, x=x, **{parameter: n})

    return make


def blocks(draw: Draw, backwards: bool) -> Case:
    """Pixel (h, w) moves to (h // high, w // wide) of image (h % high, w % wide), counted before the batch."""
    high, wide, (b, c, h, w) = draw.integer(1, 3), draw.integer(1, 3), draw.shape(4, 4, high=3)
    top, left, bottom, right = (draw.integer(0, (side - 1) // 2) for side in (high * h, wide * w) * 2)
    whole = draw.array(b, c, h * high, w * wide)
    inner = whole[:, :, top : h * high - bottom, left : w * wide - right]
    if not backwards:
        whole = np.pad(inner, [(0, 0), (0, 0), (top, bottom), (left, right)])
    batched = np.zeros((high * wide * b, c, h, w))
    for i, j in np.ndindex(h * high, w * wide):
        image = (i % high * wide + j % wide) * b
        batched[image : image + b, :, i // high, j // wide] = whole[:, :, i, j]
    amounts = np.array([[top, bottom], [left, right]], dtype=np.int32)
    shape = {"block_shape": [high, wide]}
    return (
        of(inner, x=batched, crops=amounts, **shape) if backwards else of(batched, x=inner, paddings=amounts, **shape)
    )


def deeper(b: int, c: int, h: int, w: int, n: int) -> tuple[int, ...]:
    return b, c * n * n, h, w


def wider(b: int, c: int, h: int, w: int, n: int) -> tuple[int, ...]:
    return b, c, h * n, w * n


CASES: Cases = {
    "band_part": band_part,
    "batch_to_space": lambda draw: blocks(draw, True),
    "concat": concat,
    "depth_to_space": moved(
        wider, lambda b, k, i, j, n, c: (b, (i % n * n + j % n) * c + k, i // n, j // n), "block_size", True
    ),
    "expand_dims": expand_dims,
    "fill": fill,
    "fill_like": fill_like,
    "flatten2d": flatten2d,
    "non_zero": non_zero,
    "one_hot": one_hot,
    "pad": pad,
    "pixel_shuffle": moved(
        wider, lambda b, k, i, j, n, c: (b, k * n * n + i % n * n + j % n, i // n, j // n), "upscale_factor", True
    ),
    "pixel_unshuffle": moved(
        deeper,
        lambda b, k, i, j, n, c: (b, k // (n * n), i * n + k % (n * n) // n, j * n + k % n),
        "downscale_factor",
        False,
        "iOS16",
    ),
    "range_1d": range_1d,
    "reshape": reshape,
    "reshape_like": reshape_like,
    "shape": lambda draw: (lambda x: of(np.array(x.shape, dtype=np.int32), x=x))(draw.array(*draw.shape(1, 5))),
    "space_to_batch": lambda draw: blocks(draw, False),
    "space_to_depth": moved(
        deeper, lambda b, k, i, j, n, c: (b, k % c, i * n + k // c // n, j * n + k // c % n), "block_size", False
    ),
    "squeeze": squeeze,
    "stack": stack,
    "tile": tile,
    "transpose": transpose,
}


@pytest.mark.parametrize("op", CASES)
def test_operation_is_as_defined(op: str) -> None:
    check(op, CASES[op])


@pytest.mark.parametrize(("mode", "most"), [("reflect", 2), ("replicate", 3)])
def test_a_padding_is_at_most_as_long_as_the_axis(mode: str, most: int) -> None:
    """In ``reflect`` it is at most one less, because the end element is not repeated."""
    x = np.array([1.0, 2.0, 3.0])
    (y,) = evaluate("pad", of(0, x=x, pad=[most, 0], mode=mode))
    assert y.tolist() == {"reflect": [3, 2, 1, 2, 3], "replicate": [1, 1, 1, 1, 2, 3]}[mode]
    for amounts in ([most + 1, 0], [0, most + 1], [-1, 0]):
        with pytest.raises(ValueError, match="of an axis of 3"):
            evaluate("pad", of(0, x=x, pad=amounts, mode=mode))
