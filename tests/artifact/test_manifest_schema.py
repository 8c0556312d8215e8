"""The JSON Schema of manifests is the schema that writes and reads them, and real manifests meet it."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from evim_deploy.artifact.info import ArtifactInfo, Structure
from evim_deploy.artifact.manifest import SCHEMA_FILE, ManifestDocument, embedded, json_schema
from evim_deploy.artifact.parity import Parity
from evim_deploy.artifact.quantisation import Calibration, Quantisation
from evim_deploy.artifact.signature import Signature, TensorSpec
from evim_deploy.artifact.target import Target, Weights
from evim_deploy.catalog.variants import MODELS
from evim_deploy.common.errors import BadInput
from evim_deploy.graph.quantised import QuantParams
from evim_deploy.images.preprocessing import PAPER

VALIDATOR = jsonschema.Draft202012Validator(json.loads(SCHEMA_FILE.read_text("utf-8")))
IMAGE = TensorSpec(name="image", shape=(1, 3, 64, 64), dtype="float32", layout="NCHW", range=(0.0, 255.0))
LOGITS = TensorSpec(name="logits", shape=("batch", 3), dtype="float32", layout="NC", range=None)
TARGET = Target(
    format="coreml",
    precision="fp16",
    height=64,
    width=64,
    batch=1,
    task="classify",
    output="logits",
    preprocess=True,
    labels=("cat", "dog", "zebra"),
)
QUANTISATION = Quantisation(
    calibration=Calibration("photographs", 4, ("notes.txt",)),
    equalisation_exponents=(("stem", (1, -2)),),
    qparams=(("stem", QuantParams(0.5, 3, -128, 127)),),
    sensitivity=(("stem", float("inf")), ("head", 21.5)),
    float_layers=("head",),
    allowed_loss=1,
    loss=0.5,
)
TARGETS = {
    "classifier": TARGET,
    "dynamic": replace(TARGET, height=None, width=None, batch=None),
    "features": replace(TARGET, task="features", output="features", labels=()),
    "functions": replace(TARGET, functions=((64, 64), (64, 96))),
    "quantised": replace(TARGET, precision="int8", quantisation=QUANTISATION),
}


def written(target: Target) -> dict[str, Any]:
    """A manifest as a reader of JSON finds it."""
    signature = Signature((IMAGE,), (LOGITS,))
    names = target.of_functions()
    info = ArtifactInfo(
        model=MODELS["efficientvim_m1"],
        target=target,
        weights=Weights("random:7", False, "cd" * 32, "the hub does not answer"),
        preprocessing=PAPER,
        signature=replace(signature, functions=dict.fromkeys(names, signature)),
        structure=Structure.of(Counter({"Conv": 3})),
        parity=Parity.not_run("no engine"),
        rewrites=({"name": "fold", "applied": 1, "removed": {"batch_norm": 1}, "added": {}, "refused": {}},),
        tools={"python": "3.11"},
        functions=dict.fromkeys(names, Parity.not_run("no engine")),
    )
    return dict(json.loads(json.dumps(ManifestDocument.of(info).to_dict(), allow_nan=False)))


def test_the_file_has_the_schema_of_today() -> None:
    remedy = "python -m evim_deploy.artifact.manifest writes it anew"
    assert json.loads(SCHEMA_FILE.read_text("utf-8")) == json_schema(), remedy


@pytest.mark.parametrize("name", TARGETS)
def test_written_manifests_are_valid(name: str) -> None:
    document = written(TARGETS[name])
    VALIDATOR.validate(document)
    VALIDATOR.validate(embedded(document))
    VALIDATOR.validate({"artifact": "a.mlpackage", "size_bytes": 12, "sha256": "ef" * 32, **document})


@pytest.mark.parametrize("name", TARGETS)
def test_a_manifest_survives_reading_and_writing(name: str) -> None:
    document = written(TARGETS[name])
    assert json.dumps(ManifestDocument.model_validate(document).to_dict()) == json.dumps(document)


@pytest.mark.parametrize("name", TARGETS)
def test_the_schema_describes_every_key(name: str) -> None:
    assert not written(TARGETS[name]).keys() - json_schema()["properties"].keys()


def test_every_key_is_written_but_those_of_the_file() -> None:
    assert json_schema()["properties"].keys() - written(TARGET).keys() == {"artifact", "size_bytes", "sha256"}


@pytest.mark.parametrize("key", json_schema()["required"])
def test_a_required_key_that_is_missing_is_refused(key: str) -> None:
    document = written(TARGET)
    del document[key]
    assert_refused(document)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("schema_version", 3),
        ("schema_version", True),
        ("format", "pdf"),
        ("precision", "fp64"),
        ("resolution", [64]),
        ("resolution", [64, True]),
        ("batch", 1.5),
        ("batch", 0),
        ("preprocess", 1),
        ("opset", "17"),
        ("inputs", {}),
        ("inputs", [{"name": "image"}]),
        ("parity", {"status": "perfect"}),
        ("tools", {"python": 3.11}),
        ("structure", {"operations": {"Conv": "3"}, "transposes": 0, "batch_norms": 0}),
    ],
)
def test_the_models_and_the_schema_refuse_alike(key: str, value: object) -> None:
    assert_refused({**written(TARGET), key: value})


@pytest.mark.parametrize(
    "value", [10**400, float("nan"), float("inf"), True, "0.5", None, [0.5]], ids=lambda value: str(value)[:5]
)
def test_a_number_that_is_not_one_is_refused(value: object) -> None:
    document = written(TARGET)
    document["preprocessing"]["crop_fraction"] = value
    with pytest.raises(ValidationError):
        ManifestDocument.model_validate(document)


def assert_refused(document: dict[str, Any]) -> None:
    with pytest.raises((ValidationError, BadInput)):
        ManifestDocument.model_validate(document)
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(document)
