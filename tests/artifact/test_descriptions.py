"""What people are told of an artifact: of whom it is, under which licence, and what goes in and comes out."""

from __future__ import annotations

from collections import Counter

import pytest
from simulated import target_of

from evim_deploy import __version__
from evim_deploy.artifact.descriptions import Descriptions, describe_artifact
from evim_deploy.artifact.info import ArtifactInfo, Structure
from evim_deploy.artifact.parity import Parity
from evim_deploy.artifact.signature import Signature, TensorSpec
from evim_deploy.artifact.target import Weights
from evim_deploy.catalog.variants import MODELS
from evim_deploy.images.preprocessing import PAPER

IMAGE = TensorSpec(name="image", shape=(1, 3, 64, 64), dtype="image", layout="RGB", range=(0.0, 255.0))
LABEL = TensorSpec(name="classLabel", shape=(), dtype="string", layout="scalar", range=None)
SHARES = TensorSpec(
    name="classLabel_probs", shape=(10,), dtype="dictionary", layout="label: probability", range=(0.0, 1.0)
)
STRIDES = tuple(
    TensorSpec(name=f"stride{s}", shape=(1, 8, 64 // s, 64 // s), dtype="float16", layout="NCHW", range=None)
    for s in (16, 32, 64)
)


def told(
    source: str = "best.pth",
    trained: bool = True,
    output: str = "probabilities",
    inputs: tuple[TensorSpec, ...] = (IMAGE,),
    outputs: tuple[TensorSpec, ...] = (LABEL, SHARES),
    preprocess: bool = True,
) -> Descriptions:
    return describe_artifact(
        ArtifactInfo(
            model=MODELS["efficientvim_m1"],
            target=target_of("coreml", "fp16", output, preprocess=preprocess),
            weights=Weights(source, trained, "0123456789abcdef" * 4),
            preprocessing=PAPER,
            signature=Signature(inputs, outputs),
            structure=Structure.of(Counter()),
            parity=Parity.not_run(""),
            rewrites=(),
            tools={},
        )
    )


@pytest.mark.parametrize(
    ("source", "trained", "licence"),
    [
        ("hf:timm/efficientvim_m4.e450_in1k/model.safetensors", True, "MIT, as timm says of hf:timm/efficientvim_m4"),
        ("timm:efficientvim_m1_dist", True, "MIT, as timm says of timm:efficientvim_m1_dist"),
        ("hf:someone/efficientvim_m4", True, "That of the weights that it was made from, hf:someone/efficientvim_m4"),
        ("runs/best.pth", True, "That of the weights that it was made from, runs/best.pth"),
        (
            "package:digits",
            True,
            "MIT, as evim-deploy; trained on the UCI optical digits by E. Alpaydin",
        ),
        ("random:0", False, "MIT, as evim-deploy, which drew these untrained weights"),
    ],
)
def test_the_licence_is_that_of_the_weights(source: str, trained: bool, licence: str) -> None:
    assert told(source, trained).licence.startswith(licence)


def test_the_version_is_of_tool_and_weights() -> None:
    found = told()
    assert (found.author, found.version) == (f"evim-deploy {__version__}", f"{__version__}, weights 0123456789ab")


def test_a_classifier_s_ports_are_told() -> None:
    assert told().ports == {
        "image": "RGB image, resized and cropped as the model expects; its normalisation is inside",
        "classLabel": "The likeliest of 10 classes",
        "classLabel_probs": "The probability of each of 10 classes",
    }


def test_dense_features_are_told_by_their_strides() -> None:
    ports = told(output="features", outputs=STRIDES).ports
    assert [ports[spec.name] for spec in STRIDES] == [f"Feature map at stride {s}, NCHW" for s in (16, 32, 64)]


@pytest.mark.parametrize(
    ("preprocess", "text"),
    [(True, "RGB pixels 0-255, NHWC; their normalisation is inside"), (False, "Normalised RGB pixels, NHWC")],
)
def test_an_array_is_told_by_its_layout_and_logits_by_what_they_are(preprocess: bool, text: str) -> None:
    array = TensorSpec(name="image", shape=(1, 64, 64, 3), dtype="float32", layout="NHWC", range=None)
    logits = TensorSpec(name="logits", shape=(1, 10), dtype="float32", layout="NC", range=None)
    assert told(output="logits", inputs=(array,), outputs=(logits,), preprocess=preprocess).ports == {
        "image": text,
        "logits": "A score for each of 10 classes; softmax makes probabilities of them",
    }
