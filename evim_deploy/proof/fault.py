"""The likely fault behind a failed proof: the network itself, its precision, or a fault of ours or of a converter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evim_deploy.artifact.parity import Check, Measures, Parity, ParityStatus
from evim_deploy.artifact.target import Target
from evim_deploy.common.errors import ParityFailed
from evim_deploy.proof.outputs.checker import ParityChecker

REPORT = (
    "This is a fault of evim-deploy or of a converter: please report it with the model, the weights and the command."
)

_SUMMATION_ORDERS = 10.0
"""Multiple of the network's own float32 error that another order of its sums explains."""


@dataclass(frozen=True)
class Fault:
    """A likely fault.

    Attributes:
        note: Its explanation; may be empty.
        remedy: The user's next step.
    """

    note: str
    remedy: str


_OURS = Fault("", REPORT)


def parity_failure(
    checker: ParityChecker, target: Target, reason: str, proofs: Sequence[tuple[Target, Parity]]
) -> ParityFailed:
    """The error for an artifact that differs from its model.

    Args:
        checker: Of the artifact's reference.
        target: The artifact's.
        reason: The difference.
        proofs: The proof of the artifact, or of each of its functions.
    """
    faults = [find_fault(checker, each, parity) for each, parity in proofs if parity.status == ParityStatus.FAIL]
    fault = next((each for each in faults if each == _OURS), faults[0])
    cause = f"The artifact {target} differs from the source model: {reason}. {fault.note}"
    return ParityFailed(cause.rstrip(), f"It was not kept. {fault.remedy}")


def find_fault(checker: ParityChecker, target: Target, parity: Parity) -> Fault:
    """The likely fault behind one failed proof.

    It is the network if its own float32 is not close enough to its float64, and the precision if the same program
    passes in float32. Anything else is a fault of ours or of a converter.
    """
    failed = [each for each in parity.comparisons if each.status == ParityStatus.FAIL]
    has_other_faults = (parity.stored and parity.stored.changed) or (parity.operations and parity.operations.diverging)
    if not failed or has_other_faults:
        return _OURS
    if {each.check for each in failed} == {Check.PRECISION} and len(parity.comparisons) > len(failed):
        return Fault("", f"In {target.precision} this network loses more than is allowed: choose another --precision.")
    own = checker.float32_rounding(target)
    if own is None or any(each.tolerance.allows(own) or _is_beyond(each.measures, own) for each in failed):
        return _OURS
    note = (
        f"The network cannot be computed to this tolerance: in PyTorch, its own float32 differs from its float64 by "
        f"{own.max_abs:.2g} of the output's range and {own.mean_abs:.2g} on average."
    )
    if checker.reference.weights.trained:
        return Fault(note, "Check that these are the weights of a fully trained network.")
    return Fault(
        note, "Use trained weights (-w FILE), or try another seed (-w random:1); --no-verify writes it unproven."
    )


def _is_beyond(measures: Measures, own: Measures) -> bool:
    """Whether an error exceeds what another order of the network's own sums explains."""
    bounds = _SUMMATION_ORDERS * own.max_abs, _SUMMATION_ORDERS * own.mean_abs
    return measures.max_abs > bounds[0] or measures.mean_abs > bounds[1]
