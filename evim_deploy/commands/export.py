"""Export a model: the same steps for every format.

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
from evim_deploy.artifact.loaded import LoadedArtifact
from evim_deploy.artifact.manifest import ManifestDocument, embedded
from evim_deploy.artifact.metadata import MANIFEST_SUFFIX
from evim_deploy.artifact.parity import Parity, ParityStatus
from evim_deploy.artifact.target import Target
from evim_deploy.catalog.labels import class_labels
from evim_deploy.catalog.terms import Activation, Output, Task
from evim_deploy.commands.build import annotate, build, engine_of, file_name
from evim_deploy.commands.request import Request, plan_targets
from evim_deploy.common import threads
from evim_deploy.common.errors import BadInput, Damaged, ParityFailed
from evim_deploy.common.progress import Progress, Silent
from evim_deploy.common.publish import publish, refuse_overwrite, size_bytes, staging
from evim_deploy.networks.open import open_reference
from evim_deploy.proof.golden import SUFFIX as GOLDEN_SUFFIX
from evim_deploy.proof.golden import write_golden

if TYPE_CHECKING:
    from evim_deploy.graph.rewrites.rewrite import RewriteResult
    from evim_deploy.networks.protocols import Reference
    from evim_deploy.proof.outputs.checker import ParityChecker


def export(request: Request, progress: Progress | None = None) -> list[dict[str, Any]]:
    """Write, check and publish the artifacts of a request.

    Args:
        request: The model, the formats and the options.
        progress: The receiver of progress messages; None for silence.

    Returns:
        The manifest of each artifact, with its ``path``, its ``size_bytes``, and the path of its golden file as
        ``golden`` if one was requested.

    Raises:
        BadInput: An option, the checkpoint, the labels or the output directory cannot be used.
        NotInstalled: A package that a format needs is missing.
        ParityFailed: An artifact differs from its model; it is not kept.
        NotRunHere: A required check cannot run on this host.
    """
    progress = progress or Silent()
    targets = plan_targets(request)
    _check_host(request, targets)

    progress.step("Loading weights")
    reference = open_reference(request.model, request.weights, request.num_classes, progress.step)

    from evim_deploy.proof.outputs.checker import ParityChecker  # after the check for torch

    weights = reference.weights
    if not weights.trained:
        progress.warn(" ".join(filter(None, (f"UNTRAINED weights ({weights.source}).", weights.note))))
    elif weights.note:
        progress.step(weights.note)
    if request.task == Task.CLASSIFY:
        labels = class_labels(reference.num_classes, request.labels, weights.source, request.model.labels)
        targets = [replace(_as_network_has(each, request, reference, progress), labels=labels) for each in targets]
    checker = ParityChecker(reference, request.model.resolution)
    job = _Job(request=request, reference=reference, checker=checker)
    suffixes = ("", MANIFEST_SUFFIX, GOLDEN_SUFFIX) if request.golden else ("", MANIFEST_SUFFIX)
    files = [[f"{file_name(request.model, each, weights)}{suffix}" for suffix in suffixes] for each in targets]
    refuse_overwrite([request.output_dir / name for names in files for name in names], request.overwrite)
    with staging(request.output_dir) as folder:
        return [
            _publish(job, target, [folder / name for name in names], progress)
            for target, names in zip(targets, files, strict=True)
        ]


@dataclass(frozen=True, kw_only=True)
class _Job:
    """The request, the reference network, and the checker that all artifacts of the request share."""

    request: Request
    reference: Reference
    checker: ParityChecker


def _publish(job: _Job, target: Target, staged: list[Path], progress: Progress) -> dict[str, Any]:
    """Make one artifact with its manifest and, if requested, its golden file, and move them to the output folder.

    Args:
        job: The request and the reference.
        target: The artifact.
        staged: Paths of the artifact, the manifest and the golden file in the staging folder.
        progress: The receiver of progress messages.
    """
    from evim_deploy.proof.outputs.checker import ParityChecker

    request = job.request
    path, manifest, *golden = staged
    with threads.computing(job.checker.pixels(target)):
        info, artifact = _make(job, target, path, progress)
        _write_manifest(info, artifact, manifest)
        if golden:
            progress.step(f"{target}: writing golden inputs and outputs")
            fresh = ParityChecker(job.reference, request.model.resolution)
            with threads.torch_threads(1):
                write_golden(info, fresh, artifact=path.name, digest=artifact.sha256, path=golden[0])
    final, _, *golden = publish(staged, request.output_dir, request.overwrite)
    return {
        "path": str(final),
        "size_bytes": size_bytes(final),
        **({"golden": str(golden[0])} if golden else {}),
        **ManifestDocument.of(info).to_dict(),
    }


def _as_network_has(target: Target, request: Request, reference: Reference, progress: Progress) -> Target:
    """A classifier with the activation of its network, and an output that the network has.

    Raises:
        BadInput: The requested output does not exist in the network.
    """
    target = replace(target, activation=Activation(reference.activation))
    if target.output in reference.classifier_outputs:
        return target
    (output,) = reference.classifier_outputs
    if request.output is not None:
        raise BadInput(
            f"{request.model.name} has the output {output}; its {target.output} were not found.",
            f"Give --output {output}, or export the network again without its last activation.",
        )
    progress.step(f"{target}: its output is {output}")
    return replace(target, output=Output(output))


def _check_host(request: Request, targets: list[Target]) -> None:
    """Check that this host has the packages and engines for all targets.

    Raises:
        NotInstalled: A package is missing.
        NotRunHere: A required engine does not exist on this host.
    """
    for target in targets:
        exporters.require(exporters.FORMATS[target.format], request.model.kind)
        if request.verify:
            runtimes.require(engine_of(target), str(target))


def _make(job: _Job, target: Target, path: Path, progress: Progress) -> tuple[ArtifactInfo, LoadedArtifact]:
    """Write, annotate and check one artifact.

    Raises:
        ParityFailed: The artifact differs from its model, or the file was written wrongly.
    """
    try:
        return _checked(job, target, path, progress)
    except Damaged as error:  # its remedy, to copy the file again, does not apply to a new file
        from evim_deploy.proof.fault import REPORT

        cause = f"The artifact {target} was written wrongly: {error.cause.replace(str(path), path.name)}"
        raise ParityFailed(cause, f"It was not kept. {REPORT}") from error


def _checked(job: _Job, target: Target, path: Path, progress: Progress) -> tuple[ArtifactInfo, LoadedArtifact]:
    """Write an artifact, annotate it with the expected status, and check it: the checked bytes are the final ones."""
    request = job.request
    reason = runtimes.unavailable_reason(engine_of(target))
    if request.verify is not False:
        job.checker.require_finite(target)
    target = _quantisation(job, target, progress)
    for result in job.reference.rewrite_results(target):
        progress.detail(summary(result))
    progress.step(f"{target}: writing")
    if request.verify is False or reason:
        expected = Parity.not_run("--no-verify" if request.verify is False else f"not run on this host: {reason}")
    else:
        expected = Parity(status=ParityStatus.PASS, reason="")
    info = build(request.model, job.reference, target, path)
    info = replace(info, parity=expected, functions=dict.fromkeys(info.functions, expected))
    artifact = annotate(info, path)
    if expected.status == ParityStatus.NOT_RUN:
        return info, artifact
    parity, functions = _prove(job, target, path, progress)
    proven = replace(info, parity=parity, functions=functions)
    if embedded(ManifestDocument.of(proven).to_dict()) != embedded(ManifestDocument.of(info).to_dict()):
        artifact = annotate(proven, path)
    return proven, artifact


def _quantisation(job: _Job, target: Target, progress: Progress) -> Target:
    from evim_deploy.networks.efficientvim.quantise_target import quantise_target  # imports torch

    return quantise_target(
        job.reference,
        target,
        native_size=job.request.model.resolution,
        source=job.request.calibration,
        allowed_loss=job.request.allowed_loss,
        progress=progress,
    )


def _prove(job: _Job, target: Target, path: Path, progress: Progress) -> tuple[Parity, Mapping[str, Parity]]:
    """The proof of an artifact, and the proof of each function if there are several.

    Raises:
        ParityFailed: The artifact, or a function of it, differs from the model.
    """
    from evim_deploy.proof.fault import parity_failure  # after the check for torch
    from evim_deploy.proof.prove import prove_functions

    parity, functions = prove_functions(path, target, job.checker, progress)
    if parity.status == ParityStatus.FAIL:
        failed = functions or {"": parity}
        proofs = [(target.of_functions().get(name, target), each) for name, each in failed.items()]
        raise parity_failure(job.checker, target, parity.reason, proofs)
    return parity, functions


def _write_manifest(info: ArtifactInfo, artifact: LoadedArtifact, path: Path) -> None:
    file = {"artifact": artifact.path.name, "size_bytes": size_bytes(artifact.path), "sha256": artifact.sha256}
    path.write_text(json.dumps({**file, **ManifestDocument.of(info).to_dict()}, indent=2) + "\n")


def summary(result: RewriteResult) -> str:
    """One line on a rewrite: the number of matches, and the removed and added operations."""

    def listed(counts: Sequence[tuple[str, int]]) -> str:
        return ", ".join(f"{number} {op}" for op, number in counts) or "none"

    removed, added = listed(sorted(result.removed.items())), listed(sorted(result.added.items()))
    text = f"{result.rewrite}: {result.applied} times, removed {removed}"
    text += f", added {added}" if result.added else ""
    return text + "".join(f"; not at {name}: {reason}" for name, reason in result.refused)
