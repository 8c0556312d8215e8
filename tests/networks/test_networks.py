"""Networks besides EfficientViM: found by name, opened, exported, proven and verified like EfficientViM."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import tiny_timm
import torch
from hub_server import FILE
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from stored_weights import change_one, places_of
from tiny_timm import CLASSES, NAME, SIDE

import exporters.onnx.torch_module
from evim_deploy import formats
from evim_deploy.artifact.parity import ParityStatus
from evim_deploy.artifact.reading import embedded_manifest
from evim_deploy.artifact.target import Target
from evim_deploy.catalog.network_name import NetworkName, parse_network_name
from evim_deploy.catalog.terms import UNQUANTISED, ModelFamily
from evim_deploy.cli.parsing import parse_normalisation
from evim_deploy.commands.export import export
from evim_deploy.commands.predict import predict
from evim_deploy.commands.request import Request, plan_targets
from evim_deploy.commands.verify import Verifier
from evim_deploy.common.errors import BadInput, NotRunHere, ParityFailed, UsageProblem
from evim_deploy.common.numerics import softmax
from evim_deploy.common.publish import sha256
from evim_deploy.images import photographs
from evim_deploy.images.preprocessing import Preprocessing, normalise, open_image, resize_and_crop
from evim_deploy.networks.open import parse_source
from evim_deploy.networks.seeding import state_sha256
from evim_deploy.networks.timm.open import find_timm, open_timm
from evim_deploy.networks.torch_module.group_norm import TwoStepNorm, split_means
from evim_deploy.networks.torch_module.loaded import LoadedModel
from evim_deploy.networks.torch_module.reference import ModuleReference
from evim_deploy.weights import hub

TINY = find_timm(NAME)
FORMATS = ("onnx", "coreml")
COMBINATIONS = [(format_, precision) for format_ in FORMATS for precision in UNQUANTISED]
PREPROCESSING = Preprocessing(mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3), crop_fraction=0.9, interpolation="bilinear")
CAFFE = np.array([104.04, 117.3, 122.4])
FAMILIES = {
    "shvit_s1": 64,
    "fastvit_t8": 64,
    "mobileone_s0": 64,
    "mobilevitv2_050": 64,
    "mobilenetv3_large_100": 64,
    "convnextv2_atto": 64,
}
"""A network of each family that people deploy instead, and a side in pixels that it takes."""


def opened(spec: str | None, num_classes: int | None = None) -> LoadedModel:
    return open_timm(TINY, spec, num_classes, lambda text: None)


def reference() -> ModuleReference:
    return ModuleReference(opened("random:3"), (SIDE, SIDE))


Artifacts = dict[tuple[str, str], dict[str, Any]]


def made(folder: Path, **options: Any) -> Artifacts:
    request = Request(model=TINY, output_dir=folder, **{"formats": FORMATS, "weights": "random:3", **options})
    return {(each["format"], each["precision"]): each for each in export(request)}


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Artifacts:
    return made(tmp_path_factory.mktemp("exported"), precisions=UNQUANTISED)


# --- the same road ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("format_", "precision"), COMBINATIONS)
def test_an_artifact_is_proven_and_says_what_it_is(artifacts: Artifacts, format_: str, precision: str) -> None:
    artifact = artifacts[format_, precision]
    assert (artifact["model"], artifact["num_classes"]) == (f"timm:{NAME}", CLASSES)
    assert Path(artifact["path"]).name.startswith(f"{NAME}_UNTRAINED_random3_{SIDE}x{SIDE}_{precision}")
    assert Preprocessing(**artifact["preprocessing"]) == PREPROCESSING
    parity = artifact["parity"]
    assert parity["status"] == ParityStatus.PASS
    assert len(parity["comparisons"]) == (1 if precision == "fp32" else 3)
    assert parity["stored"]["compared"] == parity["stored"]["arrays"]
    assert {rewrite["name"]: rewrite["applied"] for rewrite in artifact["rewrites"]} == {
        "reparameterised by timm": 0,
        "folded": 2,
        "layer scales folded": 0,
        "means of GroupNorms in two steps": 1,
        "standardised kernels computed": 0,
        "pools without ceil_mode and counted padding": 0,
    }
    assert artifact["structure"]["batch_norms"] == 0


@pytest.mark.parametrize(("format_", "precision"), COMBINATIONS)
def test_an_artifact_is_verified_from_its_file_alone(artifacts: Artifacts, format_: str, precision: str) -> None:
    artifact = artifacts[format_, precision]
    verifier = Verifier()
    verdict = verifier.verify(Path(artifact["path"]))
    assert verdict.parity.status == ParityStatus.PASS
    assert verdict.manifest.model == NetworkName(family=ModelFamily.TIMM, source=NAME, size=(SIDE, SIDE))
    with pytest.raises(NotRunHere, match="only for EfficientViM"):
        verifier.layers(verdict)


@pytest.mark.parametrize(("format_", "precision"), COMBINATIONS)
def test_a_weight_that_changed_is_caught(artifacts: Artifacts, tmp_path: Path, format_: str, precision: str) -> None:
    """A negative control: one value of one kernel."""
    path = tmp_path / Path(artifacts[format_, precision]["path"]).name
    copy = shutil.copytree if format_ == "coreml" else shutil.copy
    copy(artifacts[format_, precision]["path"], path)
    target = embedded_manifest(formats.read(path).metadata, path).target
    kernel = reference().stored_form(target).get_parameter("network.mlp.2.weight").numpy()
    change_one(path, places_of(path, {"kernel": kernel}, precision)["kernel"])
    verdict = Verifier().verify(path)
    assert verdict.parity.status == ParityStatus.FAIL
    assert "network.mlp.2, 1 of 512 values of the weight differs" in verdict.parity.reason


@pytest.mark.parametrize("format_", FORMATS)
def test_a_module_that_computes_something_else_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format_: str
) -> None:
    """A negative control: every weight is right, and an operation is wrong."""
    stored = ModuleReference.stored_form

    def without_gelu(reference: ModuleReference, target: Target) -> torch.nn.Module:
        module = deepcopy(stored(reference, target))
        module.set_submodule("network.mlp.1", torch.nn.ReLU())
        return module

    monkeypatch.setattr(ModuleReference, "stored_form", without_gelu)
    with pytest.raises(ParityFailed, match="differs from the source model"):
        made(tmp_path, formats=(format_,), precisions=("fp32",))
    assert list(tmp_path.iterdir()) == []


def test_options_of_an_onnx_file(tmp_path: Path) -> None:
    half = made(tmp_path, formats=("onnx",), precisions=("fp16",), half_io=True, opset=20, batch=None)
    (artifact,) = half.values()
    assert artifact["parity"]["status"] == ParityStatus.PASS
    assert artifact["inputs"][0]["dtype"] == artifact["outputs"][0]["dtype"] == "float16"
    assert list(artifact["inputs"][0]["shape"]) == ["batch", 3, SIDE, SIDE]
    assert artifact["structure"]["operations"]["Gelu"] == 1  # which operator set 20 brought
    assert {each.version for each in onnx.load(artifact["path"]).opset_import} == {20}


def test_a_package_for_later_systems(tmp_path: Path) -> None:
    (artifact,) = made(tmp_path, formats=("coreml",), precisions=("fp16",), deployment_target="iOS18").values()
    assert (artifact["parity"]["status"], artifact["deployment_target"]) == (ParityStatus.PASS, "iOS18")


def test_another_size_a_batch_and_normalised_input(tmp_path: Path) -> None:
    options = {"sizes": ((40, 48),), "batch": 2, "preprocess": False, "output": "logits"}
    for artifact in made(tmp_path, **options).values():
        assert artifact["parity"]["status"] == ParityStatus.PASS
        assert list(artifact["inputs"][0]["shape"]) == [2, 3, 40, 48]
        assert artifact["inputs"][0]["dtype"] == "float32"


def test_golden_files_hold_what_the_network_answers(tmp_path: Path) -> None:
    (artifact,) = made(tmp_path, formats=("coreml",), precisions=("fp16",), golden=True).values()
    with safe_open(artifact["golden"], "numpy") as golden:
        pixels = golden.get_tensor("input").transpose(0, 3, 1, 2).astype(np.float32)  # (N, 3, H, W)
        own = reference()
        expected = softmax(own.outputs("classify", normalise(pixels, own.preprocessing))["logits"])
        np.testing.assert_allclose(golden.get_tensor("expected.probabilities"), expected, rtol=1e-5)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    Image.fromarray(photographs.load("cat", 48, 80)).save(path)
    return path


def test_prediction_crops_and_resizes_as_the_network_is_evaluated(artifacts: Artifacts, picture: Path) -> None:
    report = predict(Path(artifacts["onnx", "fp32"]["path"]), [picture], 3)
    own = reference()
    pixels = resize_and_crop(open_image(picture), SIDE, SIDE, own.preprocessing).transpose(2, 0, 1)[None]
    expected = softmax(own.outputs("classify", normalise(pixels.astype(np.float32), own.preprocessing))["logits"])[0]
    guesses = report.predictions[0].top
    assert [guess.index for guess in guesses] == np.argsort(-expected)[:3].tolist()
    assert guesses[0].probability == pytest.approx(expected.max(), rel=1e-4)


def test_an_onnx_file_goes_through_the_same_door(tmp_path: Path) -> None:
    """Its hash identifies it, even at another path."""
    file = tmp_path / "tiny.onnx"
    image = torch.zeros(2, 3, SIDE, SIDE)
    exporters.onnx.torch_module.export(opened("random:3").module, image, "logits", file, 18, dynamic_batch=True)
    name = parse_source(str(file))
    (artifact,) = export(Request(model=name, formats=("coreml",), precisions=("fp16",), output_dir=tmp_path))
    assert (artifact["model"], artifact["parity"]["status"]) == ("onnx:tiny.onnx", ParityStatus.PASS)
    moved = file.rename(tmp_path / "moved.onnx")
    assert Verifier(weights=str(moved)).verify(Path(artifact["path"])).parity.status == ParityStatus.PASS
    with pytest.raises(BadInput, match="cannot be opened"):
        Verifier().verify(Path(artifact["path"]))
    with pytest.raises(BadInput, match="contains its own weights"):
        plan_targets(Request(model=name, formats=("onnx",), weights="random"))


@pytest.fixture(scope="module")
def onnx_classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier in a file without a stated normalisation."""
    file = tmp_path_factory.mktemp("file") / "tiny.onnx"
    image = torch.zeros(1, 3, SIDE, SIDE)
    exporters.onnx.torch_module.export(opened("random:3").module, image, "logits", file, 18, dynamic_batch=False)
    return file


def test_a_file_that_says_no_normalisation_takes_what_it_took(
    onnx_classifier: Path, picture: Path, tmp_path: Path
) -> None:
    (artifact,) = export(Request(model=parse_source(str(onnx_classifier)), formats=("onnx",), output_dir=tmp_path))
    assert not artifact["preprocess"]
    assert artifact["preprocessing"]["assumed"]
    assert artifact["inputs"][0]["range"] is None
    image = np.random.default_rng(0).standard_normal((1, 3, SIDE, SIDE), dtype=np.float32)
    answers = []
    for path in (onnx_classifier, Path(artifact["path"])):
        session = onnxruntime.InferenceSession(path)
        answers.append(session.run(None, {session.get_inputs()[0].name: image})[0])
    assert np.abs(answers[0] - answers[1]).max() < 1e-5 * np.ptp(answers[0])
    with pytest.raises(BadInput, match="does not say how its images are normalised"):
        predict(Path(artifact["path"]), [picture], 1)


def test_a_file_with_mean_and_std_takes_pixels(onnx_classifier: Path, picture: Path, tmp_path: Path) -> None:
    preprocessing = parse_normalisation("0.4,0.5,0.6", "0.2,0.25,0.3")
    name = parse_source(str(onnx_classifier), preprocessing)
    (artifact,) = export(Request(model=name, formats=("onnx",), output_dir=tmp_path))
    assert artifact["preprocess"]
    assert not artifact["preprocessing"]["assumed"]
    assert artifact["parity"]["status"] == ParityStatus.PASS
    path = Path(artifact["path"])
    assert Verifier(weights=str(onnx_classifier)).verify(path).parity.status == ParityStatus.PASS
    guess = predict(path, [picture], 1).predictions[0].top[0]
    pixels = resize_and_crop(open_image(picture), SIDE, SIDE).transpose(2, 0, 1)[None].astype(np.float32)
    session = onnxruntime.InferenceSession(onnx_classifier)
    logits = session.run(None, {session.get_inputs()[0].name: normalise(pixels, preprocessing)})[0]
    assert guess.index == logits.argmax()
    assert guess.probability == pytest.approx(softmax(logits).max(), rel=1e-4)


@pytest.mark.parametrize(
    ("mean", "std", "cause"),
    [
        ("0.4,0.5,0.6", None, "must be given together"),
        (None, "0.4,0.5,0.6", "must be given together"),
        ("0.4,0.5", "1,1,1", "Invalid RGB values '0.4,0.5'"),
        ("a,b,c", "1,1,1", "Invalid RGB values 'a,b,c'"),
        ("nan,0,0", "1,1,1", "Invalid RGB values 'nan,0,0'"),
        ("0,0,inf", "1,1,1", "Invalid RGB values '0,0,inf'"),
        ("0,0,0,0", "1,1,1", "Invalid RGB values '0,0,0,0'"),
        ("", "1,1,1", "Invalid RGB values ''"),
    ],
)
def test_what_is_no_normalisation(mean: str | None, std: str | None, cause: str) -> None:
    with pytest.raises(UsageProblem) as caught:
        parse_normalisation(mean, std)
    assert cause in caught.value.cause


def test_one_number_for_three_channels_is_told_how_to_be_written() -> None:
    with pytest.raises(UsageProblem) as caught:
        parse_normalisation("0.5", "0.5")
    assert "0.5,0.5,0.5" in caught.value.remedy


@pytest.mark.parametrize(
    ("mean", "std", "cause", "remedy"),
    [
        (
            "123.675,116.28,103.53",
            "58.395,57.12,57.375",
            "is in pixels 0-255",
            "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225.",
        ),
        ("127.5,127.5,127.5", "127.5,127.5,127.5", "is in pixels", "--mean 0.5,0.5,0.5 --std 0.5,0.5,0.5."),
        ("0,0,0", "255,255,255", "is in pixels", "--mean 0,0,0 --std 1,1,1."),
        ("123.675,116.28,103.53", "0.229,0.224,0.225", "is in pixels", "0.485,0.456,0.406 --std 0.229,0.224,0.225."),
        ("0.485,0.456,0.406", "58.395,57.12,57.375", "is in pixels", "0.485,0.456,0.406 --std 0.229,0.224,0.225."),
        ("0.485,116.28,0.406", "0.229,0.224,0.225", "is in pixels", "--mean 0.485,0.456,0.406"),
        ("104.04,117.3,122.4", "1,1,1", "is in pixels", "0.408,0.46,0.48 --std 0.00392157,0.00392157,0.00392157."),
        ("-0.5,0,0", "1,1,1", "is negative", "0 to 1"),
        ("0,0,0", "1,0,1", "Invalid standard deviation 1,0,1", "above 0"),
        ("0,0,0", "1,-1,1", "Invalid standard deviation 1,-1,1", "above 0"),
        ("0.0019,0.0018,0.0016", "0.000898039,0.000878431,0.000882353", "divided by 255 twice", "0.229,0.224,0.225;"),
    ],
)
def test_a_normalisation_that_is_not_in_units_of_255(
    onnx_classifier: Path, mean: str, std: str, cause: str, remedy: str
) -> None:
    with pytest.raises(UsageProblem) as caught:
        parse_source(str(onnx_classifier), parse_normalisation(mean, std))
    assert cause in caught.value.cause
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("mean", "std", "taken"),
    [
        ("0.5,0.5,0.5", "0.5,0.5,0.5", lambda pixels: pixels / 127.5 - 1),
        ("0,0,0", "1,1,1", lambda pixels: pixels / 255),
        ("0,0,0", "0.00392156862745098,0.00392156862745098,0.00392156862745098", lambda pixels: pixels),
        ("0.408,0.46,0.48", "0.0039215686,0.0039215686,0.0039215686", lambda p: p - CAFFE.reshape(3, 1, 1)),
    ],
)
def test_other_ranges_that_networks_take(
    onnx_classifier: Path, tmp_path: Path, mean: str, std: str, taken: Callable[[Any], Any]
) -> None:
    """Inputs of -1 to 1, 0 to 1, and pixels with and without a mean: the artifact has the file's outputs for pixels."""
    name = parse_source(str(onnx_classifier), parse_normalisation(mean, std))
    (artifact,) = export(Request(model=name, formats=("onnx",), output_dir=tmp_path))
    assert artifact["parity"]["status"] in (
        ParityStatus.PASS,
        ParityStatus.WARNING,
    )  # pixels drown the small weights of this network
    pixels = photographs.load("cat", SIDE, SIDE).transpose(2, 0, 1)[None].astype(np.float32)
    answers = []
    for path, image in ((onnx_classifier, taken(pixels)), (Path(artifact["path"]), pixels)):
        session = onnxruntime.InferenceSession(path)
        answers.append(session.run(None, {session.get_inputs()[0].name: image.astype(np.float32)})[0])
    assert np.abs(answers[0] - answers[1]).max() < 1e-4 * np.ptp(answers[0])


def test_a_network_that_answers_alike_to_all_images_is_not_proven(tmp_path: Path) -> None:
    """A file that normalises pixels itself, opened with a second normalisation: all images become nearly black."""
    file = tmp_path / "pixels.onnx"
    network = opened("random:3").module

    class OfPixels(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return network((image / 255 - 0.45) / 0.225)

    image = torch.zeros(1, 3, SIDE, SIDE)
    exporters.onnx.torch_module.export(OfPixels().eval(), image, "logits", file, 18, dynamic_batch=False)
    status = {}
    for mean, std in (("0.485,0.456,0.406", "0.229,0.224,0.225"), ("0,0,0", ",".join(3 * [f"{1 / 255}"]))):
        name = parse_source(str(file), parse_normalisation(mean, std))
        (artifact,) = export(Request(model=name, formats=("onnx",), output_dir=tmp_path, overwrite=True))
        status[mean] = artifact["parity"]["status"], artifact["parity"]["reason"]
    assert status["0,0,0"] == (ParityStatus.PASS, "")
    assert status["0.485,0.456,0.406"][0] == ParityStatus.WARNING
    assert "outputs hardly depend on the image" in status["0.485,0.456,0.406"][1]


@pytest.mark.parametrize("text", ["m1", "timm:shvit_s1"])
def test_what_says_its_normalisation_itself_is_not_told_another(text: str) -> None:
    with pytest.raises(UsageProblem, match="has a normalisation of its own"):
        parse_source(text, PREPROCESSING)


@pytest.mark.parametrize(
    ("name", "format_"),
    [
        # in every run each family in one format
        pytest.param(name, format_, marks=pytest.mark.slow if (row + column) % 2 else pytest.mark.exhaustive)
        for row, name in enumerate(FAMILIES)
        for column, format_ in enumerate(FORMATS)
    ],
)
def test_each_family_is_proven(tmp_path: Path, name: str, format_: str) -> None:
    side = FAMILIES[name]
    request = Request(
        model=parse_source(f"timm:{name}"),
        formats=(format_,),
        precisions=UNQUANTISED,
        sizes=((side, side),),
        weights="random:0",
        num_classes=10,
        output_dir=tmp_path,
    )
    for artifact in export(request):
        parity = artifact["parity"]
        # seeded squeezes of MobileNetV3 are too weak to be seen in its outputs: the stored weights are compared as well
        assert parity["status"] in (ParityStatus.PASS, ParityStatus.WARNING), parity["reason"]
        assert parity["stored"]["compared"] == parity["stored"]["arrays"]


# --- weights ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of weights in place of trained ones."""
    path = tmp_path_factory.mktemp("weights") / FILE
    save_file(opened("random:5").module.state_dict(), path)
    return path


def test_the_published_weights_come_from_the_hub(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetch(repo: str, filename: str, **unused: object) -> Path:
        asked.append((repo, filename))
        return trained

    monkeypatch.setattr(hub, "fetch", fetch)
    for spec in (None, f"timm:{NAME}.test"):
        found = opened(spec)
        assert (found.weights.source, found.weights.trained) == (f"timm:{NAME}.test", True)
        assert found.weights.note == "timm names their licence: mit."
        assert state_sha256(found.module) == state_sha256(opened("random:5").module)
    assert set(asked) == {(tiny_timm.HUB, FILE)}


def test_weights_are_seeded_and_say_so_where_the_hub_is_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(*unused: object, **options: object) -> Path:
        raise hub.HubUnreachable("The hub cannot be reached.", "Check the network.")

    monkeypatch.setattr(hub, "fetch", fetch)
    found = opened(None)
    assert not found.weights.trained
    assert found.weights.source == "random:0"
    assert found.weights.note == "The hub cannot be reached."


def test_weights_of_a_file_are_the_networks(trained: Path, tmp_path: Path) -> None:
    found = opened(str(trained))
    assert (found.num_classes, found.weights.sha256) == (CLASSES, sha256(trained))
    wrapped = {f"module.{name}": tensor for name, tensor in found.module.state_dict().items()}
    torch.save({"state_dict": wrapped, "epoch": 3}, tmp_path / "envelope.pth")
    note = "From the entry state_dict of the file, names that begin with 'module.'."
    assert opened(str(tmp_path / "envelope.pth")).weights.note == note


def test_other_numbers_of_classes(tmp_path: Path) -> None:
    assert opened("random", 7).num_classes == 7
    assert opened(None, 7).weights.note == f"The published weights have {CLASSES} classes, not 7."
    save_file(opened("random", 7).module.state_dict(), tmp_path / FILE)
    assert opened(str(tmp_path / FILE)).num_classes == 7
    with pytest.raises(BadInput, match="has 7 classes, not 12"):
        opened(str(tmp_path / FILE), CLASSES)


def test_no_weights_of_a_file_are_run(tmp_path: Path) -> None:
    class Command:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "ran",)

    torch.save({"state_dict": Command()}, tmp_path / "bad.pth")
    with pytest.raises(BadInput, match="holds no state dict"):
        opened(str(tmp_path / "bad.pth"))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"head.weight": None, "head.bias": None}, "head"),
        ({"stem.0.weight": torch.zeros(16, 3, 5, 5)}, "stem.0.weight"),
        ({"another.weight": torch.zeros(2)}, "another.weight"),
        ({"head.bias": torch.full((CLASSES,), torch.nan)}, "NaN or infinity in head.bias"),
    ],
    ids=["missing", "another-shape", "unexpected", "not-a-number"],
)
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    state = {**opened("random").module.state_dict(), **change}
    save_file({name: tensor for name, tensor in state.items() if tensor is not None}, tmp_path / FILE)
    with pytest.raises(BadInput) as error:
        opened(str(tmp_path / FILE))
    assert said in error.value.cause
    assert "\n" not in error.value.cause


# --- what is refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("timm:shvit_s9", "shvit_s1"),
        ("timm:mobilenetv3_larg_100", "mobilenetv3_large_100"),
        ("timm:", "timm.list_models()"),
        ("timm:shvit_s1.in22k", "shvit_s1.in1k"),
        ("timm:../shvit_s1", "timm.list_models()"),
    ],
)
def test_an_unknown_network_is_told_with_the_nearest(name: str, said: str) -> None:
    with pytest.raises(UsageProblem) as error:
        parse_source(name)
    assert said in error.value.remedy


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"task": "features"}, "only be exported as a classifier"),
        ({"sizes": (None,)}, "dynamic resolution"),
        ({"opset": 17}, "PyTorch's exporter starts at 18"),
        (
            {"sizes": ((32, 32), (64, 64)), "multifunction": True},
            "does not support --multifunction",
        ),
        ({"num_classes": 1}, "num_classes must be at least 2, got 1"),
    ],
)
def test_what_only_efficientvim_has_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        plan_targets(Request(model=TINY, **{"formats": ("onnx",), **options}))


class Bessel(torch.nn.Module):
    """A network with an operation that converters do not support."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(image).mean((2, 3))


@pytest.mark.parametrize("format_", FORMATS)
def test_what_a_converter_cannot_is_told_in_one_line(tmp_path: Path, format_: str) -> None:
    target = Target(
        format=format_,
        precision="fp32",
        height=SIDE,
        width=SIDE,
        batch=1,
        task="classify",
        output="logits",
        preprocess=True,
        labels=("a", "b", "c"),
    )
    with pytest.raises(BadInput, match=r"bessel_j0|special_bessel") as error:
        exporters.load(exporters.FORMATS[format_], "torch_module").build(Bessel().eval(), target, tmp_path / "network")
    assert "\n" not in error.value.cause


def test_a_size_that_the_network_refuses_is_told() -> None:
    with pytest.raises(BadInput, match="does not accept images of 1x1"):
        ModuleReference(refusing(), (SIDE, SIDE)).stored_form(
            Target(
                format="onnx",
                precision="fp32",
                height=1,
                width=1,
                batch=1,
                task="classify",
                output="logits",
                preprocess=True,
                labels=(),
            )
        )


def refusing() -> LoadedModel:
    """The tiny network, with an error for images that are too small for its pooling."""
    found = opened("random:3")
    pooled = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 3), found.module)
    return replace(found, module=pooled.eval().requires_grad_(False))


def test_a_network_of_one_size_is_planned_at_that_alone() -> None:
    fixed = replace(TINY, fixed=True, size=(32, 48))
    (target,) = plan_targets(Request(model=fixed, formats=("onnx",)))
    assert (target.height, target.width) == (32, 48)
    with pytest.raises(BadInput, match="accepts only images of 32x48"):
        plan_targets(Request(model=fixed, formats=("onnx",), sizes=((48, 48),)))


@pytest.mark.parametrize(("name", "size"), [("timm:shvit_s1", (224, 224)), ("onnx:classifier.onnx", (96, 128))])
def test_a_name_is_read_back(name: str, size: tuple[int, int]) -> None:
    found = parse_network_name(name, size, PREPROCESSING)
    assert found
    assert (found.name, found.size, found.resolution) == (name, size, max(size))
    assert found.stem == name.partition(":")[2].removesuffix(".onnx")
    for other in ("efficientvim_m9", "timm:", "onnx:", "tensorflow:x"):
        assert parse_network_name(other, size, PREPROCESSING) is None


# --- the norm --------------------------------------------------------------------------------------------


def test_a_norm_in_two_steps_is_the_norm() -> None:
    generator = torch.Generator().manual_seed(0)
    norm = torch.nn.GroupNorm(1, 6).double()
    norm.weight.data.uniform_(0.5, 1.5, generator=generator)
    norm.bias.data.uniform_(-1, 1, generator=generator)
    x = 3 + torch.randn(2, 6, 5, 7, generator=generator, dtype=torch.float64)
    expected = norm(x)
    torch.testing.assert_close(TwoStepNorm(norm)(x), expected)


def test_norms_of_several_groups_stay() -> None:
    groups = ((1, True), (2, True), (1, False))
    model = torch.nn.Sequential(*(torch.nn.GroupNorm(count, 4, affine=affine) for count, affine in groups))
    assert split_means(model) == ("0",)
    assert [type(module) for module in model] == [TwoStepNorm, torch.nn.GroupNorm, torch.nn.GroupNorm]
