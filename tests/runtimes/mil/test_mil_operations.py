"""All operations of MIL together: each has a test, packages of one operation are read back, sizes are bounded."""

from __future__ import annotations

import inspect
import platform
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from mil_cases import SEEDS, TOLERANCE, Case, Draw, evaluate, gap, of, outside, package

from evim_deploy.formats.coreml import read_package
from runtimes.mil.arithmetic import Float16
from runtimes.mil.evaluate import Evaluator
from runtimes.mil.operations import HANDLERS
from runtimes.mil.values import LARGEST_BYTES, bounded
from tests.runtimes.mil import test_mil_operations_compression as compression
from tests.runtimes.mil import test_mil_operations_elementwise as elementwise
from tests.runtimes.mil import test_mil_operations_gather as gather
from tests.runtimes.mil import test_mil_operations_reduce as reduce
from tests.runtimes.mil import test_mil_operations_resize as resize
from tests.runtimes.mil import test_mil_operations_shape as shape
from tests.runtimes.mil import test_mil_operations_slice as slices
from tests.runtimes.mil import test_mil_operations_windows as windows

FAMILIES = (compression, elementwise, gather, reduce, resize, shape, slices, windows)
CASES = {op: make for family in FAMILIES for op, make in family.CASES.items()}

# Operations that no program of one operation can have: those on constants, and those with boolean or byte operands,
# which Core ML does not accept as inputs.
INSIDE = {op for op in CASES if op.startswith(("constexpr_", "logical_"))} | {"dequantize", "quantize"}


def first_case(op: str, opset: str) -> Case | None:
    """Return the first case of this opset that coremltools can write, or None."""
    return next((case for case in cases_of(op) if case.opset == opset and writable(case)), None)


@cache
def cases_of(op: str) -> list[Case]:
    return [CASES[op](Draw(op, seed)) for seed in range(SEEDS)]


def writable(case: Case) -> bool:
    """coremltools writes neither a k of -1 nor a value of rank 6, and accepts no boolean inputs."""
    given = outside("", case).values()
    ranks = [np.ndim(value) for value in (*case.given.values(), *case.expected) if not isinstance(value, tuple)]
    return case.given.get("k") != -1 and max(ranks) < 6 and all(array.dtype != bool for array in given)


def test_every_operation_is_tested() -> None:
    tested = [op for family in FAMILIES for op in family.CASES]
    assert sorted([*tested, "classify"]) == sorted(HANDLERS)


def specified(op: str) -> list[tuple[set[str], set[str], dict[str, Any]]]:
    """Return the parameters, the required ones and the defaults of each version of an operation in coremltools."""
    from coremltools.converters.mil.mil import types
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

    found = []
    for version in SSAOpRegistry.core_ops[op].values():
        parameters = version.input_spec.input_types
        blank = version.__new__(version)  # defaults depend on ranks and types
        for name in parameters:
            setattr(blank, name, SimpleNamespace(rank=4, dtype=types.fp32, shape=(2, 3, 4, 5), val=True))
        required = {name for name, kind in parameters.items() if not kind.optional}
        found.append((set(parameters), required, dict(blank.default_inputs().items())))
    return found


@pytest.mark.parametrize("op", sorted(HANDLERS))
def test_parameters_and_defaults_are_those_of_the_specification(op: str) -> None:
    _, *own = inspect.signature(HANDLERS[op]).parameters.values()  # the first is the arithmetic
    versions = specified(op)
    assert {each.name for each in own} == set().union(*(names for names, _, _ in versions))
    must = {each.name for each in own if each.default is inspect.Parameter.empty}
    assert must == set.intersection(*(required for _, required, _ in versions))
    for _, _, defaults in versions:
        for each in own:
            default = defaults.get(each.name)
            if isinstance(default, int | float | str | np.generic) and each.name != "validate_indices":
                assert each.default == (default if isinstance(default, str) else pytest.approx(default)), each.name


def test_classify_returns_the_most_probable_label_and_each_probability() -> None:
    labels = np.array(["zebra", "apple", "Größe"])
    label, table = HANDLERS["classify"](None, torch.tensor([[0.25, 0.125, 0.625]]), labels)
    assert label == "Größe"
    assert list(table.items()) == [("zebra", 0.25), ("apple", 0.125), ("Größe", 0.625)]


@pytest.mark.parametrize("labels", [["a", "b"], ["a", "b", "a"]])
def test_classify_requires_unique_labels(labels: list[str]) -> None:
    with pytest.raises(ValueError, match=r"zip|twice"):
        HANDLERS["classify"](None, torch.tensor([0.25, 0.125, 0.625]), np.array(labels))


# --- read back from disk -----------------------------------------------------------------------------------

GROUPS = [
    (family, opset)
    for family in FAMILIES
    for opset in ("iOS15", "iOS16", "iOS17", "iOS18")
    if any(op not in INSIDE and first_case(op, opset) for op in family.CASES)
]


def group(family: Any, opset: str) -> dict[str, Case]:
    """Return a case of each operation of a family that has one for this opset."""
    found = {op: first_case(op, opset) for op in family.CASES if op not in INSIDE}
    return {op: case for op, case in found.items() if case is not None}


@pytest.mark.parametrize(("family", "opset"), GROUPS, ids=lambda each: getattr(each, "__name__", each))
def test_packages_of_these_operations_are_read_back(tmp_path: Path, family: Any, opset: str) -> None:
    cases = group(family, opset)
    names = package(cases, tmp_path / "some.mlpackage")
    function = read_package(tmp_path / "some.mlpackage").functions["main"]
    given = {name: array for op, case in cases.items() for name, array in outside(op, case).items()}
    inputs = {name: torch.from_numpy(given[name].copy()) for name in function.inputs}
    evaluator = Evaluator(function)
    values: dict[Any, Any] = {**evaluator.constants, **inputs}
    for step in evaluator.steps(inputs, "fp32"):
        values.update(zip((name for name, _ in step.operation.outputs), step.values, strict=True))
    compare({name: values[name].numpy() for name in names}, names, cases, TOLERANCE)


@pytest.mark.skipif(platform.system() != "Darwin", reason="compares with Core ML itself: run the tests on a Mac")
@pytest.mark.parametrize(("family", "opset"), GROUPS, ids=lambda each: getattr(each, "__name__", each))
def test_core_ml_returns_the_same_values(tmp_path: Path, family: Any, opset: str) -> None:
    import coremltools as ct

    cases = group(family, opset)
    names = package(cases, tmp_path / "some.mlpackage")
    model = ct.models.MLModel(str(tmp_path / "some.mlpackage"), compute_units=ct.ComputeUnit.CPU_ONLY)
    given = {name: array for op, case in cases.items() for name, array in outside(op, case).items()}
    compare(model.predict(given), names, cases, 1e-4)


def compare(found: dict[str, Any], names: list[str], cases: dict[str, Case], tolerance: float) -> None:
    expected = [(op, value) for op, case in cases.items() for value in case.expected]
    for name, (op, value) in zip(names, expected, strict=True):
        actual = np.asarray(found[name])
        assert gap(actual, np.asarray(value).astype(actual.dtype)) < tolerance, op


# --- float16 inside ----------------------------------------------------------------------------------------

IN_ONE_STEP = {"avg_pool", "reduce_l1_norm", "reduce_log_sum", "reduce_mean", "reduce_sum"}


@pytest.mark.parametrize("op", sorted(set(CASES) - {op for op in CASES if op.startswith("constexpr_")}))
def test_half_precision_inside_stays_near_the_formula(op: str) -> None:
    """The error relative to the largest value is a few roundings of 2^-11, amplified by subtractions."""
    for seed in range(4):
        case = CASES[op](Draw(op, seed))
        for found, expected in zip(evaluate(op, case, Float16()), case.expected, strict=True):
            assert gap(found, expected) < 0.02


@pytest.mark.parametrize(
    "op",
    [
        "batch_norm",
        "conv",
        "conv_transpose",
        "cumsum",
        "einsum",
        "elu",
        "gelu",
        "instance_norm",
        "l2_norm",
        "l2_pool",
        "layer_norm",
        "linear",
        "linear_activation",
        "local_response_norm",
        "matmul",
        "reduce_l2_norm",
        "reduce_log_sum_exp",
        "reduce_prod",
        "reduce_sum_square",
        "resize_bilinear",
        "rsqrt",
        "scaled_dot_product_attention",
        "scaled_tanh",
        "sigmoid_hard",
        "silu",
        "softmax",
        "softplus",
        "softplus_parametric",
        "softsign",
        "upsample_bilinear",
        *sorted(IN_ONE_STEP),
    ],
)
def test_each_step_inside_is_rounded(op: str) -> None:
    """Without the inner roundings the results would equal those of float32 to the last bit."""
    cases = [CASES[op](Draw(op, seed)) for seed in range(8)]
    pairs = [(evaluate(op, case)[0], evaluate(op, case, Float16())[0]) for case in cases]
    assert any(not np.array_equal(exact, half) for exact, half in pairs)


# --- sizes -------------------------------------------------------------------------------------------------


def test_the_limit_on_a_value_is_in_bytes() -> None:
    assert bounded([LARGEST_BYTES // 4]) == (LARGEST_BYTES // 4,)
    with pytest.raises(ValueError, match="takes 4 GiB"):
        bounded([LARGEST_BYTES // 4 + 1])
    with pytest.raises(ValueError, match="shape"):
        bounded([3, -1])


HUGE = 2**30
ONES = np.ones((1, 1, 4, 4))


@pytest.mark.parametrize(
    ("op", "given"),
    [
        ("conv", {"x": ONES, "weight": ONES, "pad_type": "custom", "pad": [HUGE] * 4}),
        ("conv", {"x": ONES, "weight": ONES, "pad_type": "same", "dilations": [HUGE, HUGE]}),
        ("conv_transpose", {"x": ONES, "weight": ONES, "strides": [HUGE, HUGE]}),
        ("max_pool", {"x": ONES, "kernel_sizes": [1, 1], "pad_type": "custom", "pad": [HUGE] * 4}),
        ("pad", {"x": ONES, "pad": [HUGE] * 4}),
        ("tile", {"x": ONES, "reps": [HUGE] * 4}),
        ("fill", {"shape": [HUGE, HUGE]}),
        ("range_1d", {"start": 0, "end": 2 * HUGE - 1, "step": 1}),
        ("one_hot", {"indices": np.zeros(4, np.int32), "one_hot_vector_size": HUGE}),
        ("resize_bilinear", {"x": ONES, "target_size_height": HUGE, "target_size_width": HUGE}),
        ("resize_nearest_neighbor", {"x": ONES, "target_size_height": HUGE, "target_size_width": HUGE}),
        ("resize", {"x": ONES, "shape": [HUGE, HUGE], "resized_dims": 2}),
        ("upsample_nearest_neighbor", {"x": ONES, "scale_factor_height": HUGE}),
        ("upsample_bilinear", {"x": ONES, "scale_factor_height": HUGE}),
        ("add", {"x": np.ones((2**16, 1)), "y": np.ones(2**16)}),
        ("matmul", {"x": np.ones((2**16, 1)), "y": np.ones((1, 2**16))}),
        ("gather", {"x": np.ones((1, 2**17)), "indices": np.zeros(2**17, np.int32)}),
        (
            "constexpr_sparse_to_dense",
            {"nonzero_data": np.ones(1), "mask": np.ones(1, np.uint8), "shape": [HUGE, HUGE]},
        ),
    ],
)
def test_a_value_of_gigabytes_is_refused_before_it_is_computed(op: str, given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="GiB"):
        evaluate(op, of(0, **given))
