"""The accuracy gate: every quantised precision of every format is almost as accurate as the trained model.

Two models are measured on held-out pictures: digits on 600, 0.17 points of accuracy each, and the harder glyphs on 952,
0.11 points each. The difference is that of matched pairs: the artifact in its engine and the network in PyTorch and
float32 classify the same pictures, so that common errors cost nothing. The artifacts of digits pass their proof, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import glyphs
import numpy as np
import pytest
from PIL import Image

from evim_deploy.accuracy.data import DIGITS
from evim_deploy.accuracy.evaluation import EvaluationResult, Evaluator
from evim_deploy.catalog.variants import parse_model
from evim_deploy.commands.export import export
from evim_deploy.commands.request import Request
from evim_deploy.quantise.calibration_images import RECOMMENDED
from evim_deploy.quantise.schemes import SCHEMES
from evim_deploy.quantise.weight_quantisation import WeightQuantisation

ALLOWED = 0.5
"""Allowed loss of an artifact, points of top-1."""

BATCHES = {"coreml": 50}
"""Batch size of a format whose engine is slow per run: Core ML packages are evaluated operation by operation."""

Scheme = tuple[str, str]

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Trained:
    """A trained model, and its held-out images.

    Attributes:
        options: Options of its export; ``weights``, if present, is a path.
        data: The labelled pictures, an argument of ``evaluate``.
        calibration: A folder of other pictures to calibrate on; None for the images that ship.
        proven: Whether an artifact must pass its proof.
    """

    options: Mapping[str, Path | str]
    data: str
    calibration: Path | None = None
    proven: bool = False

    def artifact(self, scheme: Scheme, folder: Path) -> Path:
        format_, precision = scheme
        calibration = self.calibration if SCHEMES[scheme].is_calibrated else None
        request = Request(
            model=parse_model("digits"),
            formats=(format_,),
            precisions=(precision,),
            batch=BATCHES.get(format_, 1),
            calibration=calibration,
            output_dir=folder,
            verify=self.proven,
            **self.options,  # type: ignore[arg-type]
        )
        (made,) = export(request)
        assert made["parity"]["status"] == ("pass" if self.proven else "not_run")
        return Path(made["path"])

    def results(self, schemes: list[Scheme], folder: Path) -> dict[Scheme, EvaluationResult]:
        paths = [self.artifact(scheme, folder) for scheme in schemes]
        evaluation = Evaluator(weights=self.options.get("weights")).evaluate(paths, self.data)
        return dict(zip(schemes, evaluation.results, strict=True))


def write_pictures(folder: Path) -> Trained:
    """Printed characters as files: some for calibration, the others in one folder per class."""
    pictures, labels = glyphs.held_out()
    order = np.random.RandomState(0).permutation(len(labels))
    calibration, data = folder / "calibration", folder / "data"
    for rank, index in enumerate(order):
        home = calibration if rank < RECOMMENDED else data / f"class {labels[index]:02}"
        home.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pictures[index]).save(home / f"{index}.png")
    names = folder / "labels.txt"
    names.write_text("".join(f"class {index:02}\n" for index in range(len(glyphs.CLASSES))))
    options = {"weights": str(glyphs.WEIGHTS), "labels": names}
    return Trained(options, str(data), calibration)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trained]:
    return {
        "digits": Trained({}, DIGITS, proven=True),
        "glyphs": write_pictures(tmp_path_factory.mktemp("glyphs")),
    }


@pytest.fixture(scope="module", params=["digits", "glyphs"])
def results(
    request: pytest.FixtureRequest, trained: dict[str, Trained], tmp_path_factory: pytest.TempPathFactory
) -> dict[Scheme, EvaluationResult]:
    """Of one model in all precisions; the network in PyTorch answers once."""
    return trained[request.param].results(list(SCHEMES), tmp_path_factory.mktemp(request.param))


def lost(result: EvaluationResult) -> float:
    """Points of top-1."""
    assert result.agreement is not None
    return -100 * result.agreement.difference


@pytest.mark.parametrize("scheme", SCHEMES, ids=" ".join)
def test_a_quantised_artifact_loses_at_most_half_a_point(
    scheme: Scheme, results: dict[Scheme, EvaluationResult]
) -> None:
    result = results[scheme]
    assert lost(result) <= ALLOWED + 1e-9, result.to_dict()


def test_every_picture_counts(results: dict[Scheme, EvaluationResult]) -> None:
    for result in results.values():
        assert result.agreement is not None
        assert result.agreement.count in (600, 952)
        assert (result.is_complete, result.unreadable) == (True, ())


@pytest.mark.parametrize("name", ["digits", "glyphs"])
def test_a_precision_that_is_too_coarse_fails(
    name: str, trained: dict[str, Trained], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels of two bits have three values."""
    scheme = ("onnx", "dynamic")
    monkeypatch.setitem(SCHEMES, scheme, replace(SCHEMES[scheme], weights=WeightQuantisation(bits=2)))
    (result,) = trained[name].results([scheme], tmp_path).values()
    assert lost(result) > ALLOWED
