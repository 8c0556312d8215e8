"""The result of comparing an artifact with its reference operation by operation."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from math import inf, isinf
from typing import Any

from evim_deploy.common.json_documents import finite


class OpsStatus(StrEnum):
    """The verdict; ``incomplete`` where a part was not compared."""

    PASS = "pass"
    FAIL = "fail"
    INCOMPLETE = "incomplete"
    NOT_RUN = "not_run"


@dataclass(frozen=True, kw_only=True)
class StageReport:
    """A stage of the model, compared with the reference as the paper defines it.

    Attributes:
        name: Its path in the model, or the name of the output.
        place: Its place in the model, for people.
        error: The artifact's largest absolute error, in units of the largest magnitude; None if the file does not have
            the value.
        rewriting: The same error of the rewritten graph in float64, which rounding does not explain.
        is_exact: Whether float64 rounding explains ``rewriting``.
    """

    name: str
    place: str
    error: float | None
    rewriting: float
    is_exact: bool


@dataclass(frozen=True, kw_only=True)
class OpReport:
    """One operation of the rewritten graph, compared with the artifact's.

    If the file fuses several operations, it is the one with weights. Errors are in units of the value's largest
    magnitude.

    Attributes:
        name: Its name in the graph, a path in the model's own naming.
        op: Its operation in :mod:`evim_deploy.graph.ir`.
        place: Its place in the model, for people.
        type: Type of the file's operation that computes the value.
        fused: Names of the other operations that the file fuses with it.
        cumulative: Largest absolute error against the reference on the same image.
        local: Error of the operation by itself, on the artifact's own inputs, at the element that exceeds its bound
            most.
        bound: Bound of the rounding error there; infinite if its inputs are not finite.
        cause: The likely cause of a divergence; empty if it does not diverge.
        snr_db: Signal-to-noise ratio of the value against the floating-point network, dB; infinite if they are equal.
        own_snr_db: Signal-to-noise ratio of the layer by itself, on the artifact's own inputs, dB.
        cost_db: Signal-to-noise ratio of the outputs if this layer alone is noisy, dB; None if the artifact is not
            quantised.
    """

    name: str
    op: str
    place: str
    type: str
    fused: tuple[str, ...]
    cumulative: float
    local: float
    bound: float
    cause: str
    snr_db: float = inf
    own_snr_db: float = inf
    cost_db: float | None = None

    @property
    def diverges(self) -> bool:
        return bool(self.cause)

    @property
    def excess(self) -> float:
        """The local error in units of its bound."""
        return self.local / self.bound if self.bound else float(self.local > 0)

    def __str__(self) -> str:
        fused = "".join(f", with {name}" for name in self.fused)
        error = f"error {self.local:.1e}, bound {self.bound:.1e}"
        return f"{self.name} ({self.op}, {self.type} in the file{fused}), {self.place}: {error}; {self.cause}"


@dataclass(frozen=True, kw_only=True)
class OpsReport:
    """All operations of an artifact, compared with its reference's.

    Attributes:
        stages: The model's stages in order.
        ops: The operations in the graph's order.
        unmatched: Names of the graph's operations without a counterpart in the file.
        file_operations: Number of operations in the file.
    """

    stages: tuple[StageReport, ...]
    ops: tuple[OpReport, ...]
    unmatched: tuple[str, ...]
    file_operations: int

    @property
    def first(self) -> OpReport | None:
        """The first operation that diverges."""
        return next((op for op in self.ops if op.diverges), None)

    @property
    def costliest(self) -> OpReport | None:
        """The layer of a quantised artifact whose own noise costs the outputs most."""
        known = [op for op in self.ops if op.cost_db is not None]
        return min(known, key=lambda op: op.cost_db or inf, default=None)

    @property
    def inconclusive(self) -> list[str]:
        """Names of operations whose inputs are not finite."""
        return [op.name for op in self.ops if isinf(op.bound)]

    @property
    def first_wrong_rewriting(self) -> StageReport | None:
        """The first stage at which the exported graph differs from the model."""
        return next((stage for stage in self.stages if not stage.is_exact), None)

    @property
    def status(self) -> OpsStatus:
        """The verdict over all operations and stages."""
        if not self.ops:
            return OpsStatus.NOT_RUN
        if self.first is not None or self.first_wrong_rewriting is not None:
            return OpsStatus.FAIL
        return OpsStatus.INCOMPLETE if self.unmatched or self.inconclusive else OpsStatus.PASS

    def __str__(self) -> str:
        """The result in a few sentences."""
        if not self.ops:
            return (
                f"Nothing was compared: none of the file's {self.file_operations} operations has a name of the model's."
            )
        return " ".join((*self._divergences(), *self._loss(), *self._gaps()))

    def _divergences(self) -> list[str]:
        sentences = []
        if (stage := self.first_wrong_rewriting) is not None:
            sentences.append(
                f"The rewritten graph differs from the model from {stage.name} on: by {stage.rewriting:.1e} in float64."
            )
        if self.first is not None:
            return [*sentences, f"First divergence: {self.first}."]
        worst = max(self.ops, key=lambda op: op.excess)
        return [
            *sentences,
            f"No operation diverges: {len(self.ops)} compared, and the largest local error, of {worst.name}, "
            f"is {worst.excess:.0%} of its bound.",
        ]

    def _loss(self) -> list[str]:
        op = self.costliest
        if op is None or op.cost_db is None:
            return []
        return [
            f"Most of the loss comes from {op.name}, {op.place}: its own noise alone leaves {op.cost_db:.0f} dB of "
            f"signal to noise at the outputs; all layers together leave {self.ops[-1].snr_db:.0f} dB."
        ]

    def _gaps(self) -> list[str]:
        return [
            f"{title}: {len(names)} operations of the model ({', '.join(names[:3])}{' ...' if len(names) > 3 else ''})."
            for title, names in (
                ("Missing in the file", self.unmatched),
                ("Inconclusive, because their inputs are not finite", self.inconclusive),
            )
            if names
        ]

    def to_dict(self) -> dict[str, Any]:
        """The result as plain JSON values; infinity is null."""
        return {
            "status": self.status,
            "summary": str(self),
            "first": self.first.name if self.first else None,
            "blamed": self.costliest.name if self.costliest else None,
            "operations": self.file_operations,
            "unmatched": list(self.unmatched),
            "unjudged": self.inconclusive,
            "stages": [finite(asdict(stage)) for stage in self.stages],
            "layers": [finite(asdict(op)) for op in self.ops],
        }
