"""Prove an artifact from its file alone, at any later time and on any host.

The artifact's metadata names its model and the weights that it was made from. The weights are opened again, their hash
is checked, and the artifact is compared with the model that they make.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import runtimes
from evim_deploy.artifact.loaded import load_artifact
from evim_deploy.artifact.parity import Parity, ParityStatus
from evim_deploy.artifact.reading import Manifest
from evim_deploy.catalog.terms import ModelKind
from evim_deploy.common import threads
from evim_deploy.common.errors import EvimError, NotRunHere, ParityFailed
from evim_deploy.common.progress import Progress, Silent
from evim_deploy.common.publish import publish, refuse_overwrite, staging
from evim_deploy.proof.origin import open_origin
from runtimes.modes import Mode

if TYPE_CHECKING:
    from evim_deploy.commands.rebuild import Rebuild
    from evim_deploy.proof.operations.report import OpsReport
    from evim_deploy.proof.outputs.checker import ParityChecker


PLOT_SUFFIX = ".layers.png"

_LAYERS = "--layers names the operation."
_CHANGED = "Export it again, or use an unchanged copy; if a fresh export gives the same result, please report it."
_ON_THE_ENGINE = (
    "Mode ane is pessimistic. To be safe keep it off the Neural Engine (computeUnits .cpuAndGPU), "
    "or export it with --precision fp32."
)
_MANIFEST_KEYS = ("format", "precision", "model", "task", "output", "resolution", "batch", "preprocess", "weights")


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The proof of one artifact.

    Attributes:
        artifact: The path of the artifact.
        manifest: The manifest in the artifact.
        parity: The proof; of an artifact with several functions, the summary of their proofs.
        functions: The proof of each function by its name; empty if the artifact has a single function.
        rebuild: The comparison with a fresh build; None if it was not requested.
    """

    artifact: Path
    manifest: Manifest
    parity: Parity
    functions: Mapping[str, Parity] = field(default_factory=dict)
    rebuild: Rebuild | None = None

    def to_dict(self) -> dict[str, object]:
        """The proof as plain JSON values."""
        functions = self.manifest.target.of_functions()
        return {
            **{key: self.manifest.document[key] for key in _MANIFEST_KEYS},
            "parity": _with_anomalies(self.parity),
            "functions": [
                {"name": name, "resolution": functions[name].resolution, "parity": _with_anomalies(parity)}
                for name, parity in self.functions.items()
            ],
            **({"rebuild": self.rebuild.to_dict()} if self.rebuild else {}),
        }

    def problem(self) -> EvimError | None:
        """The error that ends a command; None if the artifact is proven."""
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


def _with_anomalies(parity: Parity) -> dict[str, object]:
    """A proof as plain JSON values, with the float16 anomalies of each operation."""
    document = parity.to_dict()
    for entry, comparison in zip(document["comparisons"], parity.comparisons, strict=True):
        entry["anomalies_by_operation"] = comparison.anomalies
    return document


@dataclass(frozen=True, kw_only=True)
class VerifyResult:
    """The result for one of several artifacts.

    Attributes:
        artifact: The path of the artifact.
        verification: Its proof; None if an error prevented it.
        layers: Its operations compared with the model's; None if that was not requested.
        plot: The file with their plot.
        problem: The fault of the artifact, or the error that prevented its proof.
    """

    artifact: Path
    verification: Verification | None = None
    layers: OpsReport | None = None
    plot: Path | None = None
    problem: EvimError | None = None

    def to_dict(self) -> dict[str, object]:
        """The result as plain JSON values."""
        return {
            "path": str(self.artifact),
            **(self.verification.to_dict() if self.verification else {}),
            **({"layers": self.layers.to_dict(), "plot": str(self.plot)} if self.layers else {}),
            **({"error": self.problem.to_dict()} if self.problem else {}),
        }


@dataclass(kw_only=True)
class Verifier:
    """Verifies artifacts; a reference that several of them share is opened once.

    Attributes:
        weights: The weights, as in ``--weights``; None for those named in each manifest.
        inputs: A folder with images to compare over in addition to the standard ones.
        mode: ``fp32``, ``fp16`` or ``ane``; None for the default mode of the artifact's engine on this host.
        compute_units: Core ML's compute units, by their names in Swift; None for all.
        rebuilds: Whether to build each artifact again and compare the bytes.
        progress: The receiver of progress messages.
    """

    weights: str | None = None
    inputs: Path | None = None
    mode: str | None = None
    compute_units: str | None = None
    rebuilds: bool = False
    progress: Progress = field(default_factory=Silent)
    _checkers: dict[tuple[str, str, int | None], ParityChecker] = field(default_factory=dict)

    def check(self, path: Path, plots: Path | None = None, overwrite: bool = False) -> VerifyResult:
        """Prove one of several artifacts; an error becomes part of the result.

        Args:
            path: The artifact.
            plots: A folder for a plot of its operations, which are then compared too; None to leave both out.
            overwrite: Whether an existing plot may be replaced.
        """
        verification = layers = plot = None
        try:
            if plots is not None:
                refuse_overwrite([plots / (path.name + PLOT_SUFFIX)], overwrite)
            verification = self.verify(path)
            if self.rebuilds:
                verification = replace(verification, rebuild=self.rebuild(verification))
            if plots is not None and verification.parity.status != ParityStatus.NOT_RUN:
                layers = self.layers(verification)
                plot = _publish_plot(layers, verification, plots, overwrite)
            problem = verification.problem() or (_divergence(path, layers) if layers else None)
        except EvimError as error:
            problem = (verification.problem() if verification else None) or error
        return VerifyResult(artifact=path, verification=verification, layers=layers, plot=plot, problem=problem)

    def verify(self, path: Path) -> Verification:
        """Prove one artifact. Its hash and manifests are checked first; a difference is a warning at once.

        Raises:
            BadInput: The artifact, a manifest or the weights are damaged, missing, or do not belong together.
            NotInstalled: A package that the proof needs is missing.
        """
        runtimes.engines_for(path)  # refuses a file without an engine before it is read
        self.progress.step(f"{path.name}: reading")
        artifact = load_artifact(path)
        content_changes, byte_changes = artifact.content_changes(), artifact.byte_changes()
        if changes := [*content_changes, *byte_changes]:
            self.progress.warn(f"{path} has {' and '.join(changes)}.")
        checker = self.checker(artifact.manifest, path)
        from evim_deploy.proof.prove import prove_functions

        parity, functions = prove_functions(
            path, artifact.manifest.target, checker, self.progress, mode=self.mode, compute_units=self.compute_units
        )
        # an operation that cannot be run is itself the change: the status stays not_run, and its reason names it
        changes = byte_changes if parity.status == ParityStatus.NOT_RUN else changes
        if changes:
            reasons = (f"it has {' and '.join(changes)}", parity.reason)
            parity = replace(parity, status=ParityStatus.FAIL, reason="; ".join(filter(None, reasons)))
        return Verification(artifact=path, manifest=artifact.manifest, parity=parity, functions=functions)

    def rebuild(self, verification: Verification) -> Rebuild:
        """Build an artifact again and compare the two files.

        Raises:
            BadInput: The artifact cannot be written here.
            NotInstalled: A package that writes its format is missing.
        """
        from evim_deploy.commands.rebuild import rebuild

        path, manifest = verification.artifact, verification.manifest
        self.progress.step(f"{path.name}: building it again")
        return rebuild(path, manifest, self.checker(manifest, path).reference)

    def layers(self, verification: Verification) -> OpsReport:
        """Compare an artifact's operations with its reference's, on the input with the largest error.

        Raises:
            BadInput: The artifact is damaged, or its values take too much memory.
            NotRunHere: This host has no engine that gives the values of single operations.
        """
        from evim_deploy.proof.operations.compare import match_operations

        path, target = verification.artifact, verification.manifest.target
        self.progress.step(f"{path.name}: comparing its operations with the model's")
        checker = self.checker(verification.manifest, path)
        comparisons = verification.parity.comparisons
        image = checker.input_batch(target, comparisons[-1].measures.worst.input if comparisons else "")
        exact_mode = runtimes.tracing_engine(path).exact_mode
        mode = Mode(self.mode) if self.mode else exact_mode if target.quantisation else None
        with threads.computing(checker.pixels(target)):
            trace = runtimes.trace(path, image, mode=mode)
            return match_operations(checker.reference, target, trace, image)

    def checker(self, manifest: Manifest, artifact: Path) -> ParityChecker:
        """The checker with the reference that an artifact was made from.

        Raises:
            BadInput: The weights are missing, or are not those that the artifact was made from.
        """
        key = manifest.model.name, manifest.weights.sha256, manifest.num_classes
        if key not in self._checkers:
            self.progress.step(f"{artifact.name}: loading the weights {self.weights or manifest.weights.source}")
            reference = open_origin(manifest, artifact, self.weights, self.progress.step)

            from evim_deploy.proof.outputs.checker import ParityChecker  # after the check for torch

            self._checkers[key] = ParityChecker(reference, manifest.model.resolution, self.inputs)
        return self._checkers[key]


def _divergence(artifact: Path, layers: OpsReport) -> EvimError | None:
    """The error for operations that differ although the outputs passed; None if there is none."""
    from evim_deploy.proof.operations.report import OpsStatus

    if layers.status == OpsStatus.FAIL:
        return ParityFailed(f"{artifact} has an operation that differs from the model's.", f"{layers} Export it again.")
    if layers.status != OpsStatus.PASS:
        return NotRunHere(f"Not all operations of {artifact} could be matched with the model's.", str(layers))
    return None


def _publish_plot(layers: OpsReport, verification: Verification, folder: Path, overwrite: bool) -> Path:
    from evim_deploy.proof.operations.plot import plot_layers

    name = verification.artifact.name
    with staging(folder) as staged:
        plot = staged / (name + PLOT_SUFFIX)
        plot_layers(layers, name, verification.manifest.weights.trained, plot)
        (final,) = publish([plot], folder, overwrite)
    return final
