"""The sensitivity of a check, by a mutation test: perturb each layer in turn and measure the change of the outputs.

A layer's weights W get seeded noise with a standard deviation of 0.01 rms(W). By the triangle inequality the outputs of
an artifact with that fault differ from the reference's by at least (output delta - the error without the fault), so the
fault is detected if that exceeds the tolerance.

Where operations are compared one by one, the layer's own output is tested: the fault is detected if some value is
rounded to a quantised value that rounding the correct value does not explain.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

import numpy as np
import torch

from evim_deploy.artifact.parity import Check, CheckSensitivity, OutputComparison
from evim_deploy.networks.protocols import Array, Network, Outputs
from evim_deploy.networks.runnable import GraphNetwork
from evim_deploy.proof.outputs.differences import as_logits, pair_outputs

PERTURBATION = 0.01
"""Standard deviation of the noise, in units of the weights' root mean square."""

MIN_SHARE = 0.9
"""Share of the layers whose perturbation must be detected; below it the verdict is a warning."""

_SEED = 0


def output_deltas(
    network: Network, images: Array, probabilities: bool, units: Mapping[str, float] | None = None
) -> dict[str, float]:
    """The largest change of the outputs after perturbing each layer, in units of their range, by the layer's name.

    Args:
        network: The inference form.
        images: Its input, (B, 3, H, W).
        probabilities: Whether the output is probabilities, which are compared as logits.
        units: The :func:`~evim_deploy.proof.outputs.differences.ranges` of the comparison under test.
    """
    tiny = float(np.finfo(images.dtype).tiny)

    def compared(outputs: Outputs) -> Outputs:
        return {name: as_logits(array, tiny) if probabilities else array for name, array in outputs.items()}

    unperturbed, faults = network.faults(images, PERTURBATION, torch.Generator().manual_seed(_SEED))
    expected, names = compared(unperturbed), [str(index) for index in range(len(images))]
    return {
        layer: max(pair.max_abs for pair in pair_outputs(names, expected, compared(outputs), units))
        for layer, outputs in faults
    }


def operations_sensitivity(network: GraphNetwork, image: Array, size: tuple[int, int]) -> CheckSensitivity:
    """The sensitivity of comparing the operations of a quantised network one by one.

    Args:
        network: The simulated network.
        image: Its input, (1, 3, H, W).
        size: Height and width, pixels.
    """
    visible = dict(network.visible(image, PERTURBATION, torch.Generator().manual_seed(_SEED)))
    detectable = {name: PERTURBATION / clearness if clearness else inf for name, clearness in visible.items()}
    return _sensitivity(Check.OPERATIONS, detectable, size)


def outputs_sensitivity(
    deltas: Mapping[str, float], comparison: OutputComparison, size: tuple[int, int]
) -> CheckSensitivity:
    """The sensitivity of a comparison of outputs.

    Args:
        deltas: The :func:`output_deltas` of the network under test.
        comparison: The comparison.
        size: Height and width of the perturbed networks' images, pixels.
    """
    needed = comparison.tolerance.max_abs + comparison.measures.max_abs
    detectable = {name: PERTURBATION * needed / delta if delta else inf for name, delta in deltas.items()}
    return _sensitivity(comparison.check, detectable, size)


def _sensitivity(check: Check, detectable: Mapping[str, float], size: tuple[int, int]) -> CheckSensitivity:
    """The sensitivity from the smallest detectable perturbation of each layer."""
    return CheckSensitivity(
        check=check,
        perturbation=PERTURBATION,
        size=size,
        layers=len(detectable),
        missed=tuple(name for name, smallest in detectable.items() if not smallest < PERTURBATION),
        smallest=min(detectable.values()),
        everywhere=max(detectable.values()),
    )
