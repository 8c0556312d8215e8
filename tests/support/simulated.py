"""Simulated sessions and references for tests of the proof."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from evim_deploy.artifact.info import ArtifactInfo, Structure
from evim_deploy.artifact.parity import Check, Parity
from evim_deploy.artifact.signature import Signature, TensorSpec
from evim_deploy.artifact.target import Target, Weights
from evim_deploy.catalog.variants import MODELS, ModelName, Variant
from evim_deploy.graph.interpreter import evaluate, tensors
from evim_deploy.graph.ir import Graph
from evim_deploy.images.preprocessing import PAPER, normalise
from evim_deploy.networks.efficientvim.lowering import FEATURE_OUTPUTS
from evim_deploy.networks.efficientvim.model import EfficientViM
from evim_deploy.networks.efficientvim.reference import GraphReference
from evim_deploy.networks.efficientvim.seeded import untrained_model
from evim_deploy.proof.outputs.checker import CheckRun

Array = npt.NDArray[np.float32]
Change = Callable[[Array], Array]

CLASSES = 10


IMAGE = TensorSpec(name="image", shape=(1, 3, 64, 64), dtype="float32", layout="NCHW", range=(0.0, 255.0))
LOGITS = TensorSpec(name="logits", shape=(1, CLASSES), dtype="float32", layout="NC", range=None)


def facts_of(target: Target, contract: Signature) -> ArtifactInfo:
    """The description of an unproven artifact."""
    weights, structure = Weights("random:0", False, "0" * 64), Structure.of(Counter())
    return ArtifactInfo(
        model=MODELS["efficientvim_m1"],
        target=target,
        weights=weights,
        preprocessing=PAPER,
        signature=contract,
        structure=structure,
        parity=Parity.not_run(""),
        rewrites=(),
        tools={},
    )


def reference_of(variant: Variant, seed: int = 0, classes: int = CLASSES, distilled: bool = False) -> GraphReference:
    """A reference with seeded weights whose output depends on the image."""
    return reference_to(untrained_model(ModelName(variant, distilled), classes, seed))


def reference_to(model: EfficientViM) -> GraphReference:
    return GraphReference(model=model, weights=Weights("random:0", False, ""))


def target_of(
    format_: str = "onnx",
    precision: str = "fp32",
    output: str = "logits",
    size: tuple[int | None, int | None] = (64, 64),
    batch: int | None = 1,
    preprocess: bool = True,
    classes: int = CLASSES,
) -> Target:
    task = "features" if output == "features" else "classify"
    labels = () if task == "features" else tuple(f"class {index}" for index in range(classes))
    height, width = size
    return Target(
        format=format_,
        precision=precision,
        height=height,
        width=width,
        batch=batch,
        task=task,
        output=output,
        preprocess=preprocess,
        labels=labels,
    )


FACTS = facts_of(target_of(), Signature((IMAGE,), (LOGITS,)))
"""Of an artifact that takes and gives what most in the tests do."""


@dataclass
class Exact:
    """A session that runs the PyTorch model, optionally with changed outputs, and records its inputs."""

    model: EfficientViM
    target: Target
    change: Change = lambda values: values
    anomalies: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    seen: list[Array] = field(default_factory=list)

    def run(self, image: Array) -> dict[str, Array]:
        self.seen.append(image)
        tensor = torch.from_numpy(normalise(image) if self.target.preprocess else image)
        with torch.no_grad():
            if self.target.task == "features":
                maps = self.model.features(tensor)
                return {n: self.change(m.numpy().copy()) for n, m in zip(FEATURE_OUTPUTS, maps, strict=True)}
            logits = self.change(self.model(tensor).numpy().copy())
        if self.target.output == "logits":
            return {"logits": logits}
        return {"probabilities": torch.softmax(torch.from_numpy(logits), 1).numpy()}


class Network:
    """A session that runs a graph in PyTorch, float32, optionally with changed outputs."""

    anomalies: Mapping[str, Mapping[str, int]] = {}

    def __init__(self, graph: Graph, change: Change = lambda values: values) -> None:
        self._graph, self._weights, self._change = graph, tensors(graph, torch.float32), change

    def run(self, image: Array) -> dict[str, Array]:
        outputs = evaluate(self._graph, torch.from_numpy(image), self._weights)
        return {name: self._change(values.numpy().copy()) for name, values in outputs.items()}


def run_of(
    session: Exact | Network, check: Check = Check.PROGRAM, engine: str = "simulated", mode: str = "fp32"
) -> CheckRun:
    def opened() -> AbstractContextManager[Exact | Network]:
        return nullcontext(session)

    return CheckRun(check, engine, mode, opened)


def with_noise(graph: Graph, name: str, amount: float, seed: int = 0) -> Graph:
    """The weights of one operation with Gaussian noise of ``amount`` times their root mean square."""
    (node,) = [node for node in graph.nodes if node.name == name]
    draw = np.random.RandomState(seed)
    noisy = {
        key: array + amount * np.sqrt(np.mean(array**2)) * draw.standard_normal(array.shape)
        for key, array in node.weights.items()
    }
    changed = graph.copy()
    changed.substitute(node, node.with_weights(**noisy))
    return changed
