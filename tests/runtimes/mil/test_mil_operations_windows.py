"""Convolutions, matrix products and pools of MIL, against the sums of their specification."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from mil_cases import Array, Case, Cases, Draw, check, evaluate, of

Pads = list[tuple[int, int]]


def pads(
    pad_type: str, custom: Sequence[int], sides: Sequence[int], reach: Sequence[int], stride: Sequence[int]
) -> Pads:
    """Draw the padding before and after each side; ``reach`` is the length of a window with its dilation."""
    if pad_type == "custom":
        return [(custom[2 * i], custom[2 * i + 1]) for i in range(len(sides))]
    found = []
    for side, size, step in zip(sides, reach, stride, strict=True):
        out = int(np.ceil(side / step))  # the definition of `same` in the specification
        total = max(0, (out - 1) * step + size - side) if pad_type.startswith("same") else 0
        larger, smaller = total - total // 2, total // 2
        found.append((larger, smaller) if pad_type == "same_lower" else (smaller, larger))
    return found


def correlate(x: Array, weight: Array, stride: Sequence[int], dilation: Sequence[int], groups: int) -> Array:
    """Correlate tap by tap, without padding."""
    kernel = weight.shape[2:]
    out = [
        (side - (size - 1) * gap - 1) // step + 1
        for side, size, step, gap in zip(x.shape[2:], kernel, stride, dilation, strict=True)
    ]
    rows = weight.reshape(groups, -1, *weight.shape[1:])
    y = np.zeros((len(x), groups, rows.shape[1], *out))
    for tap in np.ndindex(*kernel):
        place = tuple(
            slice(t * gap, t * gap + (count - 1) * step + 1, step)
            for t, gap, count, step in zip(tap, dilation, out, stride, strict=True)
        )
        part = x[(slice(None), slice(None), *place)].reshape(len(x), groups, -1, *out)
        y += np.einsum("bgc...,goc->bgo...", part, rows[(..., *tap)])
    return y.reshape(len(x), -1, *out)


def window_parameters(draw: Draw, spatial: int, pad_types: Sequence[str]) -> dict[str, Any]:
    """Draw kernel, stride, dilation, padding, and sides that hold a window; steps of 1 may use the default."""
    kernel = [draw.integer(1, 3) for _ in range(spatial)]
    stride, dilation = (draw.choice([1] * spatial, [draw.integer(1, n) for _ in range(spatial)]) for n in (3, 2))
    return {
        "kernel": kernel,
        "stride": stride,
        "strides": None if max(stride) == 1 else stride,
        "dilation": dilation,
        "dilations": None if max(dilation) == 1 else dilation,
        "pad_type": draw.choice(*pad_types),
        "pad": [draw.integer(0, 2) for _ in range(2 * spatial)],
        "sides": [draw.integer(0, 5) + (size - 1) * gap + 1 for size, gap in zip(kernel, dilation, strict=True)],
    }


def channels(draw: Draw) -> tuple[int, int, int]:
    """Draw groups, input and output channels: one group, several, or one for each channel."""
    groups = draw.choice(1, 1, 2, 3)
    into = groups * draw.choice(1, 2)
    return groups, into, groups * draw.integer(1, 3)


def conv(draw: Draw) -> Case:
    p = window_parameters(draw, draw.choice(1, 2, 2, 3), ("valid", "same", "same_lower", "custom"))
    groups, into, out = channels(draw)
    x, weight = draw.array(draw.integer(1, 2), into, *p["sides"]), draw.array(out, into // groups, *p["kernel"])
    bias = draw.choice(None, draw.array(out))
    reach = [(size - 1) * gap + 1 for size, gap in zip(p["kernel"], p["dilation"], strict=True)]
    pad = draw.choice(p["pad"], p["pad"], None)
    amounts = pads(p["pad_type"], pad or [0] * 6, p["sides"], reach, p["stride"])
    y = correlate(np.pad(x, [(0, 0), (0, 0), *amounts]), weight, p["stride"], p["dilation"], groups)
    y = y if bias is None else y + bias.reshape(-1, *(1,) * len(p["sides"]))
    given = {"strides": p["strides"], "dilations": p["dilations"], "groups": groups, "pad_type": p["pad_type"]}
    return of(y, "iOS16", x=x, weight=weight, bias=bias, pad=pad if p["pad_type"] == "custom" else None, **given)


def conv_transpose(draw: Draw) -> Case:
    """Add the product of each element of x and the kernel to the output."""
    p = window_parameters(draw, draw.choice(1, 2), ("valid", "same", "custom"))
    groups, into, out = channels(draw)
    stride, dilation, sides = p["stride"], p["dilation"], [draw.integer(2, 4) for _ in p["sides"]]
    x, weight = draw.array(draw.integer(1, 2), into, *sides), draw.array(into, out // groups, *p["kernel"])
    reach = [(size - 1) * gap + 1 for size, gap in zip(p["kernel"], dilation, strict=True)]
    full = [(side - 1) * step + far for side, step, far in zip(sides, stride, reach, strict=True)]
    wanted = [side * step for side, step in zip(sides, stride, strict=True)]
    y = np.zeros((len(x), out, *np.maximum(full, wanted)))  # a kernel shorter than the stride leaves zeros at the end
    for channel in range(into):
        first = channel // (into // groups) * (out // groups)
        for place in np.ndindex(*sides):
            for tap in np.ndindex(*p["kernel"]):
                where = tuple(i * s + k * d for i, s, k, d in zip(place, stride, tap, dilation, strict=True))
                products = x[(slice(None), channel, *place)][:, None] * weight[(channel, slice(None), *tap)]
                y[(slice(None), slice(first, first + out // groups), *where)] += products
    custom = [draw.integer(0, (far - 1) // 2) for far in np.repeat(reach, 2)]
    amounts = pads(p["pad_type"], custom, wanted, reach, stride)
    ends = wanted if p["pad_type"] == "same" else [far - sum(pair) for far, pair in zip(full, amounts, strict=True)]
    y = y[(..., *(slice(before, before + end) for (before, _), end in zip(amounts, ends, strict=True)))]
    bias = draw.choice(None, draw.array(out))
    y = y if bias is None else y + bias.reshape(-1, *(1,) * len(sides))
    given = {"strides": p["strides"], "dilations": p["dilations"], "groups": groups, "pad_type": p["pad_type"]}
    return of(
        y, x=x, weight=weight, bias=bias, pad=custom if p["pad_type"] == "custom" and any(custom) else None, **given
    )


def matmul(draw: Draw) -> Case:
    """Draw vectors and matrices with leading axes that broadcast."""
    rows, inner, columns = (draw.integer(1, 20) for _ in range(3))
    left, right = draw.choice(((), ()), ((2, 3), (2, 3)), ((3,), (2, 1)), ((2, 1), ()))
    turn_x, turn_y = draw.flag(), draw.flag()
    x = draw.array(inner) if draw.integer(0, 4) == 0 else draw.array(*left, rows, inner)
    y = draw.array(inner) if draw.integer(0, 4) == 0 else draw.array(*right, inner, columns)
    z = np.matmul(x, y)
    given_x = x.swapaxes(-1, -2) if turn_x and x.ndim > 1 else x
    given_y = y.swapaxes(-1, -2) if turn_y and y.ndim > 1 else y
    given = {"transpose_x": turn_x, "transpose_y": turn_y}
    return of(z, x=given_x.copy(), y=given_y.copy(), computed=("x", "y"), **given)


def linear(draw: Draw) -> Case:
    x, out = draw.array(*draw.shape(1, 3)), draw.integer(1, 6)
    weight, bias = draw.array(out, x.shape[-1]), draw.choice(None, draw.array(out))
    return of(x @ weight.T + (0 if bias is None else bias), x=x, weight=weight, bias=bias)


def einsum(draw: Draw) -> Case:
    c, h, k, n = (draw.integer(1, 5) for _ in range(4))
    batch, names = draw.choice(((), "chw,whr->chr"), ((2,), "nchw,nwhu->nchu"))
    x, y = draw.array(*batch, c, h, k), draw.array(*batch, k, h, n)
    return of(np.einsum(names, x, y), values=(x, y), equation=names, computed=("values",))


def attention(draw: Draw) -> Case:
    batch = draw.choice((2,), (2, 3))
    length, source, width, out = (draw.integer(1, 6) for _ in range(4))
    q, k, v = draw.array(*batch, length, width), draw.array(*batch, source, width), draw.array(*batch, source, out)
    scores = np.einsum("...le,...se->...ls", q, k) / np.sqrt(width)
    mask = draw.choice(None, draw.array(length, source), draw.array(source), np.eye(length, source, dtype=bool))
    if mask is not None and mask.dtype == bool:
        mask[:, 0] = True  # a softmax needs an element
        scores = np.where(mask, scores, -np.inf)
    elif mask is not None:
        scores = scores + mask
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    y = weights / weights.sum(-1, keepdims=True) @ v
    return of(y, "iOS18", query=q, key=k, value=v, attn_mask=mask, computed=("query", "key", "value"))


def pool(reduce: Callable[[Array, Array], float], *, averages: bool = False) -> Any:
    """Draw a pool. ``reduce`` has the elements of a window and the weight of each tap: 1 inside x or counted padding,
    0 elsewhere."""

    def make(draw: Draw) -> Case:
        spatial = draw.choice(1, 2, 2) if not averages else draw.choice(1, 2, 3)
        p = window_parameters(draw, spatial, ("valid", "same", "same_lower", "custom"))
        kernel, stride, sides = p["kernel"], p["stride"], p["sides"]
        up = spatial < 3 and p["pad_type"] in ("valid", "custom") and draw.flag()
        # a window must hold an element, and ceil_mode accepts no uneven padding
        stride = [min(each) for each in zip(stride, kernel, strict=True)] if up else stride
        amount = [draw.integer(0, size - 1) // 2 for size in kernel]
        amounts = pads(p["pad_type"], list(np.repeat(amount, 2)), sides, kernel, stride)
        axes = list(zip(sides, kernel, stride, amounts, strict=True))
        rooms = [side + before + after - size for side, size, _, (before, after) in axes]
        last = [-(-room // step) * step for room, step in zip(rooms, stride, strict=True)]
        up = up and all(at < side + before for at, (side, _, _, (before, _)) in zip(last, axes, strict=True))
        # Core ML is reported to count the part of a window beyond counted padding
        excludes = averages and (draw.flag() or (up and last != rooms))
        x = draw.array(draw.integer(1, 2), draw.integer(1, 3), *sides)
        out = [(at if up else room) // step + 1 for at, room, step in zip(last, rooms, stride, strict=True)]
        y = np.zeros((*x.shape[:2], *out))
        for place in np.ndindex(*out):
            taps = list(window(place, kernel, stride, sides, amounts))
            inside = [at for at, kind in taps if kind == "inside"]
            counted = len([kind for _, kind in taps if kind == "inside" or (kind == "padding" and not excludes)])
            elements = np.stack([x[(..., *at)] for at in inside], -1)
            y[(..., *place)] = reduce(elements, np.array(counted))
        custom = list(np.repeat(amount, 2)) if p["pad_type"] == "custom" else None
        given = {"exclude_padding_from_average": excludes} if averages else {}
        steps = None if max(stride) == 1 else stride
        sizes = {"kernel_sizes": kernel, "strides": steps, "pad_type": p["pad_type"], "pad": custom}
        return of(y, "iOS16", x=x, **sizes, ceil_mode=up, **given)

    return make


def window(
    place: Sequence[int], kernel: Sequence[int], stride: Sequence[int], sides: Sequence[int], amounts: Pads
) -> Iterator[tuple[tuple[int, ...], str]]:
    """Yield each tap of a window: its position on x, and whether it is inside x, on the padding or beyond it."""
    for tap in np.ndindex(*kernel):
        at = tuple(i * s + t - before for i, s, t, (before, _) in zip(place, stride, tap, amounts, strict=True))
        if all(0 <= i < side for i, side in zip(at, sides, strict=True)):
            yield at, "inside"
        else:
            on = all(-b <= i < side + a for i, side, (b, a) in zip(at, sides, amounts, strict=True))
            yield at, "padding" if on else "beyond"


CASES: Cases = {
    "avg_pool": pool(lambda elements, counted: elements.sum(-1) / counted, averages=True),
    "conv": conv,
    "conv_transpose": conv_transpose,
    "einsum": einsum,
    "l2_pool": pool(lambda elements, counted: np.sqrt((elements**2).sum(-1))),
    "linear": linear,
    "matmul": matmul,
    "max_pool": pool(lambda elements, counted: elements.max(-1)),
    "scaled_dot_product_attention": attention,
}


@pytest.mark.parametrize("part", range(3))
@pytest.mark.parametrize("op", CASES)
def test_operation_computes_its_sum(op: str, part: int) -> None:
    """There are three times as many cases as for other operations, because there are many parameters."""
    check(op, CASES[op], part)


@pytest.mark.parametrize(
    ("side", "size", "stride", "pad", "expected"),
    [  # 1, 2, 3 ...
        (5, 2, 2, 0, [2, 4, 5]),  # the last window exceeds the end
        (4, 2, 2, 1, [1, 3, 4]),
        (5, 2, 5, 1, [1, 5]),
        (6, 4, 3, 1, [3, 6, 6]),
    ],
)
def test_rounding_up_adds_a_window_that_holds_an_element(
    side: int, size: int, stride: int, pad: int, expected: list[int]
) -> None:
    x = np.arange(1.0, side + 1).reshape(1, 1, side)
    given = {"kernel_sizes": [size], "strides": [stride], "pad_type": "custom", "pad": [pad, pad], "ceil_mode": True}
    assert evaluate("max_pool", of(0, x=x, **given))[0].ravel().tolist() == expected


@pytest.mark.parametrize(
    ("side", "size", "stride", "pad"),
    [(2, 1, 3, 0), (4, 2, 5, 1)],  # PyTorch omits the second window, which holds padding only
)
def test_a_window_without_an_element_is_refused(side: int, size: int, stride: int, pad: int) -> None:
    given = {"kernel_sizes": [size], "strides": [stride], "pad_type": "custom", "pad": [pad, pad], "ceil_mode": True}
    with pytest.raises(NotImplementedError, match="a window without an element"):
        evaluate("max_pool", of(0, x=np.ones((1, 1, side)), **given))


@pytest.mark.parametrize(("side", "excludes", "runs"), [(5, False, False), (5, True, True), (4, False, True)])
def test_an_average_of_counted_padding_and_beyond_is_refused(side: int, excludes: bool, runs: bool) -> None:
    given = {"kernel_sizes": [2], "strides": [2], "pad_type": "valid", "ceil_mode": True}
    case = of(0, x=np.arange(1.0, side + 1).reshape(1, 1, side), exclude_padding_from_average=excludes, **given)
    if runs:
        assert evaluate("avg_pool", case)[0].ravel().tolist() == [1.5, 3.5, 5][: (side + 1) // 2]
    else:
        with pytest.raises(NotImplementedError, match="ceil_mode, counted padding"):
            evaluate("avg_pool", case)


def test_windows_that_need_too_much_memory_are_not_damage() -> None:
    given = {"kernel_sizes": [400], "strides": [1], "pad_type": "valid"}
    with pytest.raises(NotImplementedError, match="GiB on the way"):
        evaluate("max_pool", of(0, x=np.zeros((1, 1, 3_000_000)), **given))
