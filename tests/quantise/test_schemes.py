"""The table of schemes agrees with the precisions of the formats, and impossible requests are rejected."""

from __future__ import annotations

from pathlib import Path

import pytest

from evim_deploy.artifact.target import Target
from evim_deploy.catalog.terms import UNQUANTISED, Precision
from evim_deploy.catalog.variants import parse_model
from evim_deploy.commands.request import Request, plan_targets
from evim_deploy.common.errors import BadInput, UsageProblem
from evim_deploy.quantise.schemes import SCHEMES
from exporters import FORMATS, parse_precision


def planned(format_: str, precision: str, **others: object) -> list[Target]:
    return plan_targets(Request(model=parse_model("m1"), formats=(format_,), precisions=(precision,), **others))  # type: ignore[arg-type]


def test_the_table_has_every_quantised_precision() -> None:
    assert {*UNQUANTISED, *(precision for _, precision in SCHEMES)} == set(Precision)


@pytest.mark.parametrize(("format_", "precision"), list(SCHEMES))
def test_the_format_has_every_precision_of_the_table(format_: str, precision: str) -> None:
    assert precision in FORMATS[format_].precisions
    (target,) = planned(format_, precision)
    assert target.precision == precision
    assert target.deployment_target == (SCHEMES[format_, precision].deployment_target or None)


@pytest.mark.parametrize(
    ("format_", "precision", "others", "words"),
    [
        ("onnx", "pal4", {}, "onnx does not support the precision pal4"),
        ("coreml", "dynamic", {}, "coreml does not support the precision dynamic"),
        ("coreml", "w8a8", {"deployment_target": "iOS16"}, "w8a8 requires the deployment target iOS17"),
        ("coreml", "int4", {"deployment_target": "iOS17"}, "int4 requires the deployment target iOS18"),
        ("coreml", "pal6", {"calibration": Path("photos")}, "--calibration requires a precision"),
        ("onnx", "fp16", {"calibration": Path("photos")}, "--calibration requires a precision"),
        ("onnx", "fp16", {"allowed_loss": 0.5}, "--keep-accuracy requires a quantised precision"),
        ("onnx", "int8", {"allowed_loss": -1.0}, "below 100 percent, got -1"),
        ("onnx", "int8", {"allowed_loss": 100.0}, "below 100 percent, got 100"),
        ("onnx", "int8", {"allowed_loss": float("nan")}, "below 100 percent, got nan"),
        ("onnx", "int8", {"allowed_loss": 1.0, "task": "features"}, "requires a classifier"),
    ],
)
def test_impossible_requests_are_rejected(format_: str, precision: str, others: dict[str, object], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        planned(format_, precision, **others)


def test_the_choice_of_float_layers_uses_calibration_images() -> None:
    assert planned("coreml", "pal6", calibration=Path("photos"), allowed_loss=0.5)


def test_an_unknown_precision_is_a_usage_error() -> None:
    with pytest.raises(UsageProblem, match="Unknown precision 'int7'"):
        parse_precision("int7")
