"""The weights of a model, and their description."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import types
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from evim_deploy.catalog.variants import VARIANTS, ModelName, Variant
from evim_deploy.common.errors import BadInput, NotInstalled
from evim_deploy.networks.efficientvim.model import EfficientViM
from evim_deploy.networks.efficientvim.weights import Weights, resolve
from evim_deploy.networks.seeding import state_sha256
from evim_deploy.weights import hub

if TYPE_CHECKING:
    from pathlib import Path

TINY = ModelName(Variant(name="tiny", depths=(1, 2, 1), channels=(8, 16, 24), states=(5, 4, 3), resolution=64))


def untrained_model(model: ModelName, num_classes: int, seed: int) -> EfficientViM:
    """Replaces evim_deploy.networks.efficientvim.seeded, whose weights do not matter here."""
    torch.manual_seed(seed)
    return EfficientViM(model.variant, num_classes, model.distilled).eval()


def no_hub(*_: object, **__: object) -> Path:
    pytest.fail("the hub was asked")


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VARIANTS, TINY.variant.name, TINY.variant)
    stand_in = types.ModuleType("evim_deploy.networks.efficientvim.seeded")
    stand_in.untrained_model = untrained_model  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)
    monkeypatch.setattr(hub, "fetch", no_hub)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "weights.pth"
    torch.save({"model_ema": untrained_model(TINY, 1000, 7).state_dict()}, path)
    return path


def weights_of(spec: str | None, num_classes: int | None = None) -> Weights:
    return resolve(TINY, spec, num_classes, lambda _: None)[1]


def test_a_path(path: Path) -> None:
    model, weights = resolve(TINY, str(path), None, lambda _: None)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert weights == Weights(path.name, True, sha256, "From the entry model_ema of the file.")
    assert state_sha256(model) == state_sha256(untrained_model(TINY, 1000, 7))


def test_a_folder_goes_by_its_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of weights has no folder, whose name may be a user's."""
    monkeypatch.chdir(path.parent)
    assert {weights_of(spec).source for spec in (".", str(path.parent), f"./{path.name}")} == {path.name}


def test_a_path_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="No such file"):
        weights_of(str(tmp_path / "none.pth"))


@pytest.mark.parametrize(
    ("spec", "asked", "source"),
    [
        ("hf:some/repo", ("some/repo", "model.safetensors"), "hf:some/repo/model.safetensors"),
        ("hf:some/repo/a/b.pth", ("some/repo", "a/b.pth"), "hf:some/repo/a/b.pth"),
        (
            "timm:efficientvim_tiny",
            ("timm/efficientvim_tiny.e300_in1k", "model.safetensors"),
            "timm:efficientvim_tiny.e300_in1k",
        ),
        (None, ("timm/efficientvim_tiny.e450_in1k", "model.safetensors"), "timm:efficientvim_tiny.e450_in1k"),
    ],
)
def test_the_hub(
    path: Path, monkeypatch: pytest.MonkeyPatch, spec: str | None, asked: tuple[str, str], source: str
) -> None:
    def fetch(*repo_and_file: str, notify: object) -> Path:
        assert repo_and_file == asked
        return path

    monkeypatch.setattr(hub, "fetch", fetch)
    weights = weights_of(spec)
    assert (weights.source, weights.trained) == (source, True)


@pytest.mark.parametrize(("spec", "seed"), [("random", 0), ("random:0", 0), ("random:4294967295", 4294967295)])
def test_random(spec: str, seed: int) -> None:
    model, weights = resolve(TINY, spec, 5, lambda _: None)
    assert weights == Weights(f"random:{seed}", False, state_sha256(untrained_model(TINY, 5, seed)), "")
    assert model.num_classes == 5


@pytest.mark.parametrize(
    "seed", ["", "-1", "1.5", "x", "4294967296", "0" * 20 + "4294967296", "9" * 5000, "\u0661", " 1"]
)
def test_seeds_that_are_none(seed: str) -> None:
    with pytest.raises(BadInput, match="Invalid seed"):
        weights_of(f"random:{seed}")


@pytest.mark.parametrize("error", [hub.HubUnreachable, BadInput])
def test_untrained_weights_stand_in_for_published_ones_and_say_why(
    monkeypatch: pytest.MonkeyPatch, error: type[BadInput]
) -> None:
    def fail(*_: object, **__: object) -> Path:
        raise error("The reason.", "The remedy.")

    monkeypatch.setattr(hub, "fetch", fail)
    weights = weights_of(None)
    assert (weights.source, weights.trained, weights.note) == ("random:0", False, "The reason.")
    for spec in ("hf:some/repo", "timm:efficientvim_tiny"):  # asked for by name, they are not replaced
        with pytest.raises(error):
            weights_of(spec)


def test_a_changed_file_is_no_reason_to_go_on_without_it(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    def fail(*_: object, **__: object) -> Path:
        raise hub.WrongHash("The file is damaged.", "Delete it.")

    monkeypatch.setattr(hub, "fetch", fail)
    with pytest.raises(hub.WrongHash):
        weights_of(None)
    path.write_bytes(b"damaged")
    monkeypatch.setattr(hub, "fetch", lambda *_, **__: path)
    with pytest.raises(BadInput, match="not known"):
        weights_of(None)


def test_other_classes_than_the_published_ones() -> None:
    weights = weights_of(None, 10)
    assert not weights.trained
    assert "1000 classes, not 10" in weights.note


@pytest.mark.parametrize("spec", [None, "random"])
def test_no_classes(spec: str | None) -> None:
    with pytest.raises(BadInput, match="num_classes must be at least 2, got 0"):
        weights_of(spec, 0)


def test_state_sha256_is_over_names_shapes_and_numbers() -> None:
    model = untrained_model(TINY, 3, 0)
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
        digest.update(np.asarray(tensor, dtype="<f4").tobytes())
    assert state_sha256(model) == digest.hexdigest()
    with torch.no_grad():
        model.weights[2] += 1e-6
    assert state_sha256(model) != digest.hexdigest()


def test_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(NotInstalled, match="need torch") as caught:
        weights_of("random")
    assert caught.value.remedy == 'pip install "evim-deploy[torch]"'


def test_imports_without_the_heavy_packages() -> None:
    heavy = "{'torch', 'safetensors', 'huggingface_hub'}"
    program = f"import sys, evim_deploy.networks.efficientvim.weights; print({heavy} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
