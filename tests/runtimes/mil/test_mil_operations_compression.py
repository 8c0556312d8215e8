"""Quantised values and compressed constants of MIL, against the formulas of their specification."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from mil_cases import Array, Case, Cases, Draw, check, evaluate, of


def parameter(draw: Draw, x: Array, axis: int | None, values: Array) -> tuple[Any, Array]:
    """Draw a scalar or a vector along an axis; return it, and its shape for broadcasting."""
    if axis is None:
        return values.ravel()[0].item(), values.ravel()[0]
    return values, values.reshape([-1 if i == axis % x.ndim else 1 for i in range(x.ndim)])


def quantize(draw: Draw) -> Case:
    dtype = draw.choice(np.int8, np.uint8)
    x = draw.eighths(*draw.shape(1, 4), low=-4000, high=4000)
    axis = draw.choice(None, draw.axis(x.ndim))
    count = 1 if axis is None else x.shape[axis]
    scale, by = parameter(draw, x, axis, draw.rng.choice([0.5, 1.0, 2.0], count))
    zero, shift = parameter(draw, x, axis, draw.integers(count, low=0, high=9).astype(dtype))
    limits = np.iinfo(dtype)
    given = {"scale": scale, "output_dtype": dtype.__name__, "axis": axis, "zero_point": zero}
    y = np.clip(np.round(x / by) + shift, limits.min, limits.max).astype(dtype)
    return of(y, "iOS17", input=x, computed=("input",), **given)


def dequantize(draw: Draw) -> Case:
    """Draw bytes of the full range, so that an overflow in the difference would show."""
    dtype = draw.choice(np.int8, np.uint8)
    x = draw.integers(*draw.shape(1, 4), low=np.iinfo(dtype).min, high=np.iinfo(dtype).max).astype(dtype)
    axis = draw.choice(None, draw.axis(x.ndim))
    count = 1 if axis is None else x.shape[axis]
    scale, by = parameter(draw, x, axis, draw.array(count))
    zero, shift = parameter(draw, x, axis, draw.integers(count, low=0, high=99).astype(dtype))
    y = by * (x.astype(np.float64) - shift)
    return of(y, "iOS17", input=x, scale=scale, zero_point=zero, axis=axis, computed=())


def affine(draw: Draw) -> Case:
    case = dequantize(draw)
    given = dict(case.given)
    return of(case.expected[0], quantized_data=given.pop("input"), axis=given.pop("axis", 0), **given)


def packed(values: Array, bits: int) -> Array:
    """Pack values from the lowest bit of each byte on."""
    number = sum(int(value) << bits * i for i, value in enumerate(values.ravel()))
    count = (bits * values.size + 7) // 8
    return np.array([number >> 8 * i & 255 for i in range(count)], dtype=np.uint8)


def blocks_of(draw: Draw, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Draw a number of groups for each axis that divides it."""
    return tuple(draw.choice(*(n for n in range(1, side + 1) if side % n == 0)) for side in shape)


def block(place: tuple[int, ...], shape: tuple[int, ...], blocks: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(i // (side // count) for i, side, count in zip(place, shape, blocks, strict=True))


def blockwise_values(draw: Draw, data: Array) -> tuple[Array, dict[str, Array]]:
    blocks = blocks_of(draw, data.shape)
    scale = draw.array(*blocks)
    offset = draw.choice(None, draw.integers(*blocks, low=-8, high=7).astype(np.int8), draw.array(*blocks))
    y = np.zeros(data.shape)
    for place in np.ndindex(*data.shape):
        at = block(place, data.shape, blocks)
        y[place] = scale[at] * (float(data[place]) - (0 if offset is None else offset[at]))
    return y, {"scale": scale, **({} if offset is None else {"offset": offset})}


def blockwise(draw: Draw) -> Case:
    data = draw.integers(*draw.shape(1, 4, high=6), low=-128, high=127).astype(np.int8)
    y, given = blockwise_values(draw, data)
    return of(y, "iOS18", data=data, **given)


def looked_up(draw: Draw, indices: Array, entries: int) -> tuple[Array, Array, dict[str, Any]]:
    """Draw a table, and look up indices in it element by element."""
    blocks, length = blocks_of(draw, indices.shape), draw.choice(1, 1, 2, 3)
    lut, axis = draw.array(*blocks, entries, length), draw.axis(indices.ndim)
    shape = list(indices.shape)
    shape[axis] *= length
    y = np.zeros(shape)
    for place in np.ndindex(*shape):
        source = list(place)
        source[axis] //= length
        at = tuple(source)
        y[place] = lut[(*block(at, indices.shape, blocks), int(indices[at]), place[axis] % length)]
    given = {"vector_axis": axis} if length > 1 or draw.flag() else {}
    return y, lut, given


def lut_to_dense(draw: Draw) -> Case:
    bits, shape = draw.choice(1, 2, 3, 4, 6, 8), draw.shape(1, 4)
    indices = draw.integers(*shape, low=0, high=2**bits - 1).astype(np.uint8)
    if bits != 3 and draw.flag():  # iOS 16
        lut = draw.array(2**bits)
        return of(lut[indices], "iOS16", indices=packed(indices, bits), lut=lut, shape=list(shape))
    y, lut, given = looked_up(draw, indices, 2**bits)
    return of(y, "iOS18", indices=indices, lut=lut, **given)


def sparse(draw: Draw, dtype: Any = None) -> tuple[Array, Array, Array]:
    """Draw a mask, the values of its set elements, and the dense array."""
    mask = draw.integers(*draw.shape(1, 4, high=6), low=0, high=1).astype(np.uint8)
    count = int(mask.sum())
    values = draw.array(count) if dtype is None else draw.integers(count, low=0, high=3).astype(dtype)
    dense = np.zeros(mask.shape, dtype=values.dtype)
    for value, place in zip(values, (at for at in np.ndindex(*mask.shape) if mask[at]), strict=True):
        dense[place] = value
    return mask, values, dense


def sparse_to_dense(draw: Draw) -> Case:
    mask, values, dense = sparse(draw)
    if draw.flag():
        return of(dense, "iOS18", nonzero_data=values, mask=mask)
    return of(dense, "iOS16", nonzero_data=values, mask=packed(mask, 1), shape=list(mask.shape))


def lut_to_sparse(draw: Draw) -> Case:
    mask, values, dense = sparse(draw, np.uint8)
    y, lut, given = looked_up(draw, dense, 4)
    grown = np.repeat(mask, lut.shape[-1], given["vector_axis"]) if given else mask
    inputs = {"indices_mask": mask, "indices_nonzero_data": values, "lut": lut, **given}
    return Case(inputs, (grown, y[grown != 0]), "iOS18")


def sparse_blockwise(draw: Draw) -> Case:
    mask, values, dense = sparse(draw, np.int8)
    y, given = blockwise_values(draw, dense)
    return Case({"data_mask": mask, "nonzero_data": values, **given}, (mask, y[mask != 0]), "iOS18")


CASES: Cases = {
    "constexpr_affine_dequantize": affine,
    "constexpr_blockwise_shift_scale": blockwise,
    "constexpr_cast": lambda draw: (lambda x: of(x, "iOS16", source_val=x, output_dtype="fp32"))(draw.array(3, 4)),
    "constexpr_lut_to_dense": lut_to_dense,
    "constexpr_lut_to_sparse": lut_to_sparse,
    "constexpr_sparse_blockwise_shift_scale": sparse_blockwise,
    "constexpr_sparse_to_dense": sparse_to_dense,
    "dequantize": dequantize,
    "quantize": quantize,
}


@pytest.mark.parametrize("part", range(2))
@pytest.mark.parametrize("op", CASES)
def test_operation_is_as_defined(op: str, part: int) -> None:
    check(op, CASES[op], part)


def test_the_specifications_example_of_two_tables() -> None:
    lut = np.array([1.0, 5.0, 9.0, 13.0, 2.0, 10.0, 18.0, 26.0]).reshape(2, 1, 4, 1)
    indices = np.array([2, 3, 3, 0, 1, 0, 3, 0, 2, 1, 0, 3], dtype=np.uint8).reshape(6, 2)
    (y,) = evaluate("constexpr_lut_to_dense", of(0, indices=indices, lut=lut))
    assert y.tolist() == [[9, 13], [13, 1], [5, 1], [26, 2], [18, 10], [2, 26]]


def test_the_specifications_example_of_packed_bits() -> None:
    """Five indices of two bits: 00 11 10 01 in the first byte, from its lowest bit on, and 11 in the second."""
    indices = np.array([0b01101100, 0b11], dtype=np.uint8)
    (y,) = evaluate("constexpr_lut_to_dense", of(0, indices=indices, lut=np.arange(4.0), shape=[5]))
    assert y.tolist() == [0, 3, 2, 1, 3]


@pytest.mark.parametrize(
    ("op", "given", "message"),
    [
        (
            "lut_to_dense",
            {"indices": np.full(1, 4, np.uint8), "lut": np.zeros((1, 4, 1))},
            "outside a table of 4 entries",
        ),
        ("lut_to_dense", {"indices": np.zeros(1, np.uint8), "lut": np.zeros(4), "shape": [9]}, "1 bytes, not 9"),
        ("sparse_to_dense", {"nonzero_data": np.zeros(1), "mask": np.ones(2, np.uint8)}, "values for 2 set elements"),
        ("sparse_to_dense", {"nonzero_data": np.zeros(3), "mask": np.ones(2, np.uint8)}, "values for 2 set elements"),
        ("blockwise_shift_scale", {"data": np.zeros(3, np.int8), "scale": np.ones(2)}, "2 groups in an axis of 3"),
        (
            "affine_dequantize",
            {"quantized_data": np.zeros(3, np.int8), "zero_point": 0, "scale": np.ones(2), "axis": 0},
            "along axis 0",
        ),
    ],
)
def test_parameters_that_do_not_fit_are_refused(op: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(f"constexpr_{op}", of(0, **given))
