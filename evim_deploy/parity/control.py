"""A negative control: outputs that a comparison must refuse, of a network with one disturbed layer.

That is its first. Where few bits cost untrained weights so much that any picture's answer would pass for another's, it
is the last, which moves the answers as far as one likes.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import torch

from evim_deploy.artifact import Target
from evim_deploy.network import Outputs
from evim_deploy.parity.difference import measure, rows
from evim_deploy.parity.proof import Answers, comparable
from evim_deploy.reference import Reference

_SHARES = (0.1, 0.2, 0.4, 0.8, 1.6)
"""Of a layer's weights; the least that is refused is taken."""

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
    expected = comparable(answers.outputs, target, answers.least)
    for layer, share in product((network.layers[0], network.layers[-1]), _SHARES):
        outputs = network.disturbed(layer, share, torch.Generator().manual_seed(_SEED)).run(answers.images)
        found = measure(rows(answers.names, expected, comparable(outputs, target, answers.least)), classes=False)
        if not answers.tolerance.allows(found):
            return Control(outputs, f"noise of {share:.0%} of their root mean square in the weights of {layer}")
    return None
