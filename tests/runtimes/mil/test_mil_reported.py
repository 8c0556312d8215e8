"""Operations that Core ML is reported to compute differently are refused, and their safe neighbours evaluated."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import run as run_command
from mil_functions import constant, function, operation

from evim_deploy.common.errors import NotRunHere
from evim_deploy.formats.mil import Constant, Function
from evim_deploy.formats.mlmodel import of_program
from evim_deploy.inspection import inspect
from evim_deploy.inspection.core_ml import CORE_ML, reported
from evim_deploy.inspection.rules import Severity, check
from runtimes.mil import MilSession, _refuse_reported
from runtimes.mil.evaluate import Evaluator, UnknownOperation

Shape = tuple[int | None, ...]
Sides = tuple[int, ...]


def program(kind: str, x_shape: Shape, y_shape: Shape, dtype: Any = "float32", **given: Any) -> Function:
    """Make a program of one operation on x."""
    told = {key: constant(value) if isinstance(value, str) else value for key, value in given.items()}
    body = operation(kind, "y", dtype, y_shape, x="x", **told)
    return function({"x": (dtype, x_shape)}, body)


def weights(*shape: int) -> Constant:
    """Make a constant of ones in a weight file."""
    return replace(constant(np.ones(shape), "float32"), stored_bytes=4 * int(np.prod(shape)))


def pool(kind: str, side: int, out: int, **given: Any) -> Function:
    sizes = {"kernel_sizes": [2, 2], "strides": [2, 2], "pad_type": "valid", "ceil_mode": True}
    return program(kind, (1, 1, side, side), (1, 1, out, out), **{**sizes, **given})


def padded_pool(size: int, excludes: bool) -> Function:
    pad = [size // 2] * 4
    given = {"kernel_sizes": [size, size], "pad_type": "custom", "pad": pad, "exclude_padding_from_average": excludes}
    return program("avg_pool", (1, 1, 8, 8), (1, 1, 8, 8), **given)


def transposed(out: Shape, pad: Sequence[int], dtype: str = "float32", pad_type: str = "custom") -> Function:
    given = {"weight": weights(1, 2, 3), "pad_type": pad_type, "pad": list(pad), "strides": [2]}
    return program("conv_transpose", (1, 1, 4), out, dtype, output_shape=list(out), **given)


def conv(weight: Sides, x: Shape, y: Shape, **given: Any) -> Function:
    return program("conv", x, y, weight=weights(*weight), **given)


def attention(batch: int) -> Function:
    rows = {"q": ("float32", (batch, 2, 3)), "k": ("float32", (batch, 3, 2))}
    scores = operation("matmul", "scores", "float32", (batch, 2, 2), x="q", y="k")
    softmax = operation("softmax", "weights", "float32", (batch, 2, 2), x="scores", axis=-1)
    return function(rows, scores, softmax, operation("matmul", "y", "float32", (batch, 2, 3), x="weights", y="q"))


STEPS = {"kernel_sizes": [2], "strides": [5], "pad_type": "custom", "pad": [1, 1], "ceil_mode": True}
PADS = {"pad_type": "custom", "pad": [1, 1, 1, 1], "strides": [2, 2]}
SLICE = {"begin": [0, 0], "end": [1, 4], "squeeze_mask": [True, False]}
INDICES = {"indices": "i", "axis": 0}


def places(name: str | Constant) -> Function:
    body = operation("gather_nd", "y", "float32", (1,), x="x", indices=name)
    return function({"x": ("float32", (3,)), "i": ("int32", (1, 1))}, body)


REPORTED: dict[str, tuple[Function, Function]] = {
    # an operation that matches the rule, and its neighbour with the same value either way
    "pool_ceil_average": (
        pool("avg_pool", 5, 3, exclude_padding_from_average=False),
        pool("avg_pool", 6, 3, exclude_padding_from_average=False),  # every window fits
    ),
    "pool_ceil_empty": (
        program("max_pool", (1, 1, 4), (1, 1, 1), **STEPS),
        program("max_pool", (1, 1, 5), (1, 1, 2), **STEPS),
    ),
    "pool_padded_average": (padded_pool(7, excludes=False), padded_pool(3, excludes=False)),
    "conv_transpose_output_shape": (transposed((1, 2, 7), [0, 0], pad_type="valid"), transposed((1, 2, 9), [0, 0])),
    "conv_transpose_uneven": (transposed((1, 2, 8), [1, 0], "float16"), transposed((1, 2, 8), [1, 0])),
    "conv_oblong": (
        conv((2, 2, 3, 2), (1, 2, 5, 5), (1, 2, 3, 3), **PADS),
        conv((2, 2, 3, 3), (1, 2, 5, 5), (1, 2, 3, 3), **PADS),
    ),
    "conv_dilated_groups": (
        conv((2, 2, 3), (1, 4, 9), (1, 2, 5), dilations=[2], groups=2),
        conv((2, 4, 3), (1, 4, 9), (1, 2, 5), dilations=[2]),
    ),
    "matmul_vector": (
        program("matmul", (2, 3), (2,), y=constant(np.ones(3), "float32")),
        program("matmul", (2, 3), (2, 1), y=constant(np.ones((3, 1)), "float32")),
    ),
    "matmul_integer": (
        program("matmul", (2, 3), (2, 1), "int32", y=constant(np.ones((3, 1)), "int32")),
        program("matmul", (2, 3), (2, 1), y=constant(np.ones((3, 1)), "float32")),
    ),
    "pad_outer_axes": (
        program("pad", (1, 2, 3, 3), (1, 4, 3, 3), pad=[0, 0, 1, 1, 0, 0, 0, 0], mode="replicate"),
        program("pad", (1, 2, 3, 3), (1, 4, 3, 3), pad=[0, 0, 1, 1, 0, 0, 0, 0], mode="constant", constant_val=0.0),
    ),
    "softplus_half": (program("softplus", (3,), (3,), "float16"), program("softplus", (3,), (3,))),
    "log_sum_exp_half": (
        program("reduce_log_sum_exp", (2, 3), (2,), "float16", axes=[1]),
        program("reduce_log_sum_exp", (2, 3), (2,), axes=[1]),
    ),
    "slice_squeezed_steps": (
        program("slice_by_index", (1, 4), (2,), stride=[1, 2], **SLICE),
        program("slice_by_index", (1, 4), (4,), stride=[1, 1], **SLICE),
    ),
    "gather_nd_computed": (places("i"), places(constant([[1]]))),
    "gather_negative": (
        program("gather", (3,), (2,), indices=[0, -1], axis=0),
        program("gather", (3,), (2,), indices=[0, 2], axis=0),
    ),
    "mod": (program("mod", (3,), (3,), y=constant(2.0, "float32")), program("floor_div", (3,), (3,), y=2.0)),
    "round": (program("round", (3,), (3,)), program("floor", (3,), (3,))),
    "upsample_nearest_fraction": (
        program("upsample_nearest_neighbor", (1, 1, 2, 2), (1, 1, 3, 2), scale_factor_height=1.5),
        program("upsample_nearest_neighbor", (1, 1, 2, 2), (1, 1, 4, 2), scale_factor_height=2.0),
    ),
    "attention_batch": (attention(10), attention(9)),
}


def found_in(program: Function) -> set[str]:
    found = of_program("main", program)
    return {finding.rule for finding in check(CORE_ML, found.operations, found)}


def evaluated(program: Function) -> torch.Tensor:
    inputs = {name: torch.ones(*(side or 1 for side in declared.shape)) for name, declared in program.inputs.items()}
    *_, last = Evaluator(program).steps(inputs, "fp32")
    return last.values[0]


@pytest.mark.parametrize("rule", CORE_ML.rules, ids=lambda rule: rule.id)
def test_each_report_names_its_operation_and_not_the_neighbour(rule: Any) -> None:
    wrong, safe = REPORTED[rule.id]
    assert found_in(wrong) == {rule.id}
    assert found_in(safe) == set()
    assert rule.source.startswith("https://")
    assert evaluated(safe).isfinite().all()
    if rule.severity == Severity.DIFFERS:
        assert rule.remedy
        with pytest.raises(NotRunHere, match=re.escape(rule.source.split()[0])) as told:
            _refuse_reported(Path("some.mlpackage"), wrong)
        assert told.value.remedy.startswith(rule.remedy)
        _refuse_reported(Path("some.mlpackage"), safe)
    else:
        assert evaluated(wrong).isfinite().all()  # the program is correct; one compute unit of one system is not


@pytest.mark.parametrize(
    "safe",
    [
        pool("avg_pool", 5, 3, exclude_padding_from_average=True),  # elements beyond the end do not count
        pool("max_pool", 5, 3),
        pool("avg_pool", 5, 2, ceil_mode=False),
        padded_pool(7, excludes=True),
        program("slice_by_index", (1, 4), (1, 2), stride=[1, 2], begin=[0, 0], end=[1, 4]),
        program("upsample_nearest_neighbor", (1, 1, 2, 2), (1, 1, 2, 2)),
    ],
    ids=["excluded", "largest", "floor", "padding excluded", "not squeezed", "scale of 1"],
)
def test_a_value_that_is_the_same_either_way_is_evaluated(safe: Function) -> None:
    assert found_in(safe) == set()
    assert evaluated(safe).isfinite().all()


def test_an_open_side_is_checked_when_it_is_known() -> None:
    """The size is unknown when the package is opened; the average pool checks it."""
    given = {"kernel_sizes": [2], "strides": [2], "pad_type": "valid", "ceil_mode": True}
    open_ended = program("avg_pool", (1, 1, None), (1, 1, None), **given)
    assert not list(reported(of_program("main", open_ended)))
    evaluator = Evaluator(open_ended)
    (step,) = evaluator.steps({"x": torch.ones(1, 1, 4)}, "fp32")
    assert step.values[0].tolist() == [[[1, 1]]]
    with pytest.raises(UnknownOperation, match="counted padding and a window that exceeds it"):
        list(evaluator.steps({"x": torch.ones(1, 1, 5)}, "fp32"))


def test_the_documentation_has_every_report() -> None:
    page = (Path(__file__).parents[3] / "docs" / "coreml.md").read_text("utf-8")
    sources = [source for rule in CORE_ML.rules for source in rule.source.split() if source.startswith("https://")]
    assert [source for source in sources if f"({source})" not in page] == []


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package with an average pool of 2x2 over 5x5 in ceil mode, written by coremltools (#2772)."""
    import coremltools as ct
    from coremltools.converters.mil import Builder as mb  # noqa: N813

    def pooled(image: Any) -> Any:
        x = mb.avg_pool(x=image, kernel_sizes=[2, 2], strides=[2, 2], pad_type="valid", ceil_mode=True)
        return mb.relu(x=x)

    path = tmp_path_factory.mktemp("reported") / "pooled.mlpackage"
    program = mb.program(input_specs=[mb.TensorSpec(shape=(1, 3, 5, 5))], opset_version=ct.target.iOS16)(pooled)
    model = ct.convert(program, minimum_deployment_target=ct.target.iOS16, skip_model_load=True)
    model.save(str(path))
    return path


def test_a_package_with_such_an_operation_is_not_run_here(package: Path) -> None:
    with pytest.raises(NotRunHere, match=r"avg_pool: ceil_mode, a window reaches 1 beyond the end\)\. .*/2772") as told:
        MilSession(package, "fp32")
    assert str(package) in told.value.cause
    assert "exclude_padding_from_average" in told.value.remedy


def test_inspect_names_it_with_reason_and_source(package: Path) -> None:
    (target,) = [each for each in inspect(package).functions[0].targets if each.target == CORE_ML.id]
    assert [(finding.rule, finding.type) for finding in target.findings] == [("pool_ceil_average", "avg_pool")]
    assert target.verdict == "reported to differ from the specification in 1 of 4 operations"
    shown = run_command("inspect", package)
    assert shown.returncode == 0
    assert "differs 1: avg_pool" in shown.stdout
    assert "coremltools/issues/2772" in shown.stdout
