"""Operations of an ONNX graph with random attributes in every opset, compared with ONNX Runtime.

Each draw must give ONNX Runtime's values, or be refused by the name of its operation.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from onnx_nodes import Case, gap, image_of, module_of, runtime

from evim_deploy.common.errors import BadInput

OPSETS = (11, 12, 13, 16, 17, 18, 19, 20, 21, 22, 23)
DRAWS = 60
TOLERANCE = 1e-5
LARGEST = np.iinfo(np.int64).max


class Draw:
    """Random attributes of one operation."""

    def __init__(self, op: str) -> None:
        self.rng = np.random.default_rng(zlib.crc32(op.encode()))

    def integer(self, low: int, high: int) -> int:
        """An integer from low to high, both included."""
        return int(self.rng.integers(low, high + 1))

    def integers(self, count: int, low: int, high: int) -> list[int]:
        return [self.integer(low, high) for _ in range(count)]

    def choice(self, *options: Any) -> Any:
        return options[self.rng.integers(len(options))]

    def flag(self) -> int:
        return self.integer(0, 1)

    def floats(self, *shape: int) -> np.ndarray[Any, Any]:
        return self.rng.standard_normal(shape, dtype=np.float32)

    def number(self, low: float = -2, high: float = 2) -> float:
        return float(self.rng.uniform(low, high))

    def map(self) -> tuple[int, ...]:
        return 1, self.choice(2, 4), self.integer(5, 9), self.integer(5, 9)

    def some(self, **attributes: Any) -> dict[str, Any]:
        """Some of the attributes; the others keep their defaults."""
        return {name: value for name, value in attributes.items() if self.flag()}

    def axes(self, rank: int) -> list[int]:
        chosen = self.rng.permutation(rank)[: self.integer(1, rank)]
        return [int(axis) - rank * self.flag() for axis in chosen]


def ints(values: Any) -> np.ndarray[Any, Any]:
    return np.array(values, dtype=np.int64)


def _window(draw: Draw, dilations: bool) -> dict[str, Any]:
    kernel = draw.integers(2, 1, 4)
    pads = [draw.integer(0, kernel[i % 2] - 1) for i in range(4)]
    how = draw.choice({}, {"pads": pads}, {"pads": pads}, {"pads": pads[:2] * 2}, {"auto_pad": draw.choice(*_AUTO)})
    dilated = {"dilations": draw.integers(2, 1, 2)} if dilations and draw.flag() else {}
    return {"kernel_shape": kernel, **draw.some(strides=draw.integers(2, 1, 4)), **how, **dilated}


_AUTO = ("SAME_UPPER", "SAME_LOWER", "VALID")


def _average_pool(draw: Draw, opset: int) -> Case:
    options = draw.some(ceil_mode=1, count_include_pad=1)
    return Case("AveragePool", {**_window(draw, opset > 18), **options}, shape=draw.map(), opset=opset)


def _max_pool(draw: Draw, opset: int) -> Case:
    options = draw.some(ceil_mode=1, storage_order=1)
    return Case("MaxPool", {**_window(draw, True), **options}, shape=draw.map(), opset=opset)


def _conv(draw: Draw, opset: int) -> Case:
    shape, window = draw.map(), _window(draw, True)
    groups = draw.choice(1, 2)
    kernel = draw.floats(4, shape[1] // groups, *window["kernel_shape"])
    bias = (draw.floats(4),) if draw.flag() else ()
    return Case("Conv", {**window, "group": groups}, (kernel, *bias), shape, opset)


def _pad(draw: Draw, opset: int) -> Case:
    mode = draw.choice("constant", "reflect", "edge", "wrap" if opset > 18 else "edge")
    amounts = ints([*draw.integers(2, 0, draw.flag()), *draw.integers(2, -2, 3)] * 2)
    others: tuple[Any, ...] = (amounts, draw.choice(None, np.float32(draw.number())))
    if opset > 17 and draw.flag():
        others = ints(draw.integers(4, -1, 3)), others[1], ints([2, -1])
    return Case("Pad", {"mode": mode}, others, draw.map(), opset)


def _resize(draw: Draw, opset: int) -> Case:
    shape = draw.map()
    sides, count = shape[2:], 4
    attributes = draw.some(
        mode=draw.choice("nearest", "linear", "cubic"),
        coordinate_transformation_mode=draw.choice(
            "half_pixel",
            "pytorch_half_pixel",
            "align_corners",
            "asymmetric",
            *(["half_pixel_symmetric"] * (opset > 18)),
        ),
        nearest_mode=draw.choice("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"),
        cubic_coeff_a=-0.5,
        extrapolation_value=1.0,
    )
    if opset > 17:
        attributes |= draw.some(antialias=0, keep_aspect_ratio_policy="stretch", exclude_outside=0)
        if draw.flag():
            attributes["axes"], count = [2, 3], 2  # negative ones end ONNX Runtime 1.23 with a segmentation fault
    region = np.zeros(0, np.float32) if opset < 13 else None
    if draw.flag():
        sizes = [draw.choice(1, side, 2 * side, 3 * side, draw.integer(1, 20)) for side in sides]
        scales = np.zeros(0, np.float32) if opset < 13 else None
        return Case("Resize", attributes, (region, scales, ints([*shape[:2], *sizes][-count:])), shape, opset)
    factors = [draw.choice(1, 2, 3, 0.5, 1.5, draw.number(0.3, 3)) for _ in sides]
    return Case("Resize", attributes, (region, np.array([1, 1, *factors][-count:], np.float32)), shape, opset)


def _softmax(op: str) -> Callable[[Draw, int], Case]:
    return lambda draw, opset: Case(op, draw.some(axis=draw.integer(-4, 3)), shape=draw.map(), opset=opset)


def _reduce(op: str) -> Callable[[Draw, int], Case]:
    def make(draw: Draw, opset: int) -> Case:
        shape = draw.map()[4 - draw.integer(1, 4) :]
        axes, attributes = draw.axes(len(shape)), draw.some(keepdims=draw.flag())
        is_input = opset > 17 or (op == "ReduceSum" and opset > 12)
        if not draw.flag():
            return Case(op, attributes, shape=shape, opset=opset, positive=True)
        if not is_input:
            return Case(op, {**attributes, "axes": axes}, shape=shape, opset=opset, positive=True)
        attributes |= draw.some(noop_with_empty_axes=draw.flag())
        return Case(op, attributes, (ints(draw.choice(axes, axes, [])),), shape, opset, positive=True)

    return make


def _slice(draw: Draw, opset: int) -> Case:
    shape, axes = draw.map(), draw.axes(4)
    starts, ends, steps = [], [], []
    for axis in axes:
        low, step = draw.integer(0, shape[axis] - 1), draw.choice(1, 1, 2, 3, -1, -2)
        high = draw.integer(low + 1, shape[axis])
        first, last = (low, high) if step > 0 else (high - 1, low - 1)
        starts.append(draw.choice(first, first - shape[axis], -LARGEST if (low, step > 0) == (0, True) else first))
        ends.append(draw.choice(last, LARGEST) if step > 0 else draw.choice(last - shape[axis], -LARGEST))
        steps.append(step)
    return Case("Slice", {}, (ints(starts), ints(ends), ints(axes), ints(steps)), shape, opset)


def _gather(draw: Draw, opset: int) -> Case:
    shape, axis = draw.map(), draw.integer(-4, 3)
    length = shape[axis]
    index = draw.rng.integers(-length, length, draw.choice((), (1,), (3,), (2, 2)))
    return Case("Gather", {"axis": axis}, (ints(index),), shape, opset)


def _reshape(draw: Draw, opset: int) -> Case:
    shape = draw.map()
    sizes = draw.choice([0, -1], [0, 0, -1], [-1, shape[1], 0], [0, 0, 0, 0], [-1], [1, 0, 1, -1])
    return Case("Reshape", {}, (ints(sizes),), shape, opset)


def _split(draw: Draw, opset: int) -> Case:
    shape, axis = draw.map(), draw.integer(-4, 3)
    first = draw.integer(1, shape[axis])
    sections = [first, shape[axis] - first]
    if draw.flag():
        attributes = {"num_outputs": draw.integer(1, 4)} if opset > 17 else {}
        outputs = attributes.get("num_outputs", 1)
        return Case("Split", {"axis": axis, **attributes}, (), shape, opset, outputs)
    if opset < 13:
        return Case("Split", {"axis": axis, "split": sections}, (), shape, opset, 2)
    return Case("Split", {"axis": axis}, (ints(sections),), shape, opset, 2)


def _gemm(draw: Draw, opset: int) -> Case:
    attributes = draw.some(transA=1, transB=1, alpha=draw.number(), beta=draw.number())
    shape = (5, 2) if "transA" in attributes else (2, 5)
    other = draw.floats(*((3, 5) if "transB" in attributes else (5, 3)))
    bias = draw.choice((), ((),), ((1,),), ((3,),), ((1, 3),), ((2, 1),), ((2, 3),))
    return Case("Gemm", attributes, (other, *(draw.floats(*each) for each in bias)), shape, opset)


def _clip(draw: Draw, opset: int) -> Case:
    limits = [draw.choice(None, np.float32(draw.number())) for _ in range(2)]
    return Case("Clip", {}, tuple(limits), draw.map(), opset)


def _numbers(op: str, *names: str, **options: Any) -> Callable[[Draw, int], Case]:
    def make(draw: Draw, opset: int) -> Case:
        return Case(op, draw.some(**{name: draw.number() for name in names}), shape=draw.map(), opset=opset, **options)

    return make


def _binary(op: str) -> Callable[[Draw, int], Case]:
    def make(draw: Draw, opset: int) -> Case:
        shape = draw.map()[4 - draw.integer(0, 4) :] if op != "PRelu" else draw.map()
        other = draw.choice(shape, tuple(draw.choice(1, n) for n in shape), shape[1:], shape[2:], (), (1,), (1, 1, 1))
        if op == "PRelu" and len(other) > len(shape):
            other = ()
        values = draw.floats(*other) + (3 if op == "Div" else 0)
        return Case(op, {}, (np.asarray(values, np.float32),), shape, opset, positive=op == "Pow")

    return make


def _layer_norm(draw: Draw, opset: int) -> Case:
    shape, axis = draw.map(), draw.integer(-4, 3)
    weights = [draw.floats(*shape[axis % 4 :]) for _ in range(draw.integer(1, 2))]
    attributes = draw.some(epsilon=draw.number(0, 0.1), stash_type=1)
    return Case("LayerNormalization", {"axis": axis, **attributes}, tuple(weights), shape, max(opset, 17))


def _group_norm(draw: Draw, opset: int) -> Case:
    shape, opset = draw.map(), max(opset, 18)
    groups = draw.choice(1, 2)
    count = groups if opset < 21 else shape[1]
    attributes = draw.some(epsilon=draw.number(0, 0.1))
    return Case(
        "GroupNormalization",
        {"num_groups": groups, **attributes},
        (draw.floats(count), draw.floats(count)),
        shape,
        opset,
    )


def _instance_norm(draw: Draw, opset: int) -> Case:
    shape = draw.map()[: draw.integer(3, 4)]
    weights = draw.floats(shape[1]), draw.floats(shape[1])
    return Case("InstanceNormalization", draw.some(epsilon=draw.number(0, 0.1)), weights, shape, opset)


def _lp_norm(draw: Draw, opset: int) -> Case:
    return Case("LpNormalization", draw.some(axis=draw.integer(-4, 3), p=draw.choice(1, 2)), (), draw.map(), opset)


def _local_norm(draw: Draw, opset: int) -> Case:
    attributes = draw.some(alpha=draw.number(0, 2), beta=draw.number(0, 2), bias=draw.number(1, 3))
    return Case("LRN", {"size": draw.choice(1, 3, 5), **attributes}, (), draw.map(), opset)


def _blocks(op: str) -> Callable[[Draw, int], Case]:
    def make(draw: Draw, opset: int) -> Case:
        side = draw.choice(1, 2, 3)
        attributes = draw.some(mode=draw.choice("DCR", "CRD")) if op == "DepthToSpace" else {}
        shape = (1, 2 * side * side, 3, 4) if op == "DepthToSpace" else (1, 3, 2 * side, 4 * side)
        return Case(op, {"blocksize": side, **attributes}, (), shape, opset)

    return make


def _axes(op: str) -> Callable[[Draw, int], Case]:
    def make(draw: Draw, opset: int) -> Case:
        is_squeeze = op == "Squeeze"
        shape = (1, 3, 1, 4) if is_squeeze else (2, 3)
        axes = draw.choice([0], [2], [-2, 0], [0, 2], None) if is_squeeze else draw.choice([0], [-1], [1, -1], [3, 0])
        if axes is None:
            return Case(op, {}, (), shape, opset)
        return Case(op, {}, (ints(axes),), shape, opset) if opset > 12 else Case(op, {"axes": axes}, (), shape, opset)

    return make


def _expand(draw: Draw, opset: int) -> Case:
    return Case("Expand", {}, (ints(draw.choice([2, 1, 5, 1], [1], [5, 4], [3, 2, 3, 5, 4])),), (2, 3, 1, 4), opset)


def _flatten(draw: Draw, opset: int) -> Case:
    shape = draw.map()[4 - draw.integer(1, 4) :]
    return Case("Flatten", {"axis": draw.integer(-len(shape), len(shape))}, (), shape, opset)


MAKERS: dict[str, Callable[[Draw, int], Case]] = {
    "AveragePool": _average_pool,
    "MaxPool": _max_pool,
    "Conv": _conv,
    "Pad": _pad,
    "Resize": _resize,
    "Softmax": _softmax("Softmax"),
    "LogSoftmax": _softmax("LogSoftmax"),
    **{
        op: _reduce(op)
        for op in (
            "ReduceMean",
            "ReduceSum",
            "ReduceMax",
            "ReduceMin",
            "ReduceProd",
            "ReduceL1",
            "ReduceL2",
            "ReduceSumSquare",
            "ReduceLogSumExp",
        )
    },
    "Slice": _slice,
    "Gather": _gather,
    "Reshape": _reshape,
    "Split": _split,
    "Gemm": _gemm,
    "Clip": _clip,
    "Selu": _numbers("Selu", "alpha", "gamma"),
    "Elu": _numbers("Elu", "alpha"),
    "LeakyRelu": _numbers("LeakyRelu", "alpha"),
    "HardSigmoid": _numbers("HardSigmoid", "alpha", "beta"),
    **{op: _binary(op) for op in ("Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Sum", "Mean", "PRelu")},
    "LayerNormalization": _layer_norm,
    "GroupNormalization": _group_norm,
    "InstanceNormalization": _instance_norm,
    "LpNormalization": _lp_norm,
    "LRN": _local_norm,
    "DepthToSpace": _blocks("DepthToSpace"),
    "SpaceToDepth": _blocks("SpaceToDepth"),
    "Squeeze": _axes("Squeeze"),
    "Unsqueeze": _axes("Unsqueeze"),
    "Expand": _expand,
    "Flatten": _flatten,
}


def drawn(op: str) -> Iterator[tuple[Case, np.ndarray[Any, Any]]]:
    """Cases that ONNX Runtime accepts, with its outputs."""
    draw = Draw(op)
    for _ in range(DRAWS):
        case = MAKERS[op](draw, draw.choice(*OPSETS))
        try:
            expected = runtime(case)
        except Exception:  # of any kind: a draw that is no valid model
            continue
        if expected.size and np.isfinite(expected).all():
            yield case, expected


@pytest.mark.parametrize("op", MAKERS)
def test_random_attributes_mean_what_onnx_runtime_makes_of_them(op: str) -> None:
    computed, refused = 0, []
    for case, expected in drawn(op):
        try:
            actual = module_of(case)(torch.from_numpy(image_of(case))).numpy()
        except BadInput as error:
            refused.append(error.cause)
            continue
        assert actual.shape == expected.shape, case
        assert gap(expected, actual) < TOLERANCE, case
        computed += 1
    assert computed >= DRAWS // 2
    assert all(op in cause for cause in refused)
