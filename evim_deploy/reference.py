"""What an artifact is made from and compared with: a model, its weights and its rewritten graphs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from evim_deploy.artifact import Target, Weights
from evim_deploy.lowering import FEATURE_OUTPUTS, lower
from evim_deploy.reparam import SPREAD_TOKEN_WEIGHTS, Outcome, reparameterise, run
from evim_deploy.rounding import rounded

if TYPE_CHECKING:
    from evim_deploy.graph import Graph
    from evim_deploy.model import EfficientViM

Rewritten = tuple["Graph", list[Outcome]]


@dataclass
class Reference:
    """A model in evaluation mode.

    Attributes:
        model: The network as the paper defines it.
        weights: Where they come from.
    """

    model: EfficientViM
    weights: Weights
    _rewritten: dict[tuple[str, str, bool], Rewritten] = field(default_factory=dict)

    def rewritten(self, target: Target) -> Rewritten:
        """The network that ends in the target's output, and what the rewrites did to it.

        One for all formats, precisions and sizes, but that Core ML's has one rewrite more: it adds in float16.
        """
        key = target.task, target.output, target.preprocess
        if key not in self._rewritten:
            self._rewritten[key] = reparameterise(lower(self.model, *key))
        graph, outcomes = self._rewritten[key]
        if target.format != "coreml":
            return graph, outcomes
        graph = graph.copy()
        return graph, [*outcomes, run(SPREAD_TOKEN_WEIGHTS, graph)]

    def stored(self, target: Target) -> Graph:
        """The rewritten network with its weights as the target's precision stores them."""
        graph, _ = self.rewritten(target)
        return rounded(graph) if target.precision == "fp16" else graph

    def outputs(self, task: str, images: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
        """What the model gives for normalised images (B, 3, H, W): ``logits``, or the maps by name.

        One image at a time, which bounds the memory.
        """
        names = FEATURE_OUTPUTS if task == "features" else ("logits",)
        with torch.no_grad():
            each = [torch.from_numpy(images[i : i + 1]) for i in range(len(images))]
            found = [self.model.features(image) if task == "features" else [self.model(image)] for image in each]
        return {n: torch.cat(column).numpy() for n, column in zip(names, zip(*found, strict=True), strict=True)}
