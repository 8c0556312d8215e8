"""A Core ML export refuses operations that Core ML is reported to compute differently, and reports its own faults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from mil_packages import changed
from torch import nn

import runtimes
from evim_deploy.commands import verify
from evim_deploy.commands.export import export
from evim_deploy.commands.request import Request
from evim_deploy.common.errors import BadInput, Damaged, NotRunHere, ParityFailed
from evim_deploy.networks.open import parse_source

SIDE = 32


def write(module: nn.Module, path: Path) -> Path:
    """Write a classifier with these layers and a global mean as an ONNX file."""
    torch.manual_seed(0)
    network = nn.Sequential(module, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)).eval()
    names: dict[str, Any] = {"input_names": ["image"], "output_names": ["logits"]}
    torch.onnx.export(network, (torch.zeros(1, 3, SIDE, SIDE),), path, opset_version=17, dynamo=False, **names)
    return path


def exported(path: Path, folder: Path, precision: str = "fp32") -> dict[str, Any]:
    request = Request(model=parse_source(str(path)), formats=("coreml",), precisions=(precision,), output_dir=folder)
    (artifact,) = export(request)
    return artifact


def test_an_operation_that_core_ml_computes_differently_is_refused_by_name(tmp_path: Path) -> None:
    path = write(nn.Conv2d(3, 4, (3, 2), stride=2, padding=1), tmp_path / "oblong.onnx")
    with pytest.raises(BadInput, match=r"conv: kernel 3x2.*coremltools/issues/2515") as caught:
        exported(path, tmp_path / "out")
    assert caught.value.remedy.startswith("It was not kept. Pad the kernel with zeros to a square one.")
    assert not list((tmp_path / "out").iterdir())


def test_its_neighbour_is_exported_and_proven(tmp_path: Path) -> None:
    path = write(nn.Conv2d(3, 4, 3, stride=2, padding=1), tmp_path / "square.onnx")
    assert exported(path, tmp_path / "out")["parity"]["status"] != "not_run"


def test_a_package_that_has_one_is_neither_verified_nor_run(tmp_path: Path) -> None:
    """A package of evim-deploy with a softplus in float16, as an older version wrote it."""
    path = write(nn.Conv2d(3, 4, 3, stride=2, padding=1), tmp_path / "square.onnx")
    artifact = Path(exported(path, tmp_path / "out", "fp16")["path"])
    changed(artifact, tmp_path / artifact.name, lambda program: setattr(program.operation("relu"), "type", "softplus"))
    result = verify.Verifier(weights=str(path)).check(tmp_path / artifact.name)
    assert isinstance(result.problem, NotRunHere)
    assert "(softplus: in float16)" in result.problem.cause
    assert "coremltools/issues/2687" in result.problem.cause
    assert "max(x, 0) + log(1 + exp(-|x|))" in result.problem.cause
    with (
        pytest.raises(NotRunHere, match="coremltools/issues/2687"),
        runtimes.open_artifact(tmp_path / artifact.name),
    ):
        pass


def test_a_file_that_cannot_be_read_back_is_our_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was just written cannot have been damaged by the user."""

    def fails(*_: Any, **__: Any) -> Any:
        raise Damaged("x.mlpackage is damaged: a bit.")

    monkeypatch.setattr(runtimes, "open_artifact", fails)
    path = write(nn.Conv2d(3, 4, 3, stride=2, padding=1), tmp_path / "square.onnx")
    with pytest.raises(ParityFailed, match=r"was written wrongly: .*a bit") as caught:
        exported(path, tmp_path / "out")
    assert "please report it" in caught.value.remedy
    assert "Copy" not in caught.value.remedy
    assert not list((tmp_path / "out").iterdir())
