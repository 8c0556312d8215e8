"""Outputs in the form in which they are compared: probabilities of a softmax as logits, others unchanged."""

from __future__ import annotations

from evim_deploy.artifact.target import Target
from evim_deploy.catalog.terms import Activation, Output, Precision, Task
from evim_deploy.networks.protocols import Outputs
from evim_deploy.proof.outputs.differences import as_logits

FP32_SMALLEST_PROBABILITY = 2.0**-120
"""Near the smallest normal float32, 2^-126, exponentials of XNNPACK are wrong by a third."""

_FP16_SMALLEST_PROBABILITY = 2.0**-14
"""Smaller float16 probabilities are subnormal or 0."""


def smallest_probability(precision: str) -> float:
    """The smallest probability that a precision resolves; smaller ones are compared as this."""
    return FP32_SMALLEST_PROBABILITY if precision == Precision.FP32 else _FP16_SMALLEST_PROBABILITY


def has_softmax(target: Target) -> bool:
    """Whether a classifier ends in a softmax: exactly one class of an image is correct."""
    return target.task == Task.CLASSIFY and target.activation == Activation.SOFTMAX


def is_compared_as_logits(target: Target) -> bool:
    """Whether an output is the probabilities of a softmax: errors of small ones would not show beside a large one."""
    return target.output == Output.PROBABILITIES and target.activation == Activation.SOFTMAX


def comparable(outputs: Outputs, target: Target, smallest: float) -> Outputs:
    """Outputs (N, ...) in the form in which they are compared.

    Args:
        outputs: By name.
        target: The artifact's.
        smallest: Lower bound that probabilities are clipped to.
    """
    if not is_compared_as_logits(target) or Output.PROBABILITIES not in outputs:
        return outputs
    return {Output.PROBABILITIES: as_logits(outputs[Output.PROBABILITIES], smallest)}
