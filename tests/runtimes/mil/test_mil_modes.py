"""Rounding in the modes fp32, fp16 and ane, against numpy's float16 and against sums computed by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mil_functions import constant, function, operation, single, steps
from mil_packages import classifier, pixels, probabilities

from runtimes.mil import MilSession
from runtimes.mil.arithmetic import SMALLEST_NORMAL, TERMS, Float16, Float32
from runtimes.modes import Mode

MODES = (Mode.FP32, Mode.FP16, Mode.ANE)

LARGEST, LEAST_SUBNORMAL = 65504.0, 2.0**-24


def half(x: Any) -> Any:
    return np.asarray(x).astype(np.float16).astype(np.float64)


# --- fp16: each value rounded to its declared type ---------------------------------------------------------


def test_a_result_is_rounded_to_its_declared_type() -> None:
    """2049 is not a float16: it is rounded to 2048, the even one of 2048 and 2050."""
    x = [2047.0, 3.0]
    given = {"y": 2.0}
    assert single("add", "float16", x, "fp32", **given).values[0].tolist() == [2049, 5]
    assert single("add", "float16", x, "fp16", **given).values[0].tolist() == [2048, 5]
    assert single("add", "float32", x, "fp16", **given).values[0].tolist() == [2049, 5]


@pytest.mark.parametrize(
    ("kind", "given", "formula"),
    [
        ("add", {"y": 0.3}, lambda x: x + half(0.3)),
        ("mul", {"y": 0.3}, lambda x: x * half(0.3)),
        ("real_div", {"y": 0.3}, lambda x: x / half(0.3)),
        ("sqrt", {}, np.sqrt),
        ("exp", {}, np.exp),
        ("square", {}, np.square),
    ],
)
def test_a_result_is_the_exact_one_rounded_to_float16(kind: str, given: dict[str, Any], formula: Any) -> None:
    """Every positive float16 from 1/16 to 8 is correct to the last bit, unless the exact result lies halfway between
    two float16 values to within a rounding of float32."""
    x = np.arange(np.float16(1 / 16).view(np.uint16), np.float16(8).view(np.uint16), dtype=np.uint16)
    x = x.view(np.float16).astype(np.float64)
    (y,) = single(kind, "float16", x, "fp16", **given).values
    exact = formula(x)
    near = [half(exact * (1 + side * 2.0**-22)) for side in (-1, 1)]
    assert ((near[0] <= y.numpy()) & (y.numpy() <= near[1])).all()
    assert (y.numpy() == half(exact)).mean() > 0.999


def test_ane_rounds_the_quotient_of_a_quantised_value() -> None:
    """The quotient is 204.55, and 204.5 in float16, which is rounded to the even integer."""
    body = operation("quantize", "y", "uint8", (1,), input="x", scale=0.3, output_dtype=constant("uint8"))
    codes = {mode: steps(function({"x": ("float16", (1,))}, body), mode, x=[61.375])[0].values[0] for mode in MODES}
    assert {mode: code.tolist() for mode, code in codes.items()} == {"fp32": [205], "fp16": [205], "ane": [204]}


def test_inputs_are_rounded_to_their_declared_types() -> None:
    third = np.float32(1 / 3)
    for mode, expected in (("fp32", third), ("fp16", half(third)), ("ane", half(third))):
        assert single("identity", "float16", [third], mode).values[0].item() == expected
        assert single("identity", "float32", [third], mode).values[0].item() == third


def test_integers_remain_integers() -> None:
    body = operation("add", "y", "int32", (2,), x="x", y=3)
    (step,) = steps(function({"x": ("int32", (2,))}, body), "fp16", x=[1.0, 2.0])
    assert step.values[0].dtype == torch.int32
    assert step.values[0].tolist() == [4, 5]


# --- values that float16 cannot represent ------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["fp16", "ane"])
def test_overflow_is_counted_where_it_occurs(mode: str) -> None:
    """300^2 > 65504; a value that is already infinite is not counted again."""
    square = operation("square", "y", "float16", (4,), x="x")
    relu = operation("relu", "z", "float16", (4,), x="y")
    found = steps(function({"x": ("float16", (4,))}, square, relu), mode, x=[300, -256, 255, 0])
    assert [dict(step.anomalies) for step in found] == [{"overflow": 2}, {}]
    assert found[0].values[0].tolist() == [np.inf, np.inf, half(255.0**2), 0]


@pytest.mark.parametrize("value", [LARGEST, LARGEST + 15])
def test_a_value_that_rounds_to_the_largest_does_not_overflow(value: float) -> None:
    (step,) = steps(
        function({"x": ("float32", (1,))}, operation("add", "y", "float16", (1,), x="x", y=0.0)),
        "fp16",
        x=[value],
    )
    assert (step.values[0].item(), dict(step.anomalies)) == (LARGEST, {})


def test_subnormal_numbers_are_counted() -> None:
    """Values below 2^-14 other than 0 count, including those that round to 0."""
    factor = 2.0**-10
    x = [SMALLEST_NORMAL / factor, 2.0**-5, -(2.0**-6), 2.0**-14, 0.0, 2.0**-20]
    step = single("mul", "float16", x, "fp16", y=factor)
    assert step.values[0].tolist() == [SMALLEST_NORMAL, 2.0**-15, -(2.0**-16), LEAST_SUBNORMAL, 0, 0]
    assert dict(step.anomalies) == {"subnormal": 4}


def test_nans_are_counted() -> None:
    step = single("sub", "float16", [np.inf, 1, -np.inf], "fp16", y=np.inf)
    assert dict(step.anomalies) == {"nan": 1}
    assert np.isnan(step.values[0][0].item())


def test_nothing_is_counted_in_float32() -> None:
    for mode, dtype in (("fp32", "float16"), ("fp16", "float32"), ("ane", "float32")):
        step = single("square", dtype, [300, 2.0**-20], mode)
        assert dict(step.anomalies) == {}
        assert step.values[0].tolist() == [90000, 2.0**-40]


def test_a_softmax_over_20000_equal_tokens_is_subnormal() -> None:
    """1/20000 < 2^-14 < 1/16000."""
    for count, expected in ((20_000, {"subnormal": 20_000}), (16_000, {})):
        assert dict(single("softmax", "float16", np.zeros(count), "fp16", axis=0).anomalies) == expected


def test_a_layer_norm_overflows_beyond_255_in_ane() -> None:
    """256^2 is infinite in float16, and a quotient by infinity is 0: a wrong but finite value."""
    for spread, mode, expected, overflows in ((300, "fp16", 1, 0), (250, "ane", 1, 0), (300, "ane", 0, 2)):
        step = single("layer_norm", "float16", [[spread, -spread]], mode, axes=[1], epsilon=1e-3)
        assert step.values[0].tolist() == [[expected, -expected]]
        assert step.anomalies.get("overflow", 0) >= overflows
        assert bool(step.anomalies) == bool(overflows)


def test_a_matrix_product_that_overflows_in_between_is_counted_in_ane() -> None:
    """60000 + 60000 - 60000 - 60000 is 0 in one step and infinite in two; the terms are in two nodes of the tree."""
    row = np.zeros((1, 4 * TERMS))
    row[0, [0, 1, -2, -1]] = 60000, 60000, -60000, -60000
    ones = np.ones((4 * TERMS, 1))
    found = {mode: single("matmul", "float16", row, mode, (1, 1), y=ones) for mode in ("fp16", "ane")}
    assert (found["fp16"].values[0].item(), dict(found["fp16"].anomalies)) == (0, {})
    assert np.isnan(found["ane"].values[0].item())
    assert found["ane"].anomalies["overflow"] == 2


# --- ane: the tree of a sum --------------------------------------------------------------------------------


def tree(terms: list[float]) -> float:
    """Sum at most TERMS values at a time and round each partial sum."""
    while len(terms) > 1:
        terms = [half(sum(terms[i : i + TERMS])).item() for i in range(0, len(terms), TERMS)]
    return terms[0]


def product(a: Any, b: Any) -> float:
    """Compute a dot product as a tree; the first sums are of products."""
    products = [x * y for x, y in zip(a, b, strict=True)]
    sums = [half(sum(products[i : i + TERMS])).item() for i in range(0, len(products), TERMS)]
    return tree(sums)


def sixteenths(seed: int, *shape: int) -> Any:
    """Draw values of few bits, so that float32 adds TERMS products of them without rounding."""
    return np.random.RandomState(seed).randint(-64, 65, shape) / 16


def integers(seed: int, *shape: int) -> Any:
    """Draw integers that float16 can represent, unlike their sums."""
    return np.random.RandomState(seed).randint(-2048, 2049, shape)


def held(x: Any) -> torch.Tensor:
    return torch.from_numpy(np.asarray(x, dtype=np.float32))


@pytest.mark.parametrize("count", [1, 7, 8, 9, 63, 64, 65, 200, 600])
def test_a_sum_is_a_tree(count: int) -> None:
    x = integers(count, 3, count, 2)
    expected = [[tree(x[i, :, k].tolist()) for k in range(2)] for i in range(3)]
    assert Float16().sum(held(x), [1], keep=False).tolist() == expected
    assert Float16().sum(held(x), [-2], keep=True).shape == (3, 1, 2)
    means = [[half(value / count).item() for value in row] for row in expected]
    assert Float16().mean(held(x), [1], keep=False).tolist() == means
    if count > TERMS:
        assert Float32().sum(held(x), [1], keep=False).tolist() != expected


def test_a_sum_over_several_axes_is_one_tree() -> None:
    x = integers(0, 2, 5, 3, 7)
    expected = [[tree(x[i, :, k].ravel().tolist()) for k in range(3)] for i in range(2)]
    assert Float16().sum(held(x), [1, 3], keep=False).tolist() == expected
    assert Float16().sum(held(x), [-1, 1], keep=True)[:, 0, :, 0].tolist() == expected


@pytest.mark.parametrize("inner", [1, 8, 9, 70])
@pytest.mark.parametrize("chunk", [None, 8])
def test_a_matrix_product_is_a_tree(monkeypatch: pytest.MonkeyPatch, inner: int, chunk: int | None) -> None:
    """The result does not depend on the number of columns that are held at a time."""
    if chunk:
        monkeypatch.setattr("runtimes.mil.arithmetic._PARTIAL_SUMS", chunk)
    a, b = sixteenths(1, 2, 1, 3, inner), sixteenths(2, 4, inner, 5)
    found = Float16().matmul(held(a), held(b))  # (2, 4, 3, 5)
    for i, j, row, column in np.ndindex(2, 4, 3, 5):
        assert found[i, j, row, column].item() == product(a[i, 0, row], b[j, :, column])


def test_a_convolution_is_a_tree_over_channels_and_taps() -> None:
    x, weight, bias = sixteenths(3, 2, 6, 7, 5), sixteenths(4, 4, 3, 3, 2), sixteenths(5, 4)
    y = Float16().conv(held(x), held(weight), held(bias), stride=[2, 1], dilation=[1, 2], groups=2)
    assert y.shape == (2, 4, 3, 3)
    for image, out, row, column in np.ndindex(2, 4, 3, 3):
        window = x[image, out // 2 * 3 : out // 2 * 3 + 3, 2 * row : 2 * row + 3, column : column + 3 : 2]
        expected = half(product(window.ravel(), weight[out].ravel()) + bias[out])
        assert y[image, out, row, column].item() == expected


# --- all modes of one program ------------------------------------------------------------------------------


def test_each_mode_is_further_from_the_formula(tmp_path: Path) -> None:
    """The error is a mean over images and outputs; the formula uses the constants of the file."""
    classifier(tmp_path / "half.mlpackage", half=True)
    errors = {}
    for mode in MODES:
        session = MilSession(tmp_path / "half.mlpackage", mode)
        gaps = []
        for seed in range(30):
            image = pixels(seed)
            gaps.append(np.abs(session.run(image)["probabilities"][0] - probabilities(image[0], half)).mean())
        errors[mode] = float(np.mean(gaps))
    assert errors["fp32"] < 1e-6
    assert 1e-5 < errors["fp16"] < errors["ane"] < 2e-2
