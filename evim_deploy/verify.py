"""Prove an artifact from its file alone, days later and elsewhere.

The artifact's metadata says which model it is and which weights it was made from; the weights are
found again, their hash is checked, and the artifact is compared with the model that they make.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import runtimes
from evim_deploy import contents, threads
from evim_deploy.artifact import Target
from evim_deploy.errors import BadInput, EvimError, NotRunHere, ParityFailed
from evim_deploy.manifest import Manifest, changes, check_beside, embedded_manifest
from evim_deploy.origin import open_origin
from evim_deploy.parity.result import FAIL, NOT_RUN, Operations, Parity
from evim_deploy.progress import Progress, Silent
from evim_deploy.publish import publish, refuse_overwrite, sha256, staging
from runtimes.modes import Mode

if TYPE_CHECKING:
    from evim_deploy.layers import LayerReport
    from evim_deploy.parity.proof import Prover, Run
    from evim_deploy.rebuild import Rebuild


PLOT_SUFFIX = ".layers.png"


@dataclass(frozen=True)
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

    def document(self) -> dict[str, Any]:
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
            **({"rebuild": self.rebuild.document()} if self.rebuild else {}),
        }

    def problem(self) -> EvimError | None:
        """What it comes to, as the error that ends a command; None where nothing is wrong."""
        reason = self.parity.reason.removesuffix(".")
        if self.parity.status == FAIL:
            cause = f"{self.artifact} does not equal the model that it was made from: {reason}."
            if self._fails_on_the_engine_alone:
                return ParityFailed(cause, _ON_THE_ENGINE)
            return ParityFailed(cause, _CHANGED if self.manifest.model.form != "graph" else f"{_LAYERS} {_CHANGED}")
        if self.rebuild and (problem := self.rebuild.problem(self.artifact)):
            return problem
        if self.parity.status == NOT_RUN:
            return NotRunHere(f"{self.artifact} cannot be verified: {reason}.", "Verify it where its engine runs.")
        return None

    @property
    def _fails_on_the_engine_alone(self) -> bool:
        proofs = self.functions.values() or [self.parity]
        return {each.mode for proof in proofs for each in proof.comparisons if each.status == FAIL} == {"ane"}


def _with_anomalies(parity: Parity) -> dict[str, Any]:
    """A proof as plain JSON values, with what float16 could not hold, operation by operation."""
    document = parity.document()
    for entry, comparison in zip(document["comparisons"], parity.comparisons, strict=True):
        entry["anomalies_by_operation"] = comparison.anomalies
    return document


_LAYERS = "--layers names the operation."
_CHANGED = "Export it again, or use an unchanged copy; where a fresh export says the same, please report it."
_ON_THE_ENGINE = (
    "Mode ane is pessimistic. To be safe keep it off the Neural Engine (computeUnits .cpuAndGPU), "
    "or export it with --precision fp32."
)


@dataclass(frozen=True)
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
    layers: LayerReport | None = None
    plot: Path | None = None
    problem: EvimError | None = None

    def document(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "path": str(self.artifact),
            **(self.verdict.document() if self.verdict else {}),
            **({"layers": self.layers.document(), "plot": str(self.plot)} if self.layers else {}),
            **({"error": self.problem.document()} if self.problem else {}),
        }


@dataclass
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
    _provers: dict[tuple[str, str, int | None], Prover] = field(default_factory=dict)

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
            if plots is not None and verdict.parity.status != NOT_RUN:
                report = self.layers(verdict)
                plot = _publish_plot(report, verdict, plots, overwrite)
        except EvimError as error:
            return Result(
                artifact, verdict, report, plot, verdict.problem() if verdict and verdict.problem() else error
            )
        problem = verdict.problem() or (_divergence(artifact, report) if report else None)
        return Result(artifact, verdict, report, plot, problem)

    def verify(self, artifact: Path) -> Verdict:
        """Prove one artifact.

        Raises:
            BadInput: The artifact, its manifest or its weights are damaged, missing, or not the right ones.
            NotInstalled: A package that the proof needs is missing.
        """
        runtimes.engines_for(artifact)  # what no engine runs is refused before it is read
        self.progress.step(f"{artifact.name}: reading")
        found = contents.read(artifact)
        manifest = embedded_manifest(found.metadata, artifact)
        if manifest.target.format != found.format:
            raise BadInput(f"{artifact} says that it is {manifest.target.format}, and is not.", "Export it again.")
        digest = check_beside(manifest, artifact)
        prover = self.prover(manifest, artifact)
        parity, functions = prove_functions(
            artifact, manifest.target, prover, self.progress, self.mode, self.compute_units
        )
        # what cannot be run stays not run: the operation that it names is why
        changed = [] if parity.status == NOT_RUN else list(changes(manifest, found))
        if digest is not None and digest != sha256(artifact):
            changed.append(f"other bytes than were exported: their sha256 is not {digest[:12]}")
        if changed:
            reasons = (f"it has {' and '.join(changed)}", parity.reason)
            parity = replace(parity, status=FAIL, reason="; ".join(filter(None, reasons)))
        return Verdict(artifact, manifest, parity, functions)

    def rebuild(self, verdict: Verdict) -> Rebuild:
        """Make an artifact again and compare the two.

        Raises:
            BadInput: It cannot be written here.
            NotInstalled: A package that writes its format is missing.
        """
        from evim_deploy.rebuild import rebuild

        self.progress.step(f"{verdict.artifact.name}: making it again")
        return rebuild(verdict.artifact, verdict.manifest, self.prover(verdict.manifest, verdict.artifact).reference)

    def layers(self, verdict: Verdict) -> LayerReport:
        """Line up an artifact with its reference, operation by operation, on the input that is worst.

        Raises:
            BadInput: The artifact is damaged, or its values take too much memory.
            NotRunHere: No engine of this host tells what is computed inside.
        """
        artifact, target = verdict.artifact, verdict.manifest.target
        self.progress.step(f"{artifact.name}: lining up its operations with the model's")
        prover = self.prover(verdict.manifest, artifact)
        worst = verdict.parity.comparisons[-1].measures.worst.input if verdict.parity.comparisons else ""
        image = prover.images(target, worst)
        exact_mode = runtimes.tracing_engine(artifact).exact_mode
        mode = Mode(self.mode) if self.mode else exact_mode if target.quantisation else None
        with threads.computing(prover.pixels(target)):
            found = runtimes.trace(artifact, image, mode=mode)
            return prover.reference.line_up(target, found, image)

    def prover(self, manifest: Manifest, artifact: Path) -> Prover:
        """Who compares with the reference that an artifact was made from.

        Raises:
            BadInput: Its weights cannot be had, or are not those that it was made from.
        """
        key = manifest.model.name, manifest.weights.sha256, manifest.num_classes
        if key not in self._provers:
            self.progress.step(f"{artifact.name}: loading the weights {self.weights or manifest.weights.source}")
            reference = open_origin(manifest, artifact, self.weights, self.progress.step)

            from evim_deploy.parity.proof import Prover  # after what tells that torch is missing

            self._provers[key] = Prover(reference, manifest.model.resolution, self.inputs)
        return self._provers[key]


def _divergence(artifact: Path, report: LayerReport) -> EvimError | None:
    """What lining up an artifact's operations comes to, where its outputs passed."""
    from evim_deploy.layers import report as statuses

    if report.status == statuses.FAIL:
        return ParityFailed(f"{artifact} has an operation that is not the model's.", f"{report} Export it again.")
    if report.status != statuses.PASS:
        return NotRunHere(f"Not all operations of {artifact} could be lined up with the model's.", str(report))
    return None


def _publish_plot(report: LayerReport, verdict: Verdict, folder: Path, overwrite: bool) -> Path:
    from evim_deploy.plot import plot_layers

    weights = verdict.manifest.weights
    with staging(folder) as staged:
        picture = staged / (verdict.artifact.name + PLOT_SUFFIX)
        plot_layers(report, verdict.artifact.name, weights.trained, picture)
        (final,) = publish([picture], folder, overwrite)
    return final


def prove_functions(
    artifact: Path,
    target: Target,
    prover: Prover,
    progress: Progress,
    mode: str | None = None,
    compute_units: str | None = None,
) -> tuple[Parity, Mapping[str, Parity]]:
    """Prove an artifact of a known model, and by their names each of its functions where it has several.

    Raises:
        BadInput: The artifact is damaged.
    """
    functions = {
        name: prove(artifact, function, prover, progress, mode, compute_units, name)
        for name, function in target.of_functions().items()
    }
    if functions:
        return Parity.of_functions(functions), functions
    return prove(artifact, target, prover, progress, mode, compute_units), {}


def prove(
    artifact: Path,
    target: Target,
    prover: Prover,
    progress: Progress,
    mode: str | None = None,
    compute_units: str | None = None,
    function: str | None = None,
) -> Parity:
    """Prove an artifact of a known model, or one of its functions.

    What this host cannot run is ``not_run``, with the reason.

    What it computes over some inputs does not show a weight that none of them needs, so the weights that its
    file stores are compared too. Of one whose values are rounded on the way outputs tell little, so each of its
    operations is.

    Raises:
        BadInput: The artifact is damaged.
    """
    try:
        runs = _runs(artifact, target, mode, compute_units, function)
        engines = ", ".join(dict.fromkeys(f"{run.engine} {run.mode}" for run in runs))
        progress.step(f"{target}: comparing with {prover.reference.engine} ({engines})")
        with threads.computing(prover.pixels(target)):
            parity = prover.prove(target, runs)
            stored = prover.reference.compare_stored(target, runtimes.read_operations(artifact, function))
            operations = _operations(artifact, target, prover, progress) if is_on_grids(target) else None
    except NotRunHere as error:
        return Parity.not_run(f"not run on this host: {error.cause} {error.remedy}")
    except ParityFailed as error:
        return Parity(FAIL, error.cause)
    parity = replace(parity, stored=stored, operations=operations)
    wrong = [_some("it stores other weights than the model's", stored.changed)] if stored.changed else []
    if operations is not None and operations.diverging:
        wrong.append(_some("it computes other values than the model's", operations.diverging))
    if not wrong:
        return parity
    return replace(parity, status=FAIL, reason="; ".join(filter(None, (parity.reason, *wrong))))


def _some(what: str, names: Sequence[str]) -> str:
    rest = f"; and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
    return f"{what}: {'; '.join(names[:_TOLD])}{rest}"


_TOLD = 3
"""Of changed weights, how many a message names."""


def is_on_grids(target: Target) -> bool:
    """Whether an artifact's values are rounded to grids that were found when it was made."""
    return bool(target.quantisation and target.quantisation.grids)


def _operations(artifact: Path, target: Target, prover: Prover, progress: Progress) -> Operations:
    """Each operation of an artifact on the values that it is given there."""
    progress.step(f"{target}: comparing its operations one by one")
    engine = runtimes.exact_engine(artifact)
    name, image = prover.first(target)
    report = prover.reference.line_up(target, runtimes.trace(artifact, image, engine, engine.exact_mode), image)
    return Operations(
        name,
        len(report.layers) + len(report.unmatched),
        len(report.layers),
        tuple(str(layer) for layer in report.layers if layer.diverges),
        max((layer.excess for layer in report.layers), default=0.0),
    )


def _runs(
    artifact: Path, target: Target, mode: str | None, compute_units: str | None, function: str | None
) -> Sequence[Run]:
    """How an artifact is run: its program in float32, and itself as it computes.

    The program of a float32 artifact is run as it stands: a float16 that is hidden in it would be widened otherwise.

    Raises:
        NotRunHere: No engine on this host runs it, or none in the mode that was asked for.
    """
    from evim_deploy.parity.proof import PRECISION, PROGRAM, Run

    def run(subject: str, engine: runtimes.Engine, mode: Mode | None, name: str = "") -> Run:
        mode = mode or engine.default_mode
        return Run(
            subject, engine.name, name or mode, partial(runtimes.open_artifact, artifact, engine, mode, function)
        )

    engines = runtimes.engines_for(artifact)
    program = _with_mode(engines, Mode.FP32, artifact)
    chosen = compute_units or mode
    wanted = Mode(chosen) if chosen else None
    engine = _with_mode(engines, wanted, artifact) if wanted else runtimes.first_available(engines)
    if is_on_grids(target):
        return [run(PRECISION, engine, wanted)]
    found = [run(PROGRAM, program, None if target.precision == "fp32" else program.exact_mode, Mode.FP32)]
    if wanted != Mode.FP32 and (target.precision != "fp32" or engine is not program):
        found.append(run(PRECISION, engine, wanted))
    return found


def _with_mode(engines: tuple[runtimes.Engine, ...], mode: Mode, artifact: Path) -> runtimes.Engine:
    engine = runtimes.engine_with_mode(engines, mode)
    if engine is None:
        raise NotRunHere(
            f"{artifact.name} runs in {engines[0].name}, which does not compute in mode {mode}, "
            f"only in {' and '.join(engines[0].modes)}.",
            "Leave out --mode and --compute-units.",
        )
    runtimes.require(engine, artifact.name)
    return engine
