"""The record of a parity check: an artifact's errors against its reference, the tolerances, and their sensitivity.

Every error is in units of the range of the reference's output (its maximum minus its minimum) on the image where that
range is largest: on most images the logits of an undecided classifier have hardly any range. Probabilities are compared
as the logits they stand for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from evim_deploy.common.json_documents import finite


class ParityStatus(StrEnum):
    """The verdict of a parity check; ``warning`` where all comparisons pass but detect too little."""

    PASS = "pass"
    WARNING = "warning"
    FAIL = "fail"
    NOT_RUN = "not_run"


class Check(StrEnum):
    """The property that a comparison checks; :mod:`evim_deploy.proof.outputs.checker` defines each."""

    REWRITES = "rewrites"
    PROGRAM = "program"
    PRECISION = "precision"
    OPERATIONS = "operations"


@dataclass(frozen=True)
class WorstElement:
    """The element with the largest error: its input image, its output, and its index there without the batch axis."""

    input: str
    output: str
    index: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Measures:
    """Differences between outputs and a reference's over a set of inputs.

    Attributes:
        max_abs: Largest absolute error, in units of the output's range; infinite if a value is not finite.
        mean_abs: Mean absolute error, in units of the output's range.
        cosine: Smallest cosine similarity of any input and output.
        snr_db: Smallest signal-to-noise ratio of any input and output, dB; infinite where they are equal.
        top1: Share of inputs with the same top-1 class; None for dense features.
        top5: Share of the reference's top-5 classes that are in the artifact's top 5; None for dense features.
        kl: Largest Kullback-Leibler divergence from the reference's probabilities, nats; None for dense features.
        worst: The element with the error ``max_abs``.
    """

    max_abs: float
    mean_abs: float
    cosine: float
    snr_db: float
    top1: float | None
    top5: float | None
    kl: float | None
    worst: WorstElement


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """The largest errors that pass.

    Attributes:
        max_abs: Bound of the largest error, in units of the output's range.
        mean_abs: Bound of the mean error: flat images have single errors far above the others.
        reason: The source of the allowed error.
        distribution: Errors of correct artifacts, from which the bounds were set.
        times_own: For a quantised artifact, the multiple of the network's own quantisation error, measured in PyTorch,
            that is allowed in addition.
    """

    max_abs: float
    mean_abs: float
    reason: str
    distribution: str
    times_own: float = 0.0

    def beyond(self, own: Measures) -> Tolerance:
        """The tolerance for an artifact whose network has the quantisation error ``own``."""
        return replace(
            self,
            max_abs=self.max_abs + self.times_own * own.max_abs,
            mean_abs=self.mean_abs + self.times_own * own.mean_abs,
        )

    def allows(self, measures: Measures) -> bool:
        """Whether errors pass."""
        return measures.max_abs <= self.max_abs and measures.mean_abs <= self.mean_abs


@dataclass(frozen=True, kw_only=True)
class OutputComparison:
    """One comparison of outputs with a reference's.

    Attributes:
        check: The property under test: ``rewrites``, ``program`` or ``precision``.
        engine: The engine that ran the artifact.
        mode: The precision mode of that engine.
        reference: Name of the reference.
        inputs: Names of the images.
        tolerance: The bounds that were applied.
        measures: The errors; the smallest tolerance that would have passed is ``max_abs`` and ``mean_abs`` of these.
        anomalies: Number of float16 values that overflowed, were subnormal or NaN, by kind, by operation.
    """

    check: Check
    engine: str
    mode: str
    reference: str
    inputs: tuple[str, ...]
    tolerance: Tolerance
    measures: Measures
    anomalies: dict[str, dict[str, int]]

    @property
    def status(self) -> ParityStatus:
        return ParityStatus.PASS if self.tolerance.allows(self.measures) else ParityStatus.FAIL

    def anomaly_totals(self) -> dict[str, dict[str, int | str]]:
        """Totals over all operations, by kind: number of operations and of values, and the first operation."""
        totals: dict[str, dict[str, int | str]] = {}
        for kind in sorted({kind for counts in self.anomalies.values() for kind in counts}):
            having = {operation: counts[kind] for operation, counts in self.anomalies.items() if kind in counts}
            totals[kind] = {"operations": len(having), "values": sum(having.values()), "first": next(iter(having))}
        return totals

    def to_dict(self) -> dict[str, Any]:
        """The comparison as plain values; anomalies are added up over the operations."""
        fields = asdict(self)
        check = fields.pop("check")
        return {"subject": check, **fields, "anomalies": self.anomaly_totals(), "status": self.status}


@dataclass(frozen=True, kw_only=True)
class CheckSensitivity:
    """The sensitivity of a check, from a mutation test: the weights of each layer were perturbed in turn.

    Attributes:
        check: The check under test.
        perturbation: Standard deviation of the noise, in units of the weights' root mean square.
        size: Height and width of the images, pixels.
        layers: Number of perturbed layers.
        missed: Layers whose perturbation would have passed.
        smallest: Approximate smallest perturbation that is detected in some layer; output deltas are taken as linear.
        everywhere: Approximate smallest perturbation that is detected in every layer; infinite if one has no effect.
    """

    check: Check
    perturbation: float
    size: tuple[int, int]
    layers: int
    missed: tuple[str, ...]
    smallest: float
    everywhere: float

    @property
    def caught(self) -> int:
        return self.layers - len(self.missed)

    def __str__(self) -> str:
        return f"detects a {100 * self.perturbation:.0f} % weight perturbation in {self.caught} of {self.layers} layers"

    def to_dict(self) -> dict[str, Any]:
        """The sensitivity as plain values."""
        fields = asdict(self)
        check, perturbation = fields.pop("check"), fields.pop("perturbation")
        return {"subject": check, "disturbance": perturbation, **fields, "caught": self.caught, "summary": str(self)}


@dataclass(frozen=True)
class StoredWeights:
    """Comparison of the weight arrays in an artifact's file with the network's, in any layout.

    Attributes:
        arrays: Number of arrays of the network.
        compared: Number of these that the file has under their names.
        changed: Arrays that differ and by how much, for people.
    """

    arrays: int
    compared: int
    changed: tuple[str, ...]

    def __str__(self) -> str:
        return f"stores {self.compared - len(self.changed)} of {self.arrays} weight arrays correctly"


@dataclass(frozen=True, kw_only=True)
class OpsSummary:
    """Comparison of an artifact's operations one by one, each on the values that the artifact itself passed to it.

    Attributes:
        input: Name of the image.
        operations: Number of operations of the network.
        compared: Number of these that the file has under their names.
        diverging: Operations that diverge, for people.
        worst: The largest error, in units of the rounding error bound.
    """

    input: str
    operations: int
    compared: int
    diverging: tuple[str, ...]
    worst: float

    def __str__(self) -> str:
        correct = self.compared - len(self.diverging)
        return f"computes {correct} of {self.operations} operations correctly, each on its own inputs"


@dataclass(frozen=True, kw_only=True)
class Parity:
    """The result of a parity check.

    Attributes:
        status: The verdict.
        reason: Why the check does not pass; empty where it does.
        comparisons: The comparisons of outputs.
        sensitivity: The sensitivity of these comparisons; None where one failed or nothing was compared.
        stored: Comparison of the file's weights; None where it was not made.
        operations: Comparison operation by operation; None where the outputs alone are conclusive.
    """

    status: ParityStatus
    reason: str
    comparisons: tuple[OutputComparison, ...] = ()
    sensitivity: CheckSensitivity | None = None
    stored: StoredWeights | None = None
    operations: OpsSummary | None = None

    @staticmethod
    def not_run(reason: str) -> Parity:
        return Parity(status=ParityStatus.NOT_RUN, reason=reason)

    @staticmethod
    def of_functions(each: Mapping[str, Parity]) -> Parity:
        """The parity of the default (first) function, with the worst verdict of all functions."""
        order = (ParityStatus.PASS, ParityStatus.WARNING, ParityStatus.NOT_RUN, ParityStatus.FAIL)
        worst = max((parity.status for parity in each.values()), key=order.index)
        reasons = (f"{name}: {parity.reason}" for name, parity in each.items() if parity.reason)
        return replace(next(iter(each.values())), status=worst, reason="; ".join(reasons))

    def to_dict(self) -> dict[str, Any]:
        """The result as plain JSON values; infinity and NaN are null."""
        document: dict[str, Any] = finite(
            {
                "status": self.status,
                "reason": self.reason,
                "comparisons": [comparison.to_dict() for comparison in self.comparisons],
                "power": self.sensitivity.to_dict() if self.sensitivity else None,
                "stored": {**asdict(self.stored), "summary": str(self.stored)} if self.stored else None,
                "operations": {**asdict(self.operations), "summary": str(self.operations)} if self.operations else None,
            }
        )
        return document
