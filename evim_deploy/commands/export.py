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
from evim_deploy.artifact.loaded import LoadedArtifact
from evim_deploy.artifact.parity import FAIL, NOT_RUN, PASS, Measures, Parity
from evim_deploy.artifact.target import MANIFEST_SUFFIX, ArtifactInfo, Target, embedded
from evim_deploy.catalog.labels import class_labels
from evim_deploy.catalog.model import Model
from evim_deploy.commands.build import annotate, build, engine_of, file_name
from evim_deploy.commands.request import Request, plan
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

    from evim_deploy.common.reproducible import one_thread
    from evim_deploy.proof.outputs.checker import ParityChecker  # after what tells that torch is missing

    if not weights.trained:
        progress.warn(" ".join(filter(None, (f"UNTRAINED weights ({weights.source}).", weights.note))))
    elif weights.note:
        progress.step(weights.note)
    if request.task == "classify":
        labels = class_labels(reference.num_classes, request.labels, weights.source, request.model.labels)
        fitted = [_fitted(target, request, reference, progress) for target in targets]
        targets = [replace(target, labels=labels) for target in fitted]
    checker = ParityChecker(reference, request.model.resolution)
    job = _Job(request=request, reference=reference, checker=checker)
    names = [file_name(request.model, target, weights) for target in targets]
    suffixes = ("", MANIFEST_SUFFIX, GOLDEN_SUFFIX) if request.golden else ("", MANIFEST_SUFFIX)
    refuse_overwrite([request.output_dir / f"{n}{suffix}" for n in names for suffix in suffixes], request.overwrite)

    documents = []
    with staging(request.output_dir) as folder:
        for target, name in zip(targets, names, strict=True):
            path, manifest, *golden = staged = [folder / f"{name}{suffix}" for suffix in suffixes]
            with threads.computing(checker.pixels(target)):
                info, artifact = _make(job, target, path, progress)
                _write_manifest(info, artifact, manifest)
                if golden:
                    progress.step(f"{target}: writing golden inputs and outputs")
                    fresh = ParityChecker(reference, request.model.resolution)
                    with one_thread():
                        write_golden(info, fresh, name, artifact.sha256, golden[0])
            final, _, *golden = publish(staged, request.output_dir, request.overwrite)
            documents.append(
                {
                    "path": str(final),
                    "size_bytes": size_bytes(final),
                    **({"golden": str(golden[0])} if golden else {}),
                    **info.to_dict(),
                }
            )
    return documents


@dataclass(frozen=True, kw_only=True)
class _Job:
    """The request, the reference network, and the checker that all artifacts of the request share."""

    request: Request
    reference: Reference
    checker: ParityChecker


def _fitted(target: Target, request: Request, reference: Reference, progress: Progress) -> Target:
    """A classifier with the activation of its network, and an output that this network can have.

    Raises:
        BadInput: The user asks for an output that it cannot have.
    """
    target = replace(target, activation=reference.activation)
    if target.output in reference.classifier_outputs:
        return target
    (output,) = reference.classifier_outputs
    if request.output is not None:
        raise BadInput(
            f"{request.model.name} gives {output}, and its {target.output} were not found.",
            f"Give --output {output}, or export the network again without its last activation.",
        )
    progress.step(f"{target}: its output is {output}")
    return replace(target, output=output)


def _check_host(request: Request, targets: list[Target]) -> None:
    """Stop before any work where something that it needs is missing."""
    for target in targets:
        exporters.require(exporters.FORMATS[target.format], request.model.form)
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
        cause = f"The artifact {target} was written wrongly: {error.cause.replace(str(path), path.name)}"
        raise ParityFailed(cause, f"It was not kept. {_REPORT}") from error


def _checked(job: _Job, target: Target, path: Path, progress: Progress) -> tuple[ArtifactInfo, LoadedArtifact]:
    """Write and annotate an artifact with the expected status, so that the bytes that are checked are the final ones."""
    request = job.request
    reason = runtimes.why_not(engine_of(target))
    if request.verify is not False:
        job.checker.require_finite(target)
    target = _quantisation(job, target, progress)
    for result in job.reference.outcomes(target):
        progress.detail(summary(result))
    progress.step(f"{target}: writing")
    if request.verify is False or reason:
        expected = Parity.not_run("--no-verify" if request.verify is False else f"not run on this host: {reason}")
    else:
        expected = Parity(status=PASS, reason="")
    info = build(request.model, job.reference, target, path)
    info = replace(info, parity=expected, functions=dict.fromkeys(info.functions, expected))
    artifact = annotate(info, path)
    if expected.status == NOT_RUN:
        return info, artifact
    parity, functions = _prove(job, target, path, progress)
    proven = replace(info, parity=parity, functions=functions)
    if embedded(proven.to_dict()) != embedded(info.to_dict()):
        artifact = annotate(proven, path)
    return proven, artifact


def _quantisation(job: _Job, target: Target, progress: Progress) -> Target:
    from evim_deploy.networks.efficientvim.quantise_target import find  # after the check for torch

    request = job.request
    return find(job.reference, target, request.model.resolution, request.calibration, request.allowed_loss, progress)


def _prove(job: _Job, target: Target, path: Path, progress: Progress) -> tuple[Parity, Mapping[str, Parity]]:
    """The proof of an artifact, and the proof of each function if there are several.

    Raises:
        ParityFailed: The artifact, or a function of it, differs from the model.
    """
    from evim_deploy.proof.prove import prove_functions  # after the check for torch

    parity, functions = prove_functions(path, target, job.checker, progress)
    if parity.status == FAIL:
        failed = functions or {"": parity}
        proofs = [(target.of_functions().get(name, target), each) for name, each in failed.items()]
        raise _failure(job, target, parity.reason, proofs)
    return parity, functions


def _failure(job: _Job, target: Target, reason: str, proofs: Sequence[tuple[Target, Parity]]) -> ParityFailed:
    """What is to blame that an artifact, or functions of it, differ from the model, and what to do."""
    cause = f"The artifact {target} differs from the source model: {reason}."
    blamed = [_blame(job, each, parity) for each, parity in proofs if parity.status == FAIL]
    note, remedy = next((each for each in blamed if each == _OURS), blamed[0])
    return ParityFailed(f"{cause} {note}".rstrip(), f"It was not kept. {remedy}")


def _blame(job: _Job, target: Target, parity: Parity) -> tuple[str, str]:
    """A note on the cause of a failed proof, and what to do.

    The network itself is to blame where its own float32 is not close enough to its float64, and a precision where the
    same program in float32 passes. Anything else is a fault of ours or of a converter.
    """
    from evim_deploy.proof.outputs.checker import PRECISION  # after what tells that torch is missing

    failed = [each for each in parity.comparisons if each.status == FAIL]
    is_rest_right = not (parity.stored and parity.stored.changed) and not (
        parity.operations and parity.operations.diverging
    )
    if not failed or not is_rest_right:
        return _OURS
    if {each.subject for each in failed} == {PRECISION} and len(parity.comparisons) > len(failed):
        return "", f"In {target.precision} this network loses more than is allowed: choose another --precision."
    own = job.checker.float32_rounding(target)
    if own is None or any(each.tolerance.allows(own) or _is_beyond(each.measures, own) for each in failed):
        return _OURS
    note = (
        f"The network cannot be computed to this tolerance: in PyTorch, its own float32 differs from its float64 by "
        f"{own.max_abs:.2g} of the output's range and {own.mean_abs:.2g} on average."
    )
    if job.reference.weights.trained:
        return note, "Check that these are the weights of a fully trained network."
    return note, "Use trained weights (-w FILE), or try another seed (-w random:1); --no-verify writes it unproven."


def _is_beyond(found: Measures, own: Measures) -> bool:
    """Whether an artifact is farther off than another order of the network's own sums explains."""
    return found.max_abs > _ORDERS * own.max_abs or found.mean_abs > _ORDERS * own.mean_abs


_ORDERS = 10.0
_REPORT = (
    "This is a fault of evim-deploy or of a converter: please report it with the model, the weights and the command."
)
_OURS = "", _REPORT


def _write_manifest(info: ArtifactInfo, artifact: LoadedArtifact, path: Path) -> None:
    file = {"artifact": artifact.path.name, "size_bytes": size_bytes(artifact.path), "sha256": artifact.sha256}
    path.write_text(json.dumps({**file, **info.to_dict()}, indent=2) + "\n")


def summary(outcome: RewriteResult) -> str:
    """One line on a rewrite: how often, and which operations went and came."""

    def listed(counts: Sequence[tuple[str, int]]) -> str:
        return ", ".join(f"{number} {op}" for op, number in counts) or "none"

    removed, added = listed(sorted(outcome.removed.items())), listed(sorted(outcome.added.items()))
    text = f"{outcome.rewrite}: {outcome.applied} times, removed {removed}"
    text += f", added {added}" if outcome.added else ""
    return text + "".join(f"; not at {name}: {reason}" for name, reason in outcome.refused)
