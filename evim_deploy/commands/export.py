"""From a model's name to artifacts on disk: the one road that every format takes.

weights -> reference model -> graph -> rewrites -> exporter -> engine, compared with the reference -> files
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import exporters
import runtimes
from evim_deploy.artifact.info import ArtifactInfo
from evim_deploy.artifact.manifest import ManifestDocument
from evim_deploy.artifact.metadata import MANIFEST_SUFFIX
from evim_deploy.artifact.parity import Parity, ParityStatus
from evim_deploy.artifact.target import Target
from evim_deploy.catalog.labels import class_labels
from evim_deploy.catalog.model import Model
from evim_deploy.catalog.terms import Activation, Output, Task
from evim_deploy.commands.build import annotate, build, engine_of, file_name
from evim_deploy.commands.request import Request, plan
from evim_deploy.common import threads
from evim_deploy.common.errors import BadInput, Damaged, ParityFailed
from evim_deploy.common.progress import Progress, Silent
from evim_deploy.common.publish import publish, refuse_overwrite, sha256, size_bytes, staging
from evim_deploy.networks.open import open_reference
from evim_deploy.proof.golden import SUFFIX as GOLDEN_SUFFIX
from evim_deploy.proof.golden import write_golden

if TYPE_CHECKING:
    from evim_deploy.graph.rewrites.rewrite import RewriteResult
    from evim_deploy.networks.protocols import Reference
    from evim_deploy.proof.outputs.checker import ParityChecker


def export(request: Request, progress: Progress | None = None) -> list[dict[str, Any]]:
    """Make, check and publish the artifacts of a request; without a progress, silently.

    Returns:
        For each artifact what its manifest says, its ``path`` and ``size_bytes``, and ``golden``, the path of its
        golden file, if one was asked for.

    Raises:
        BadInput: An option, the checkpoint, the labels or the output directory will not do.
        NotInstalled: A format needs a package that is missing.
        ParityFailed: An artifact differs from its model; it is not kept.
        NotRunHere: A check was insisted on that this host cannot make.
    """
    progress = progress or Silent()
    targets = plan(request)
    _check_host(request, targets)

    progress.step("Loading weights")
    reference = open_reference(request.model, request.weights, request.num_classes, progress.step)
    weights = reference.weights

    from evim_deploy.proof.outputs.checker import ParityChecker  # after what tells that torch is missing

    if not weights.trained:
        progress.warn(" ".join(filter(None, (f"UNTRAINED weights ({weights.source}).", weights.note))))
    elif weights.note:
        progress.step(weights.note)
    if request.task == Task.CLASSIFY:
        labels = class_labels(reference.num_classes, request.labels, weights.source, request.model.labels)
        fitted = [_fitted(target, request, reference, progress) for target in targets]
        targets = [replace(target, labels=labels) for target in fitted]
    prover = ParityChecker(reference, request.model.resolution)
    source = _Source(
        name=request.model,
        reference=reference,
        prover=prover,
        verify=request.verify,
        calibration=request.calibration,
        allowed_loss=request.allowed_loss,
    )
    names = [file_name(request.model, target, weights) for target in targets]
    suffixes = ("", MANIFEST_SUFFIX, GOLDEN_SUFFIX) if request.golden else ("", MANIFEST_SUFFIX)
    refuse_overwrite([request.output_dir / f"{n}{suffix}" for n in names for suffix in suffixes], request.overwrite)

    made = []
    with staging(request.output_dir) as folder:
        for target, name in zip(targets, names, strict=True):
            artifact, manifest, *golden = staged = [folder / f"{name}{suffix}" for suffix in suffixes]
            with threads.computing(prover.pixels(target)):
                facts = _make_sound(source, target, artifact, progress)
                digest = sha256(artifact)
                _write_manifest(facts, digest, artifact, manifest)
                if golden:
                    progress.step(f"{target}: writing golden inputs and outputs")
                    with threads.torch_threads(1):
                        checker = ParityChecker(reference, request.model.resolution)
                        write_golden(facts, checker, artifact=name, digest=digest, path=golden[0])
            final, _, *golden = publish(staged, request.output_dir, request.overwrite)
            told = {"golden": str(golden[0])} if golden else {}
            document = ManifestDocument.of(facts).to_dict()
            made.append({"path": str(final), "size_bytes": size_bytes(final), **told, **document})
    return made


@dataclass(frozen=True, kw_only=True)
class _Source:
    """What all artifacts of a request are made from, and who compares them with it."""

    name: Model
    reference: Reference
    prover: ParityChecker
    verify: bool | None
    calibration: Path | None
    allowed_loss: float | None


def _fitted(target: Target, request: Request, reference: Reference, progress: Progress) -> Target:
    """A classifier with the activation of its network, and an output that this network can have.

    Raises:
        BadInput: The user asks for an output that it cannot have.
    """
    target = replace(target, activation=Activation(reference.activation))
    if target.output in reference.classifier_outputs:
        return target
    (output,) = reference.classifier_outputs
    if request.output is not None:
        raise BadInput(
            f"{request.model.name} gives {output}, and its {target.output} were not found.",
            f"Give --output {output}, or export the network again without its last activation.",
        )
    progress.step(f"{target}: its output is {output}")
    return replace(target, output=Output(output))


def _check_host(request: Request, targets: list[Target]) -> None:
    """Stop before any work where something that it needs is missing."""
    for target in targets:
        exporters.require(exporters.FORMATS[target.format], request.model.kind)
        if request.verify:
            runtimes.require(engine_of(target), str(target))


def _make_sound(source: _Source, target: Target, path: Path, progress: Progress) -> ArtifactInfo:
    """As :func:`_make`, where a file that was only just written is nobody's to copy again."""
    try:
        return _make(source, target, path, progress)
    except Damaged as error:
        from evim_deploy.proof.fault import REPORT

        cause = f"The artifact {target} was written wrongly: {error.cause.replace(str(path), path.name)}"
        raise ParityFailed(cause, f"It was not kept. {REPORT}") from error


def _make(source: _Source, target: Target, path: Path, progress: Progress) -> ArtifactInfo:
    """Write, check and annotate one artifact."""
    if source.verify is not False:
        source.prover.require_finite(target)
    target = _quantisation(source, target, progress)
    for outcome in source.reference.rewrite_results(target):
        progress.detail(summary(outcome))
    progress.step(f"{target}: writing")
    facts = build(source.name, source.reference, target, path)
    annotate(facts, path)  # before the check, which thereby sees the file as it was rewritten
    parity, functions = _verify(source, target, path, progress)
    facts = replace(facts, parity=parity, functions=functions)
    annotate(facts, path)
    return facts


def _quantisation(source: _Source, target: Target, progress: Progress) -> Target:
    from evim_deploy.networks.efficientvim.quantise_target import quantise_target  # imports torch

    return quantise_target(
        source.reference,
        target,
        native_size=source.name.resolution,
        source=source.calibration,
        allowed_loss=source.allowed_loss,
        progress=progress,
    )


def _verify(source: _Source, target: Target, path: Path, progress: Progress) -> tuple[Parity, Mapping[str, Parity]]:
    """The proof of an artifact, and that of each function where there are several."""
    reason = runtimes.unavailable_reason(engine_of(target))
    if source.verify is False or reason:
        unproven = Parity.not_run("--no-verify" if source.verify is False else f"not run on this host: {reason}")
        return unproven, dict.fromkeys(target.of_functions(), unproven)
    from evim_deploy.proof.fault import parity_failure  # after what tells that torch is missing
    from evim_deploy.proof.prove import prove_functions

    parity, functions = prove_functions(path, target, source.prover, progress)
    if parity.status == ParityStatus.FAIL:
        failed = functions or {"": parity}
        proofs = [(target.of_functions().get(name, target), each) for name, each in failed.items()]
        raise parity_failure(source.prover, target, parity.reason, proofs)
    return parity, functions


def _write_manifest(facts: ArtifactInfo, digest: str, artifact: Path, manifest: Path) -> None:
    document = {"artifact": artifact.name, "size_bytes": size_bytes(artifact), "sha256": digest}
    manifest.write_text(json.dumps({**document, **ManifestDocument.of(facts).to_dict()}, indent=2) + "\n")


def summary(outcome: RewriteResult) -> str:
    """One line on a rewrite: how often, and which operations went and came."""

    def listed(counts: Sequence[tuple[str, int]]) -> str:
        return ", ".join(f"{number} {op}" for op, number in counts) or "none"

    removed, added = listed(sorted(outcome.removed.items())), listed(sorted(outcome.added.items()))
    text = f"{outcome.rewrite}: {outcome.applied} times, removed {removed}"
    text += f", added {added}" if outcome.added else ""
    return text + "".join(f"; not at {name}: {reason}" for name, reason in outcome.refused)
