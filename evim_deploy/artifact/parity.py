"""What a proof says: how far an artifact is from its reference, and what it would have caught.

Every error is in units of the range of the reference's output, its greatest minus its least value, of
the image in which that is largest: most pictures leave two classes next to undecided, and between their
logits next to no range. Probabilities are compared as the logits they stand for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from evim_deploy.common.json_documents import finite


class ParityStatus(StrEnum):
    """The result of a proof, from best to worst.

    ``warning`` where all comparisons pass and the sensitivity of the check is below what is demanded; ``not_run`` where
    nothing was compared.
    """

    PASS = "pass"
    WARNING = "warning"
    NOT_RUN = "not_run"
    FAIL = "fail"


PASS, WARNING, NOT_RUN, FAIL = ParityStatus


@dataclass(frozen=True)
class Worst:
    """Where the largest error is: which input, which output, and where in it (without the batch axis)."""

    input: str
    output: str
    index: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Measures:
    """How far outputs are from a reference's over a set of inputs.

    Attributes:
        max_abs: Largest absolute error, of the output's range; infinite where something is not finite.
        mean_abs: Mean absolute error, of the output's range.
        cosine: Of reference and output, the least over inputs and outputs.
        snr_db: Signal to noise, dB, the least over inputs and outputs; infinite where they are equal.
        top1: Share of inputs whose likeliest class is the same; None for dense features.
        top5: Share of the reference's five likeliest classes that are among the artifact's; None likewise.
        kl: Largest Kullback-Leibler divergence from the reference's probabilities, nats; None likewise.
        worst: Where ``max_abs`` is.
    """

    max_abs: float
    mean_abs: float
    cosine: float
    snr_db: float
    top1: float | None
    top5: float | None
    kl: float | None
    worst: Worst


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """How far outputs may be from a reference's.

    Attributes:
        max_abs: The largest error that passes, of the output's range.
        mean_abs: The largest mean error that passes: flat pictures have single errors far above the others.
        reason: What the error comes from that is allowed.
        distribution: What sound artifacts showed, which the figures were taken from.
        times_own: Of a quantised artifact, how many times what rounding to its codes costs the network by itself, in
            PyTorch, passes besides.
    """

    max_abs: float
    mean_abs: float
    reason: str
    distribution: str
    times_own: float = 0.0

    def beyond(self, own: Measures) -> Tolerance:
        """What passes of an artifact whose network is by itself so far from the reference."""
        return replace(
            self,
            max_abs=self.max_abs + self.times_own * own.max_abs,
            mean_abs=self.mean_abs + self.times_own * own.mean_abs,
        )

    def allows(self, found: Measures) -> bool:
        """Whether outputs that differ by so much pass."""
        return found.max_abs <= self.max_abs and found.mean_abs <= self.mean_abs


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One thing compared with another, and what was allowed.

    Attributes:
        subject: What is under test: ``rewrites``, ``program`` or ``precision``.
        engine: What ran it.
        mode: How that computed.
        reference: What it was compared with.
        inputs: Names of the images.
        tolerance: What was allowed; the least that would have passed is what was measured.
        measures: What was found.
        anomalies: How many float16 values overflowed, were subnormal or not a number, by kind, by operation.
    """

    subject: str
    engine: str
    mode: str
    reference: str
    inputs: tuple[str, ...]
    tolerance: Tolerance
    measures: Measures
    anomalies: dict[str, dict[str, int]]

    @property
    def status(self) -> ParityStatus:
        return PASS if self.tolerance.allows(self.measures) else FAIL

    def anomaly_totals(self) -> dict[str, dict[str, int | str]]:
        """Over all operations, by kind: how many operations and values, and which operation is the first."""
        totals: dict[str, dict[str, int | str]] = {}
        for kind in sorted({kind for counts in self.anomalies.values() for kind in counts}):
            having = {operation: counts[kind] for operation, counts in self.anomalies.items() if kind in counts}
            totals[kind] = {"operations": len(having), "values": sum(having.values()), "first": next(iter(having))}
        return totals


@dataclass(frozen=True, kw_only=True)
class Power:
    """What a comparison would catch: each layer of the network was disturbed in turn.

    Attributes:
        subject: The comparison's.
        disturbance: Of a layer's weights, in units of their root mean square.
        size: Height and width of the images, pixels.
        layers: How many layers were disturbed.
        missed: Those whose disturbance would have passed.
        smallest: About the least disturbance that would be seen in some layer: movements are taken as linear.
        everywhere: About the least that would be seen in every layer; infinite where one has no effect at all.
    """

    subject: str
    disturbance: float
    size: tuple[int, int]
    layers: int
    missed: tuple[str, ...]
    smallest: float
    everywhere: float

    @property
    def caught(self) -> int:
        return self.layers - len(self.missed)

    def __str__(self) -> str:
        return f"would catch a {self.disturbance:.0%} error in {self.caught} of {self.layers} layers"


@dataclass(frozen=True)
class StoredWeights:
    """The weights in an artifact's file beside those that belong there, array by array, in any layout.

    Attributes:
        arrays: How many the network has.
        compared: How many of these the file has under their names.
        changed: Which of them differ and by how much, for people.
    """

    arrays: int
    compared: int
    changed: tuple[str, ...]

    def __str__(self) -> str:
        return f"stores {self.compared - len(self.changed)} of {self.arrays} arrays of weights as they should be"


@dataclass(frozen=True, kw_only=True)
class Operations:
    """The operations of an artifact by themselves, each on the values that the artifact itself gave it.

    Attributes:
        input: Name of the image.
        operations: How many the network has.
        compared: How many of these the file has under their names.
        diverging: What of them is not as it should be, for people.
        worst: The largest error, in units of what rounding explains.
    """

    input: str
    operations: int
    compared: int
    diverging: tuple[str, ...]
    worst: float

    def __str__(self) -> str:
        right = self.compared - len(self.diverging)
        return f"computes {right} of {self.operations} operations as they should be, each on its own inputs"


@dataclass(frozen=True, kw_only=True)
class Parity:
    """The proof of an artifact.

    Attributes:
        status: ``pass``; ``warning``, where all comparisons pass and their power is below what is demanded;
            ``fail``; or ``not_run``.
        reason: Why it is not a pass; empty where it is.
        comparisons: What was compared.
        power: What that would catch; None where something failed or nothing was compared.
        stored: Its file's weights; None where they were not looked at.
        operations: What it computes, operation by operation; None where its outputs alone tell.
    """

    status: ParityStatus
    reason: str
    comparisons: tuple[Comparison, ...] = ()
    power: Power | None = None
    stored: StoredWeights | None = None
    operations: Operations | None = None

    @staticmethod
    def not_run(reason: str) -> Parity:
        return Parity(status=NOT_RUN, reason=reason)

    @staticmethod
    def of_functions(each: Mapping[str, Parity]) -> Parity:
        """The proof of the default function, which is the first, with the verdict of all of them."""
        worst = max((parity.status for parity in each.values()), key=list(ParityStatus).index)
        reasons = (f"{name}: {parity.reason}" for name, parity in each.items() if parity.reason)
        return replace(next(iter(each.values())), status=worst, reason="; ".join(reasons))

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values; what is not finite is null, and anomalies are added up over the operations."""
        document = finite(asdict(self))
        for entry, comparison in zip(document["comparisons"], self.comparisons, strict=True):
            entry.update(status=comparison.status, anomalies=comparison.anomaly_totals())
        if self.power is not None:
            document["power"].update(caught=self.power.caught, summary=str(self.power))
        if self.stored is not None:
            document["stored"].update(summary=str(self.stored))
        if self.operations is not None:
            document["operations"].update(summary=str(self.operations))
        return document
