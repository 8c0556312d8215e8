"""Evaluation on digits: correct results, faults that lower them, and refusals."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from PIL import Image

from evim_deploy.accuracy import EvaluationResult, Evaluator
from evim_deploy.accuracy.data import open_data
from evim_deploy.catalog.variants import DIGITS, ModelName
from evim_deploy.commands.export import export
from evim_deploy.commands.request import Request
from evim_deploy.common.errors import BadInput
from evim_deploy.common.progress import Silent
from evim_deploy.images import digits
from evim_deploy.images.preprocessing import normalise, resize_and_crop
from evim_deploy.networks.efficientvim.reference import GraphReference
from evim_deploy.networks.efficientvim.seeded import untrained_model
from evim_deploy.networks.efficientvim.weights import resolve

MODEL = ModelName(DIGITS)
LIMIT = 90
CHANGED = "patch_embed.conv.3.conv.kernel"
TIMES = ("images_per_second",)

torch.set_num_threads(1)  # a second one waits more than it helps where the machine has other work


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exported")


@pytest.fixture(scope="module")
def made(folder: Path) -> Callable[..., Path]:
    """Exports of the digits model, without proof; each made once."""

    @cache
    def make(format_: str = "onnx", precision: str = "fp32", **fields: Any) -> Path:
        request = Request(
            model=MODEL, formats=(format_,), precisions=(precision,), output_dir=folder, verify=False, **fields
        )
        (document,) = export(request)
        return Path(document["path"])

    return make


@pytest.fixture
def single(made: Callable[..., Path]) -> Path:
    return made()


def evaluated(
    *artifacts: Path, data: str | Path = "digits", limit: int | None = LIMIT, **options: Any
) -> list[EvaluationResult]:
    return list(Evaluator(limit=limit, **options).evaluate(artifacts, str(data)).results)


def write_digits(folder: Path, count: int = 40, names: Callable[[int], str] = str) -> Path:
    """Class folders of the first held-out digits."""
    for index, (picture, label) in enumerate(zip(*digits.held_out(), strict=True)):
        if index == count:
            break
        path = folder / names(int(label)) / f"{index:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digits(tmp_path_factory.mktemp("pictures"))


# --- the figures


def test_figures_are_those_of_pytorch_computed_by_hand(single: Path) -> None:
    (result,) = evaluated(single)
    places = open_data("digits", None).order[:LIMIT]
    images, labels = (values[places] for values in digits.held_out())
    pixels = np.stack([resize_and_crop(Image.fromarray(image), 64, 64) for image in images]).transpose(0, 3, 1, 2)
    model, _ = resolve(MODEL, None, None, print)
    with torch.no_grad():
        probabilities = torch.softmax(model(torch.from_numpy(normalise(pixels.astype(np.float32)))), 1).numpy()
    right = probabilities.argmax(1) == labels
    assert result.accuracy is not None
    assert result.accuracy.count == LIMIT
    assert result.accuracy.top1 == right.mean()
    assert result.accuracy.top1 > 0.95
    in_top5 = [label in row for label, row in zip(labels, np.argsort(probabilities, 1)[:, -5:], strict=True)]
    assert result.accuracy.top5 == np.mean(in_top5)
    confidence = probabilities.max(1)
    error = 0.0
    for low in range(15):
        inside = (confidence > low / 15) & (confidence <= (low + 1) / 15)
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert result.accuracy.calibration_error == pytest.approx(error, abs=1e-4)
    assert result.agreement is not None
    assert (result.agreement.share, result.agreement.difference, result.agreement.count) == (1, 0, LIMIT)
    assert result.reference is not None
    assert result.reference.top1 == result.accuracy.top1
    assert (result.artifact.engine, result.artifact.classes.rule) == ("onnxruntime", "names")


@pytest.mark.parametrize(
    ("format_", "precision", "fields"),
    [
        ("onnx", "fp16", {"half_io": True}),
        ("onnx", "fp32", {"batch": 7, "preprocess": False, "output": "probabilities"}),
        ("onnx", "fp32", {"batch": None, "sizes": (None,)}),
        ("tflite", "fp32", {"batch": 4}),
        ("coreml", "fp16", {"sizes": ((64, 64), (64, 96)), "multifunction": True}),
    ],
)
def test_every_kind_of_artifact_says_what_its_reference_says(
    made: Callable[..., Path], format_: str, precision: str, fields: dict[str, Any]
) -> None:
    (result,) = evaluated(made(format_, precision, **fields), limit=31)
    assert result.accuracy is not None
    assert result.agreement is not None
    assert (result.accuracy.count, result.agreement.count, result.agreement.share) == (31, 31, 1)
    assert result.accuracy.top1 > 0.9
    assert result.is_complete


def test_labels_that_are_rotated_lower_the_accuracy_and_no_agreement(single: Path, tmp_path: Path) -> None:
    rotated = write_digits(tmp_path, names=lambda label: str((label + 1) % 10))
    (result,) = evaluated(single, data=rotated)
    assert result.accuracy is not None
    assert result.agreement is not None
    assert result.accuracy.top1 < 0.05
    assert result.agreement.share == 1


def perturbed(artifact: Path, path: Path, change: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]) -> Path:
    """A copy with changed weights in one convolution."""
    model = onnx.load(artifact)
    (tensor,) = [each for each in model.graph.initializer if each.name == CHANGED]
    tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor)), tensor.name))
    onnx.save(model, path)
    return path


def test_a_weight_that_is_another_lowers_the_agreement(single: Path, tmp_path: Path) -> None:
    other = perturbed(single, tmp_path / "other.onnx", lambda weights: weights[::-1].copy())
    ours, its = evaluated(single, other)
    assert ours.agreement is not None
    assert its.agreement is not None
    assert its.agreement.share < 0.9 < ours.agreement.share
    assert its.accuracy is not None
    assert its.reference is not None
    assert its.agreement.difference == pytest.approx(its.accuracy.top1 - its.reference.top1)
    low, high = its.agreement.interval
    assert low < its.agreement.difference < high < 0


def test_predictions_that_are_not_finite_are_wrong(single: Path, tmp_path: Path) -> None:
    broken = perturbed(single, tmp_path / "broken.onnx", lambda weights: np.full_like(weights, np.inf))
    (result,) = evaluated(broken)
    assert result.accuracy is not None
    assert result.agreement is not None
    assert (result.accuracy.top1, result.accuracy.top5, result.accuracy.not_finite) == (0, 0, LIMIT)
    assert result.agreement.share == 0


def test_fewer_than_five_classes(tmp_path: Path, pictures: Path) -> None:
    model = untrained_model(MODEL, 3, 1)
    torch.save(model.state_dict(), tmp_path / "three.pth")
    request = Request(
        model=MODEL, formats=("onnx",), weights=str(tmp_path / "three.pth"), output_dir=tmp_path, verify=False
    )
    (document,) = export(request)
    shutil.copytree(pictures, tmp_path / "pictures")
    for label in range(3, 10):
        shutil.rmtree(tmp_path / "pictures" / str(label))
    (result,) = evaluated(Path(document["path"]), data=tmp_path / "pictures", limit=None)
    assert result.accuracy is not None
    assert result.accuracy.top5 == 1
    assert result.artifact.classes.rule == "indices"
    with pytest.raises(BadInput, match="7 of them are not among the artifact's 3"):
        evaluated(Path(document["path"]), data=pictures)


def test_a_reference_runs_once_for_all_of_its_artifacts(
    made: Callable[..., Path], single: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered, outputs = [], GraphReference.outputs

    def counted(self: GraphReference, task: str, images: Any, batch: int) -> Any:
        answered.append(len(images))
        return outputs(self, task, images, batch)

    monkeypatch.setattr(GraphReference, "outputs", counted)
    results = evaluated(single, made("onnx", "fp16", half_io=True), single, limit=20)
    assert len(results) == 2  # the same file twice is one
    assert answered == [16, 16]  # 20 images in full batches
    assert all(result.agreement and result.agreement.count == 20 for result in results)


def test_the_document(single: Path) -> None:
    document = Evaluator(limit=30).evaluate([single], "digits").to_dict()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["data"] == {"name": "digits", "classes": "labels that ship", "images": 600}
    (entry,) = document["results"]
    assert entry["artifact"] == str(single)
    assert 90 < entry["top1"] <= 100
    low, high = entry["top1_interval"]
    assert 80 < low < entry["top1"] <= high <= 100
    assert (entry["agreement"], entry["count"], entry["difference"], entry["complete"]) == (100, 30, 0, True)
    assert entry["reference"]["top1"] == entry["top1"]
    assert entry["weights"]["trained"]


# --- images that cannot be read


def test_images_that_cannot_be_read_are_left_out_and_named(single: Path, pictures: Path, tmp_path: Path) -> None:
    data = shutil.copytree(pictures, tmp_path / "pictures")
    (intact,) = evaluated(single, data=data)
    spoilt = sorted(data.glob("*/*.png"))[::10]
    for path in spoilt:
        path.write_bytes(path.read_bytes()[:100])
    (result,) = evaluated(single, data=data)
    assert sorted(result.unreadable) == [path.relative_to(data).as_posix() for path in spoilt]
    assert intact.accuracy is not None
    assert result.accuracy is not None
    assert result.accuracy.count == intact.accuracy.count - len(spoilt)
    assert result.agreement is not None
    assert result.agreement.count == result.accuracy.count
    assert result.is_complete


def test_where_no_image_can_be_read_there_is_no_figure(single: Path, tmp_path: Path) -> None:
    for digit in "01":
        (tmp_path / digit).mkdir()
        (tmp_path / digit / "a.png").write_bytes(b"no image")
    with pytest.raises(BadInput, match=r"None of the 2 images of .* can be read, such as .*/a\.png"):
        evaluated(single, data=tmp_path)


# --- interrupted, and resumed


@dataclass
class Interrupted(Silent):
    """A progress that interrupts at its n-th advance."""

    left: int
    warnings: list[str] = field(default_factory=list)

    def advance(self, text: str, done: int, total: int) -> None:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def without_times(results: list[EvaluationResult]) -> list[dict[str, Any]]:
    def stripped(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {key: stripped(each) for key, each in value.items() if key not in TIMES}

    return [stripped(result.to_dict()) for result in results]


def lines_without_times(path: Path) -> list[dict[str, Any]]:
    return [{**json.loads(line), "seconds": 0} for line in path.read_text().splitlines()]


@pytest.mark.parametrize("after", [1, 2, 6, 30])
def test_what_is_resumed_ends_as_what_was_never_interrupted(
    made: Callable[..., Path], pictures: Path, tmp_path: Path, after: int
) -> None:
    """Interrupts before the first batch, after it, in the reference's, and in the second artifact's."""
    artifacts = made("onnx", "fp32", batch=None, sizes=(None,)), made()
    whole = evaluated(*artifacts, data=pictures, limit=None, resume=tmp_path / "whole")
    actual = Evaluator(resume=tmp_path / "parts", progress=Interrupted(after))
    broken = actual.evaluate(artifacts, str(pictures))
    assert not broken.is_complete
    assert not all(result.is_complete for result in broken.results)
    json.dumps(broken.to_dict(), allow_nan=False)
    with (tmp_path / "parts").open("a") as file:
        file.write('{"of": "one that bro')
    resumed = evaluated(*artifacts, data=pictures, limit=None, resume=tmp_path / "parts")
    assert without_times(resumed) == without_times(whole)
    assert lines_without_times(tmp_path / "parts") == lines_without_times(tmp_path / "whole")


def test_an_interrupt_keeps_what_there_is(single: Path) -> None:
    actual = Evaluator(progress=Interrupted(11)).evaluate([single], "digits")
    (result,) = actual.results
    assert result.accuracy is not None
    assert (result.accuracy.count, result.agreement, result.reason) == (10, None, "interrupted")
    assert not actual.is_complete
    (none,) = Evaluator(progress=Interrupted(1)).evaluate([single], "digits").results
    assert (none.accuracy, none.to_dict()["count"], none.to_dict()["top1"]) == (None, 0, None)


def test_a_larger_limit_goes_on_and_a_smaller_one_takes_the_first(single: Path, tmp_path: Path) -> None:
    for limit in (20, 40, 12):
        (saved,) = evaluated(single, limit=limit, resume=tmp_path / "answers")
        (fresh,) = evaluated(single, limit=limit)
        assert without_times([saved]) == without_times([fresh])
        assert saved.accuracy is not None
        assert saved.accuracy.count == limit
    batches = 2 + 2  # of the reference: 16 and 4 of the first 20 images, and of those that are left
    assert len((tmp_path / "answers").read_text().splitlines()) == 1 + 40 + batches


def test_a_file_of_another_artifact_or_other_data_is_refused(
    made: Callable[..., Path], single: Path, pictures: Path, tmp_path: Path
) -> None:
    file = tmp_path / "answers"
    evaluated(single, limit=3, resume=file)
    before = file.read_bytes()
    with pytest.raises(BadInput, match="predictions for other artifacts"):
        evaluated(made("tflite", "fp32", batch=4), limit=3, resume=file)
    with pytest.raises(BadInput, match="predictions for other images"):
        evaluated(single, data=pictures, limit=3, resume=file)
    assert file.read_bytes() == before


# --- the reference


@pytest.fixture
def of_a_file(tmp_path: Path) -> tuple[Path, Path]:
    """An artifact, and its weights file."""
    torch.save(untrained_model(MODEL, 10, 4).state_dict(), tmp_path / "weights.pth")
    request = Request(
        model=MODEL, formats=("onnx",), weights=str(tmp_path / "weights.pth"), output_dir=tmp_path, verify=False
    )
    (document,) = export(request)
    return Path(document["path"]), tmp_path / "weights.pth"


def test_without_its_weights_there_is_no_agreement_and_the_reason_is_reported(of_a_file: tuple[Path, Path]) -> None:
    artifact, weights = of_a_file
    moved = weights.rename(weights.with_name("moved.pth"))
    progress_log = Interrupted(0)
    (result,) = evaluated(artifact, limit=5, progress=progress_log)
    document = result.to_dict()
    assert (document["agreement"], document["reference"], document["count"]) == (None, None, 5)
    assert document["agreement_reason"].startswith("not run on this host: The weights of ")
    assert len(progress_log.warnings) == 1
    assert weights.name in progress_log.warnings[0]
    (actual,) = evaluated(artifact, limit=5, weights=str(moved))
    assert actual.to_dict()["agreement"] == 100


def test_weights_that_are_named_have_to_be_the_right_ones(single: Path, of_a_file: tuple[Path, Path]) -> None:
    with pytest.raises(BadInput, match=r"was not made from"):
        evaluated(single, weights=str(of_a_file[1]))
    with pytest.raises(BadInput, match="cannot be opened"):
        evaluated(single, weights="none.pth")


def test_untrained_weights_are_reported_once(made: Callable[..., Path]) -> None:
    progress_log = Interrupted(0)
    seeded = [made("onnx", precision, weights="random:1") for precision in ("fp32", "fp16")]
    one, other = evaluated(*seeded, limit=5, progress=progress_log)
    assert one.agreement is not None
    assert one.agreement.share == 1
    assert not other.to_dict()["weights"]["trained"]
    (warning,) = progress_log.warnings
    assert "UNTRAINED" in warning


# --- what is refused


def test_limits_that_leave_nothing(single: Path) -> None:
    for limit in (0, -3):
        with pytest.raises(BadInput, match=f"--limit must be at least 1, got {limit}"):
            evaluated(single, limit=limit)


def test_dense_features_have_no_accuracy(made: Callable[..., Path]) -> None:
    with pytest.raises(BadInput, match="dense features as outputs, not classes"):
        evaluated(made("onnx", "fp32", task="features"))


def test_artifacts_that_are_damaged_or_foreign(single: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.onnx").write_bytes(single.read_bytes()[:5000])
    foreign = onnx.load(single)
    del foreign.metadata_props[:]
    onnx.save(foreign, tmp_path / "foreign.onnx")
    for path, fragment in (
        (tmp_path / "cut.onnx", r"cut\.onnx"),
        (tmp_path / "foreign.onnx", "was not made by evim-deploy"),
        (tmp_path / "none.onnx", "Artifact not found:"),
    ):
        with pytest.raises(BadInput, match=fragment):
            evaluated(single, path, resume=tmp_path / "answers")
    assert not (tmp_path / "answers").exists()


def test_classes_that_do_not_fit_name_the_artifact(single: Path, tmp_path: Path) -> None:
    write_digits(tmp_path, count=12, names=lambda label: f"digit {label}")
    with pytest.raises(BadInput, match=r"_fp32\.onnx and .* do not fit\. The data has"):
        evaluated(single, data=tmp_path)
