"""A negative control: outputs that a comparison must refuse, of a network whose first layer is disturbed."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from evim_deploy.artifact.target import Target
from evim_deploy.networks.protocols import Outputs, Reference
from evim_deploy.proof.outputs.checker import Answers, comparable
from evim_deploy.proof.outputs.differences import measure, rows

_SHARES = (0.1, 0.2, 0.4, 0.8)
"""Of the layer's weights; the least that is refused is taken."""

_SEED = 0


@dataclass(frozen=True)
class Control:
    """What a disturbed network answers.

    Attributes:
        outputs: By name, (N, ...).
        words: What was done to it.
    """

    outputs: Outputs
    words: str


def refused_control(reference: Reference, target: Target, answers: Answers) -> Control | None:
    """Outputs that differ from the model's by more than an artifact may; None where no disturbance is seen."""
    network = reference.network(target)
    layer = network.layers[0]
    expected = comparable(answers.outputs, target, answers.least)
    for share in _SHARES:
        outputs = network.perturbed(layer, share, torch.Generator().manual_seed(_SEED)).run(answers.images)
        found = measure(rows(answers.names, expected, comparable(outputs, target, answers.least)), classes=False)
        if not answers.tolerance.allows(found):
            return Control(outputs, f"noise of {share:.0%} of their root mean square in the weights of {layer}")
    return None
