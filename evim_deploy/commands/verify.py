"""Prove an artifact from its file alone, days later and elsewhere.

The artifact's metadata says which model it is and which weights it was made from; the weights are
found again, their hash is checked, and the artifact is compared with the model that they make.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import runtimes
from evim_deploy import formats
from evim_deploy.artifact.changes import changes
from evim_deploy.artifact.parity import Parity, ParityStatus
from evim_deploy.artifact.reading import Manifest, check_beside, embedded_manifest
from evim_deploy.catalog.terms import ModelKind
from evim_deploy.common import threads
from evim_deploy.common.errors import BadInput, EvimError, NotRunHere, ParityFailed
from evim_deploy.common.progress import Progress, Silent
from evim_deploy.common.publish import publish, refuse_overwrite, sha256, staging
from evim_deploy.proof.origin import open_origin
from runtimes.modes import Mode

if TYPE_CHECKING:
    from evim_deploy.commands.rebuild import Rebuild
    from evim_deploy.proof.operations.report import OpsReport
    from evim_deploy.proof.outputs.checker import ParityChecker


PLOT_SUFFIX = ".layers.png"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is known of an artifact after its proof.

    Attributes:
        artifact: Which.
        manifest: The one inside of it.
        parity: Its proof.
        functions: That of each function where there are several.
        rebuild: The artifact beside the one that was made again, where that was asked for.
    """

    artifact: Path
    manifest: Manifest
    parity: Parity
    functions: Mapping[str, Parity] = field(default_factory=dict)
    rebuild: Rebuild | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        told = ("format", "precision", "model", "task", "output", "resolution", "batch", "preprocess", "weights")
        functions = self.manifest.target.of_functions()
        return {
            **{key: self.manifest.document[key] for key in told},
            "parity": _with_anomalies(self.parity),
            "functions": [
                {"name": name, "resolution": functions[name].resolution, "parity": _with_anomalies(parity)}
                for name, parity in self.functions.items()
            ],
            **({"rebuild": self.rebuild.to_dict()} if self.rebuild else {}),
        }

    def problem(self) -> EvimError | None:
        """What it comes to, as the error that ends a command; None where nothing is wrong."""
        reason = self.parity.reason.removesuffix(".")
        if self.parity.status == ParityStatus.FAIL:
            cause = f"{self.artifact} does not equal the model that it was made from: {reason}."
            if self._fails_on_the_engine_alone:
                return ParityFailed(cause, _ON_THE_ENGINE)
            has_layers = self.manifest.model.kind == ModelKind.GRAPH
            return ParityFailed(cause, f"{_LAYERS} {_CHANGED}" if has_layers else _CHANGED)
        if self.rebuild and (problem := self.rebuild.problem(self.artifact)):
            return problem
        if self.parity.status == ParityStatus.NOT_RUN:
            return NotRunHere(f"{self.artifact} cannot be verified: {reason}.", "Verify it where its engine runs.")
        return None

    @property
    def _fails_on_the_engine_alone(self) -> bool:
        proofs = self.functions.values() or [self.parity]
        return {each.mode for proof in proofs for each in proof.comparisons if each.status == ParityStatus.FAIL} == {
            "ane"
        }


def _with_anomalies(parity: Parity) -> dict[str, Any]:
    """A proof as plain JSON values, with what float16 could not hold, operation by operation."""
    document = parity.to_dict()
    for entry, comparison in zip(document["comparisons"], parity.comparisons, strict=True):
        entry["anomalies_by_operation"] = comparison.anomalies
    return document


_LAYERS = "--layers names the operation."
_CHANGED = "Export it again, or use an unchanged copy; where a fresh export says the same, please report it."
_ON_THE_ENGINE = (
    "Mode ane is pessimistic. To be safe keep it off the Neural Engine (computeUnits .cpuAndGPU), "
    "or export it with --precision fp32."
)


@dataclass(frozen=True, kw_only=True)
class Result:
    """How it went with one artifact of several.

    Attributes:
        artifact: Which.
        verdict: None where it could not come to one.
        layers: Its operations beside the model's, where that was asked for.
        plot: The file with their picture.
        problem: What is wrong with the artifact, or was in the way.
    """

    artifact: Path
    verdict: Verdict | None = None
    layers: OpsReport | None = None
    plot: Path | None = None
    problem: EvimError | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "path": str(self.artifact),
            **(self.verdict.to_dict() if self.verdict else {}),
            **({"layers": self.layers.to_dict(), "plot": str(self.plot)} if self.layers else {}),
            **({"error": self.problem.to_dict()} if self.problem else {}),
        }


@dataclass(kw_only=True)
class Verifier:
    """Verifies artifacts; what several have in common is computed once.

    Attributes:
        weights: As ``--weights`` takes it; None for what each artifact was made from.
        inputs: Pictures to compare over besides the standard ones.
        mode: ``fp32``, ``fp16`` or ``ane``; None as the artifact's engine computes on this host.
        compute_units: Core ML's, by their names in Swift; None for all.
        rebuilds: Whether to make each artifact again and compare the bytes.
        progress: Who is told how the work goes on.
    """

    weights: str | None = None
    inputs: Path | None = None
    mode: str | None = None
    compute_units: str | None = None
    rebuilds: bool = False
    progress: Progress = field(default_factory=Silent)
    _provers: dict[tuple[str, str, int | None], ParityChecker] = field(default_factory=dict)

    def check(self, artifact: Path, plots: Path | None = None, overwrite: bool = False) -> Result:
        """Prove one artifact of several: whatever is wrong with it is told in the result.

        Args:
            artifact: Which.
            plots: Line up its operations too, and put their picture into this folder.
            overwrite: Whether a picture that stands there may be replaced.
        """
        verdict = report = plot = None
        try:
            if plots is not None:
                refuse_overwrite([plots / (artifact.name + PLOT_SUFFIX)], overwrite)
            verdict = self.verify(artifact)
            if self.rebuilds:
                verdict = replace(verdict, rebuild=self.rebuild(verdict))
            if plots is not None and verdict.parity.status != ParityStatus.NOT_RUN:
                report = self.layers(verdict)
                plot = _publish_plot(report, verdict, plots, overwrite)
        except EvimError as error:
            return Result(
                artifact=artifact,
                verdict=verdict,
                layers=report,
                plot=plot,
                problem=verdict.problem() if verdict and verdict.problem() else error,
            )
        problem = verdict.problem() or (_divergence(artifact, report) if report else None)
        return Result(artifact=artifact, verdict=verdict, layers=report, plot=plot, problem=problem)

    def verify(self, artifact: Path) -> Verdict:
        """Prove one artifact.

        Raises:
            BadInput: The artifact, its manifest or its weights are damaged, missing, or not the right ones.
            NotInstalled: A package that the proof needs is missing.
        """
        runtimes.engines_for(artifact)  # what no engine runs is refused before it is read
        self.progress.step(f"{artifact.name}: reading")
        found = formats.read(artifact)
        manifest = embedded_manifest(found.metadata, artifact)
        if manifest.target.format != found.format:
            raise BadInput(f"{artifact} says that it is {manifest.target.format}, and is not.", "Export it again.")
        digest = check_beside(manifest, artifact)
        prover = self.prover(manifest, artifact)
        from evim_deploy.proof.prove import prove_functions

        parity, functions = prove_functions(
            artifact,
            manifest.target,
            prover,
            self.progress,
            mode=self.mode,
            compute_units=self.compute_units,
        )
        # what cannot be run stays not run: the operation that it names is why
        changed = [] if parity.status == ParityStatus.NOT_RUN else list(changes(manifest, found))
        if digest is not None and digest != sha256(artifact):
            changed.append(f"other bytes than were exported: their sha256 is not {digest[:12]}")
        if changed:
            reasons = (f"it has {' and '.join(changed)}", parity.reason)
            parity = replace(parity, status=ParityStatus.FAIL, reason="; ".join(filter(None, reasons)))
        return Verdict(artifact=artifact, manifest=manifest, parity=parity, functions=functions)

    def rebuild(self, verdict: Verdict) -> Rebuild:
        """Make an artifact again and compare the two.

        Raises:
            BadInput: It cannot be written here.
            NotInstalled: A package that writes its format is missing.
        """
        from evim_deploy.commands.rebuild import rebuild

        self.progress.step(f"{verdict.artifact.name}: making it again")
        return rebuild(verdict.artifact, verdict.manifest, self.prover(verdict.manifest, verdict.artifact).reference)

    def layers(self, verdict: Verdict) -> OpsReport:
        """Line up an artifact with its reference, operation by operation, on the input that is worst.

        Raises:
            BadInput: The artifact is damaged, or its values take too much memory.
            NotRunHere: No engine of this host tells what is computed inside.
        """
        from evim_deploy.proof.operations.compare import match_operations

        artifact, target = verdict.artifact, verdict.manifest.target
        self.progress.step(f"{artifact.name}: lining up its operations with the model's")
        prover = self.prover(verdict.manifest, artifact)
        worst = verdict.parity.comparisons[-1].measures.worst.input if verdict.parity.comparisons else ""
        image = prover.input_batch(target, worst)
        exact_mode = runtimes.tracing_engine(artifact).exact_mode
        mode = Mode(self.mode) if self.mode else exact_mode if target.quantisation else None
        with threads.computing(prover.pixels(target)):
            found = runtimes.trace(artifact, image, mode=mode)
            return match_operations(prover.reference, target, found, image)

    def prover(self, manifest: Manifest, artifact: Path) -> ParityChecker:
        """Who compares with the reference that an artifact was made from.

        Raises:
            BadInput: Its weights cannot be had, or are not those that it was made from.
        """
        key = manifest.model.name, manifest.weights.sha256, manifest.num_classes
        if key not in self._provers:
            self.progress.step(f"{artifact.name}: loading the weights {self.weights or manifest.weights.source}")
            reference = open_origin(manifest, artifact, self.weights, self.progress.step)

            from evim_deploy.proof.outputs.checker import ParityChecker  # after what tells that torch is missing

            self._provers[key] = ParityChecker(reference, manifest.model.resolution, self.inputs)
        return self._provers[key]


def _divergence(artifact: Path, report: OpsReport) -> EvimError | None:
    """What lining up an artifact's operations comes to, where its outputs passed."""
    from evim_deploy.proof.operations.report import OpsStatus

    if report.status == OpsStatus.FAIL:
        return ParityFailed(f"{artifact} has an operation that is not the model's.", f"{report} Export it again.")
    if report.status != OpsStatus.PASS:
        return NotRunHere(f"Not all operations of {artifact} could be matched with the model's.", str(report))
    return None


def _publish_plot(report: OpsReport, verdict: Verdict, folder: Path, overwrite: bool) -> Path:
    from evim_deploy.proof.operations.plot import plot_layers

    weights = verdict.manifest.weights
    with staging(folder) as staged:
        picture = staged / (verdict.artifact.name + PLOT_SUFFIX)
        plot_layers(report, verdict.artifact.name, weights.trained, picture)
        (final,) = publish([picture], folder, overwrite)
    return final
