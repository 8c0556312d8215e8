"""A negative control: outputs of a perturbed network, which a comparison must refuse."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from evim_deploy.artifact.target import Target
from evim_deploy.networks.protocols import Outputs, Reference
from evim_deploy.proof.outputs.comparable import comparable
from evim_deploy.proof.outputs.differences import measure, pair_outputs
from evim_deploy.proof.outputs.reference_outputs import ReferenceOutputs

_SHARES = (0.1, 0.2, 0.4, 0.8)
"""Standard deviations of the noise, in units of the weights' root mean square; the first that is refused is used."""

_SEED = 0


@dataclass(frozen=True)
class NegativeControl:
    """The outputs of a perturbed network.

    Attributes:
        outputs: By name, (N, ...).
        description: The perturbation, for people.
    """

    outputs: Outputs
    description: str


def negative_control(reference: Reference, target: Target, expected: ReferenceOutputs) -> NegativeControl | None:
    """Outputs of the network with noise in its first layer that exceed the tolerance; None if no noise does."""
    network = reference.network(target)
    layer = network.layers[0]
    smallest = expected.smallest_probability
    references = comparable(expected.outputs, target, smallest)
    for share in _SHARES:
        outputs = network.perturbed(layer, share, torch.Generator().manual_seed(_SEED)).run(expected.images)
        pairs = pair_outputs(expected.names, references, comparable(outputs, target, smallest))
        if not expected.tolerance.allows(measure(pairs, classes=False)):
            return NegativeControl(outputs, f"noise of {share:.0%} of their root mean square in the weights of {layer}")
    return None
