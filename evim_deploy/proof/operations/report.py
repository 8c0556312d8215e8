"""What is found when an artifact is lined up with its reference."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import inf, isinf
from typing import Any

from evim_deploy.common.json_documents import finite

PASS, FAIL, INCOMPLETE, NOT_RUN = "pass", "fail", "incomplete", "not_run"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage of the model against the reference as the paper defines it.

    Attributes:
        name: Its path in the model, or the name of the output.
        place: Where that is, for people.
        error: Largest absolute error of the artifact there, of the value's largest magnitude; None where
            the file has no such value.
        rewriting: The same of the rewritten graph in float64, which no rounding explains.
        is_exact: Whether ``rewriting`` is what float64 explains.
    """

    name: str
    place: str
    error: float | None
    rewriting: float
    is_exact: bool


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One operation of the rewritten graph, and what the artifact makes of it.

    Of operations that the file computes in one, it is the one that has weights.

    Errors are in units of the largest magnitude of the value.

    Attributes:
        name: In the graph, a path in the model's own naming.
        op: As :mod:`evim_deploy.graph.ir` calls it.
        place: Where it stands in the model, for people.
        type: Of the operation in the file that gives the value.
        fused: Names of the others that the file computes in one with it.
        cumulative: Largest absolute error against the reference on the same image.
        local: Error of the operation by itself, on the artifact's own inputs, at the element where
            it exceeds most what is explained.
        bound: What the arithmetic explains there; infinite where its inputs are not finite, which explains anything.
        cause: Of a divergence, the likely one; empty where nothing diverges.
        snr_db: Signal to noise of the value against the network in floating point, dB; infinite where they are equal.
        own_snr_db: The same of the layer by itself, on the artifact's own inputs: what quantising it adds.
        cost_db: Signal to noise of the outputs where this layer's own noise alone is carried to them; None where the
            artifact is not quantised.
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
        """The local error, in units of what is explained."""
        return self.local / self.bound if self.bound else float(self.local > 0)

    def __str__(self) -> str:
        told = "".join(f", with {name}" for name in self.fused)
        measured = f"{self.local:.1e} where {self.bound:.1e} is explained"
        return f"{self.name} ({self.op}, {self.type} in the file{told}), {self.place}: {measured}; {self.cause}"


@dataclass(frozen=True)
class LayerReport:
    """An artifact beside its reference.

    Attributes:
        stages: In their order.
        layers: In the graph's order.
        unmatched: Names of operations of the graph that nothing in the file corresponds to.
        operations: How many operations the file has.
    """

    stages: tuple[Stage, ...]
    layers: tuple[Layer, ...]
    unmatched: tuple[str, ...]
    operations: int

    @property
    def first(self) -> Layer | None:
        """The first operation that diverges."""
        return next((layer for layer in self.layers if layer.diverges), None)

    @property
    def blamed(self) -> Layer | None:
        """Of a quantised artifact the layer whose own noise costs its outputs most."""
        known = [layer for layer in self.layers if layer.cost_db is not None]
        return min(known, key=lambda layer: layer.cost_db or inf, default=None)

    @property
    def unjudged(self) -> list[str]:
        """Names of operations whose inputs are not finite."""
        return [layer.name for layer in self.layers if isinf(layer.bound)]

    @property
    def first_wrong_rewriting(self) -> Stage | None:
        """The first stage at which the graph that was exported is not the model."""
        return next((stage for stage in self.stages if not stage.is_exact), None)

    @property
    def status(self) -> str:
        """``pass``; ``fail`` where something diverges; ``incomplete`` where a part was not compared; ``not_run``."""
        if not self.layers:
            return NOT_RUN
        if self.first is not None or self.first_wrong_rewriting is not None:
            return FAIL
        return INCOMPLETE if self.unmatched or self.unjudged else PASS

    def __str__(self) -> str:
        """What was found, in a few sentences."""
        if not self.layers:
            return f"None of the file's {self.operations} operations bears a name of the model's: nothing was compared."
        told = []
        if self.first_wrong_rewriting is not None:
            stage = self.first_wrong_rewriting
            told.append(f"The rewritten graph is not the model from {stage.name} on: {stage.rewriting:.1e} in float64.")
        if self.first is not None:
            told.append(f"First divergence: {self.first}.")
        else:
            worst = max(self.layers, key=lambda layer: layer.excess)
            told.append(
                f"No operation diverges: {len(self.layers)} compared, and the largest local error, of {worst.name}, "
                f"is {worst.excess:.0%} of what is explained."
            )
        blamed = self.blamed
        if blamed is not None and blamed.cost_db is not None:
            told.append(
                f"Most of the loss comes from {blamed.name}, {blamed.place}: its own noise alone leaves "
                f"{blamed.cost_db:.0f} dB of signal to noise at the outputs; all together "
                f"leave {self.layers[-1].snr_db:.0f} dB."
            )
        for what, names in (
            ("Not found in the file", self.unmatched),
            ("Not judged, on no finite values", self.unjudged),
        ):
            if names:
                first = ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
                told.append(f"{what}: {len(names)} operations of the model ({first}).")
        return " ".join(told)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values; what is infinite is null."""
        first = self.first
        return {
            "status": self.status,
            "summary": str(self),
            "first": first.name if first else None,
            "blamed": self.blamed.name if self.blamed else None,
            "operations": self.operations,
            "unmatched": list(self.unmatched),
            "unjudged": self.unjudged,
            "stages": [finite(asdict(stage)) for stage in self.stages],
            "layers": [finite(asdict(layer)) for layer in self.layers],
        }
