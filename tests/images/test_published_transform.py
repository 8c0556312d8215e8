"""The crop and the normalisation beside torchvision's and timm's own transforms, to the pixel."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from math import floor
from pathlib import Path

import numpy as np
import pytest
import timm
import tiny_timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config
from torchvision import transforms
from torchvision.transforms.functional import InterpolationMode

from evim_deploy.accuracy.evaluation import Evaluator
from evim_deploy.catalog.variants import parse_model
from evim_deploy.commands.export import export
from evim_deploy.commands.predict import predict
from evim_deploy.commands.request import Request
from evim_deploy.commands.verify import Verifier
from evim_deploy.common.errors import BadInput, ParityFailed
from evim_deploy.common.numerics import softmax
from evim_deploy.images import preprocessing
from evim_deploy.images.preprocessing import (
    PAPER,
    STD,
    CropMode,
    Interpolation,
    Placement,
    Preprocessing,
    Sides,
    resize_and_crop,
)
from evim_deploy.images.published_transform import published_transform
from evim_deploy.networks.efficientvim.reference import GraphReference
from evim_deploy.networks.open import open_reference
from evim_deploy.networks.timm import open as timm_model
from evim_deploy.networks.timm.open import find_timm, open_timm
from evim_deploy.networks.torch_module.loaded import LoadedModel
from evim_deploy.networks.torch_module.reference import ModuleReference
from evim_deploy.proof.outputs.transform import transform_fault

NOISE = Image.fromarray(np.random.RandomState(0).randint(0, 256, (640, 640, 3), np.uint8))
REPORTED = [(640, 427), (427, 640), (150, 90)]
TINY = find_timm(tiny_timm.NAME)
PLACE = preprocessing.place
CONFIG = timm.get_pretrained_cfg(tiny_timm.NAME)


def images(count: int, seed: int) -> Iterator[Image.Image]:
    """Noise of random widths and heights, those that were reported first."""
    draw = random.Random(seed)
    sizes = REPORTED + [(draw.randint(1, 400), draw.randint(1, 400)) for _ in range(count - len(REPORTED))]
    for width, height in sizes:
        yield NOISE.crop((0, 0, width, height))


def rounding_place(image: Sides, size: Sides, how: Preprocessing = PAPER) -> Placement:
    """A wrong crop, which rounds the long side instead of cutting it off, and knows no crop mode."""
    whole = [floor(side / how.crop_fraction) for side in size]
    scale = max(whole[0] / image[0], whole[1] / image[1])
    height, width = (round(side * scale) for side in image)
    return Placement((height, width), round((height - size[0]) / 2), round((width - size[1]) / 2))


# --- ours, as the paper evaluates it


@pytest.mark.parametrize("side", [224, 256, 150, 33])
def test_ours_is_torchvisions_resize_and_center_crop(side: int) -> None:
    resize = transforms.Resize(floor(side / 0.875), InterpolationMode.BICUBIC)
    expected = transforms.Compose([resize, transforms.CenterCrop(side)])
    for image in images(60, side):
        assert np.array_equal(resize_and_crop(image, side, side), np.asarray(expected(image))), image.size


@pytest.mark.parametrize("size", [(320, 448), (64, 32), (224, 225)])
def test_of_a_size_that_is_not_square_ours_is_timms(size: tuple[int, int]) -> None:
    expected = create_transform((3, *size), crop_pct=0.875, interpolation="bicubic", normalize=False)
    for image in images(30, 0):
        assert np.array_equal(resize_and_crop(image, *size), expected(image).numpy().transpose(1, 2, 0)), image.size


def test_a_wrong_crop_of_ours_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A negative control: the same comparison, with the long side rounded."""
    monkeypatch.setattr(preprocessing, "place", rounding_place)
    expected = transforms.Compose([transforms.Resize(256, InterpolationMode.BICUBIC), transforms.CenterCrop(224)])
    assert not any(
        np.array_equal(resize_and_crop(image, 224, 224), np.asarray(expected(image))) for image in images(3, 0)
    )


# --- timm's, in every way that its networks are evaluated


def configurations() -> Iterator[str]:
    """Names of timm, each with a configuration of its own."""
    yield from sorted({*timm.list_pretrained(), *timm.list_models()})


def ways() -> list[tuple[str, str, float]]:
    """Crop mode, interpolation and crop fraction of all that timm publishes, and each mode with each filter."""
    found = (resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict()) for name in configurations())
    own = {(each["crop_mode"], each["interpolation"], each["crop_pct"]) for each in found}
    assert {mode for mode, _, _ in own} == set(CropMode)
    return sorted(own | {(mode, filter_, 0.9) for mode in CropMode for filter_ in Interpolation})


def test_each_way_is_timms_own_transform() -> None:
    mean = (0.48145466, 0.4578275, 0.1)
    for number, (mode, interpolation, fraction) in enumerate(ways()):
        how = Preprocessing(mean=mean, std=STD, crop_fraction=fraction, interpolation=interpolation, crop_mode=mode)
        size = [(96, 96), (64, 80), (77, 77), (224, 224)][number % 4]
        own = create_transform(
            (3, *size), crop_pct=fraction, crop_mode=mode, interpolation=interpolation, mean=mean, normalize=False
        )
        for image in images(7, number):
            found = resize_and_crop(image, *size, how)
            assert np.array_equal(found, own(image).numpy().transpose(1, 2, 0)), (how, size, image.size)


@pytest.mark.parametrize("mode", CropMode)
def test_each_crop_mode_is_another(mode: str) -> None:
    """A negative control: the comparison above detects a wrong crop mode."""
    image = NOISE.crop((0, 0, 150, 90))
    found = {each: resize_and_crop(image, 96, 96, replace(PAPER, crop_mode=each)) for each in CropMode}
    assert [each for each in CropMode if np.array_equal(found[each], found[mode])] == [mode]


def test_published_configurations_can_all_be_expressed() -> None:
    """All but those of other channels than RGB."""
    for name in configurations():
        config = timm.get_pretrained_cfg(name)
        own = resolve_data_config(pretrained_cfg=config.to_dict())
        if own["input_size"][0] == 3:
            how = timm_model._preprocessing(find_timm(name), config)
            assert (how.mean, how.std) == (tuple(own["mean"]), tuple(own["std"])), name
            assert (how.crop_fraction, how.interpolation) == (own["crop_pct"], own["interpolation"]), name
            assert how.crop_mode == own["crop_mode"], name


# --- networks of timm, from the export to the prediction

EVALUATED = [
    {"crop_mode": "squash", "crop_pct": 1.0},
    {"crop_mode": "squash", "crop_pct": 0.9, "interpolation": "bicubic"},
    {"crop_mode": "border", "crop_pct": 1.0},
    {"crop_mode": "border", "crop_pct": 0.8, "interpolation": "lanczos"},
    {"crop_mode": "center", "crop_pct": 1.15},
    {"interpolation": "nearest"},
]


def opened_as(monkeypatch: pytest.MonkeyPatch, **fields: object) -> LoadedModel:
    """The tiny network with seeded weights, evaluated in another way."""
    monkeypatch.setattr(timm, "get_pretrained_cfg", lambda name, **unused: replace(CONFIG, **fields))
    return open_timm(find_timm(tiny_timm.NAME), "random:3", None, lambda text: None)


def exported(folder: Path) -> Path:
    (artifact,) = export(Request(model=TINY, formats=("onnx",), weights="random:3", output_dir=folder))
    assert artifact["parity"]["status"] == "pass"
    return Path(artifact["path"])


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    path = tmp_path / "photograph.png"
    NOISE.crop((0, 0, 16, 16)).resize((150, 90), Image.Resampling.BICUBIC).save(path)
    return path


@pytest.mark.parametrize("fields", EVALUATED, ids=str)
def test_predictions_are_those_of_timms_module_on_timms_transform(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, photograph: Path, fields: dict[str, object]
) -> None:
    found = opened_as(monkeypatch, **fields)
    artifact = exported(tmp_path)
    transform = create_transform(**resolve_data_config(pretrained_cfg=replace(CONFIG, **fields).to_dict()))
    with torch.no_grad():
        logits = found.module(transform(Image.open(photograph).convert("RGB"))[None]).numpy()
    expected = softmax(logits)[0]
    top = predict(artifact, [photograph], 3).predictions[0].top
    assert [guess.index for guess in top] == np.argsort(-expected)[:3].tolist()
    assert [guess.probability for guess in top] == pytest.approx(np.sort(expected)[::-1][:3].tolist(), rel=1e-4)
    assert Verifier().verify(artifact).parity.status == "pass"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"interpolation": "random"}, "the interpolation 'random', which a manifest cannot express"),
        ({"crop_mode": "letterbox"}, "the crop_mode 'letterbox', which a manifest cannot express"),
        ({"mean": (0.5,), "std": (0.5,)}, "by 1 means and 1 standard deviations"),
    ],
    ids=str,
)
def test_what_a_manifest_cannot_express_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, object], words: str
) -> None:
    with pytest.raises(BadInput) as caught:
        opened_as(monkeypatch, **fields)
    assert words in caught.value.cause


def test_weights_of_another_tag_are_evaluated_in_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """CLIP's network has its own mean and standard deviation; the weights named are normalised to -1 to 1."""
    name, spec = find_timm("vit_base_patch16_clip_224.metaclip_400m"), "timm:vit_base_patch16_224.augreg_in21k"
    monkeypatch.setattr(timm_model, "_load", lambda *unused, **named: (torch.nn.Linear(1, 1), None))
    monkeypatch.setattr(timm_model, "_num_classes", lambda module: 1)
    monkeypatch.setattr(timm_model, "_fetch", lambda source, notify: Path())
    means = {each: open_timm(name, each, None, lambda text: None).preprocessing.mean for each in (spec, "weights.pth")}
    assert means == {spec: (0.5, 0.5, 0.5), "weights.pth": (0.48145466, 0.4578275, 0.40821073)}


# --- what sees a fault of the product's own crop


def digits() -> GraphReference:
    reference = open_reference(parse_model("digits"), None, None, lambda text: None)
    assert isinstance(reference, GraphReference)
    return reference


def test_the_published_transform_is_what_the_product_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    for size in [(64, 64), (224, 224), (96, 160), (1024, 1024)]:
        assert transform_fault(digits(), size) == ""
    for fields in EVALUATED:
        assert transform_fault(ModuleReference(opened_as(monkeypatch, **fields), (32, 32)), (48, 48)) == ""


def test_a_rounded_side_is_seen_at_nearly_all_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preprocessing, "place", rounding_place)
    reference = digits()
    seen = [bool(transform_fault(reference, (side, side))) for side in range(32, 512, 16)]
    assert np.mean(seen) > 0.85


WRONG = [
    replace(PAPER, crop_fraction=0.9),
    replace(PAPER, interpolation="bilinear"),
    replace(PAPER, crop_mode="squash"),
    replace(PAPER, mean=(0.5, 0.5, 0.5)),
    replace(PAPER, mean=PAPER.mean[::-1]),
    replace(PAPER, std=(0.229, 0.224, 0.226)),
]


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_a_wrong_reading_of_the_network_is_seen(monkeypatch: pytest.MonkeyPatch, wrong: Preprocessing) -> None:
    reference = digits()
    monkeypatch.setattr(GraphReference, "preprocessing", wrong)
    monkeypatch.setattr(GraphReference, "transform", lambda self, *size: published_transform(PAPER, *size))
    assert "differs from the published transform" in transform_fault(reference, (64, 64))


def test_no_artifact_is_kept_whose_crop_is_wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(preprocessing, "place", rounding_place)
    with pytest.raises(ParityFailed, match="differs from the published transform"):
        exported(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_manifest_that_says_another_crop_is_not_verified(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    opened_as(monkeypatch, crop_mode="border")
    artifact = exported(tmp_path)
    opened_as(monkeypatch, crop_mode="squash")
    with pytest.raises(BadInput, match="differs from its network's: crop_mode border, not squash"):
        Verifier().verify(artifact)


def zoomed_place(image: Sides, size: Sides, how: Preprocessing = PAPER) -> Placement:
    """A wrong crop, which shows half of the correct one."""
    return PLACE(image, size, replace(how, crop_fraction=how.crop_fraction / 2))


def test_evaluation_shows_a_wrong_crop_as_disagreement(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The network looks through torchvision's transform, the artifact through the product's crop."""
    (artifact,) = export(Request(model=parse_model("digits"), formats=("onnx",), output_dir=tmp_path, verify=False))
    agreements = []
    for place in (PLACE, zoomed_place):
        monkeypatch.setattr(preprocessing, "place", place)
        (result,) = Evaluator(limit=60).evaluate([Path(artifact["path"])], "digits").results
        assert result.agreement is not None
        assert result.reference is not None
        assert result.reference.top1 > 0.95
        agreements.append(result.agreement.share)
    assert agreements[0] == 1
    assert agreements[1] < 0.8
