"""What a comparison would catch: disturb each layer of the network in turn and see how far its outputs move.

A layer's weights W get noise of standard deviation 0.01 rms(W), drawn from a seed. By the triangle
inequality an artifact with that fault is at least (movement - what it differs by without the fault)
from the reference, so a fault counts as caught where that is more than the tolerance.

An artifact whose operations are compared one by one is told by what the layer itself gives: the fault counts as caught
where some value is rounded to a code that rounding the right value does not explain.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

import numpy as np
import torch

from evim_deploy.artifact.parity import Comparison, Power
from evim_deploy.networks.protocols import Array, Network, Outputs
from evim_deploy.networks.runnable import GraphNetwork
from evim_deploy.proof.outputs.differences import as_logits, rows

DISTURBANCE = 0.01
"""Of a layer's weights, in units of their root mean square."""

MIN_SHARE = 0.9
"""Of the layers in which a disturbance must be seen; a proof that sees fewer ends in a warning."""

OPERATIONS = "operations"
"""What is under test where the operations are compared one by one."""

_SEED = 0


def movements(
    network: Network, images: Array, probabilities: bool, units: Mapping[str, float] | None = None
) -> dict[str, float]:
    """How far the disturbance of each layer moves the outputs, of their range, by the layer's name.

    Args:
        network: In its inference form.
        images: What it takes, (B, 3, H, W).
        probabilities: Whether its output is probabilities, to be compared as logits.
        units: The :func:`~evim_deploy.proof.outputs.differences.ranges` of the comparison that this is about.
    """
    tiny = float(np.finfo(images.dtype).tiny)

    def compared(outputs: Outputs) -> Outputs:
        return {name: as_logits(array, tiny) if probabilities else array for name, array in outputs.items()}

    sound, faults = network.faults(images, DISTURBANCE, torch.Generator().manual_seed(_SEED))
    expected, names = compared(sound), [str(index) for index in range(len(images))]
    return {
        layer: max(row.max_abs for row in rows(names, expected, compared(outputs), units)) for layer, outputs in faults
    }


def local_power(network: GraphNetwork, image: Array, size: tuple[int, int]) -> Power:
    """What comparing the operations of a quantised network one by one would catch on an image (1, 3, H, W)."""
    seen = dict(network.visible(image, DISTURBANCE, torch.Generator().manual_seed(_SEED)))
    return _power(OPERATIONS, {name: DISTURBANCE / clear if clear else inf for name, clear in seen.items()}, size)


def power(moved: Mapping[str, float], comparison: Comparison, size: tuple[int, int]) -> Power:
    """What a comparison would catch, given the :func:`movements` of the network that it is about."""
    needed = comparison.tolerance.max_abs + comparison.measures.max_abs
    visible = {name: DISTURBANCE * needed / movement if movement else inf for name, movement in moved.items()}
    return _power(comparison.subject, visible, size)


def _power(subject: str, visible: Mapping[str, float], size: tuple[int, int]) -> Power:
    return Power(
        subject=subject,
        disturbance=DISTURBANCE,
        size=size,
        layers=len(visible),
        missed=tuple(name for name, least in visible.items() if not least < DISTURBANCE),
        smallest=min(visible.values()),
        everywhere=max(visible.values()),
    )
