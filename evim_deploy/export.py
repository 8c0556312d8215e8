"""From a model's name to artifacts on disk: the one road that every format takes.

weights -> reference model -> graph -> rewrites -> exporter -> engine, compared with the reference -> files
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import exporters
import runtimes
from evim_deploy.artifact import (
    LABELS_KEY,
    MANIFEST_SUFFIX,
    METADATA_KEY,
    Facts,
    Parity,
    Target,
    Weights,
    describe,
    file_stem,
)
from evim_deploy.errors import BadInput, NotRunHere, ParityFailed
from evim_deploy.labels import class_labels
from evim_deploy.publish import ensure_on_disk, publish, refuse_overwrite, size_bytes, staging
from evim_deploy.tools import tool_versions
from evim_deploy.variants import MAX_RESOLUTION, MIN_RESOLUTION, ModelName

if TYPE_CHECKING:
    from evim_deploy.model import EfficientViM
    from evim_deploy.reparam.rewrite import Outcome

DYNAMIC = None
Size = tuple[int, int] | None


class Progress(Protocol):
    """Who is told how the work goes on."""

    def step(self, text: str) -> None:
        """A piece of work begins."""

    def detail(self, text: str) -> None:
        """Something that only the curious want to know."""

    def warn(self, text: str) -> None:
        """Something that nobody may miss."""


@dataclass(frozen=True)
class Request:
    """What a user asks for; None is left to the defaults of the model or the format.

    Attributes:
        model: Which model.
        formats: Names of rows in :data:`exporters.FORMATS`.
        precisions: ``fp32``, ``fp16``; empty for each format's default.
        sizes: (height, width) each, None for dynamic; empty for the model's native one.
        batch: Images in one prediction, None for dynamic.
        weights: As ``--weights`` takes it.
        num_classes: Of the heads.
        labels: File with the names of the classes.
        task: ``classify`` or ``features``.
        output: ``logits`` or ``probabilities``.
        preprocess: Whether the artifact takes RGB pixels 0-255.
        output_dir: Where the artifacts go.
        overwrite: Whether files that stand there may be replaced.
        verify: True to insist on a parity check, False to leave it out, None to check where this host can.
    """

    model: ModelName
    formats: tuple[str, ...]
    precisions: tuple[str, ...] = ()
    sizes: tuple[Size, ...] = ()
    batch: int | None = 1
    weights: str | None = None
    num_classes: int | None = None
    labels: Path | None = None
    task: str = "classify"
    output: str | None = None
    preprocess: bool = True
    output_dir: Path = Path()
    overwrite: bool = False
    verify: bool | None = None


def plan(request: Request) -> list[Target]:
    """The artifacts that a request asks for, without their labels; nothing heavy is imported.

    Raises:
        BadInput: An option cannot be met.
    """
    if request.task == "features" and (request.output or request.labels):
        raise BadInput(
            "Dense features have neither logits nor labels.", "Leave out --output and --labels, or use --task classify."
        )
    if request.num_classes is not None and request.num_classes < 2:
        raise BadInput(f"{request.num_classes} classes are no classification.", "Give --num-classes 2 or more.")
    if request.batch is not None and request.batch < 1:
        raise BadInput(f"A batch of {request.batch} is impossible.", "Give --batch 1 or more.")
    native = request.model.variant.resolution
    targets = []
    for name in dict.fromkeys(request.formats):
        format_ = exporters.FORMATS[name]
        for size in dict.fromkeys(request.sizes or ((native, native),)):
            _check_size(size)
            if not format_.dynamic and (size is None or request.batch is None):
                raise BadInput(
                    f"{format_.name} has no dynamic batch or resolution here.",
                    "Export one artifact for each size (-r 224 -r 384, -b 4), or use --format onnx.",
                )
            height, width = size or (None, None)
            for precision in dict.fromkeys(request.precisions or (format_.default_precision,)):
                output = "features" if request.task == "features" else request.output or format_.default_output
                targets.append(
                    Target(
                        name,
                        precision,
                        height,
                        width,
                        request.batch,
                        request.task,
                        output,
                        request.preprocess,
                        labels=(),
                    )
                )
    return targets


def _check_size(size: Size) -> None:
    if size is not None and not all(MIN_RESOLUTION <= side <= MAX_RESOLUTION for side in size):
        raise BadInput(
            f"A resolution of {size[0]}x{size[1]} is impossible.",
            f"Give sides of {MIN_RESOLUTION} to {MAX_RESOLUTION} pixels.",
        )


def export(request: Request, progress: Progress) -> list[dict[str, Any]]:
    """Make, check and publish the artifacts of a request.

    Returns:
        For each artifact what its manifest says, and its ``path`` and ``size_bytes``.

    Raises:
        BadInput: An option, the checkpoint, the labels or the output directory will not do.
        NotInstalled: A format needs a package that is missing.
        ParityFailed: An artifact differs from its model; it is not kept.
        NotRunHere: A check was insisted on that this host cannot make.
    """
    targets = plan(request)
    modules = {target.format: exporters.load(exporters.FORMATS[target.format]) for target in targets}
    engines = {target.format: runtimes.ENGINES[exporters.FORMATS[target.format].engine] for target in targets}
    if request.verify:
        for name, engine in engines.items():
            reason = runtimes.why_not(engine)
            if reason:
                raise NotRunHere(
                    f"A {name} artifact cannot be checked on this host: {reason}.", "Leave out --verify to export it."
                )

    from evim_deploy.weights import resolve

    progress.step("Loading weights")
    model, weights = resolve(request.model, request.weights, request.num_classes, progress.step)
    if not weights.trained:
        progress.warn(f"UNTRAINED weights ({weights.source}): {weights.note}".rstrip(": "))
    labels = class_labels(model.num_classes, request.labels) if request.task == "classify" else ()
    targets = [replace(target, labels=labels) for target in targets]
    finals = [request.output_dir / _file_name(request.model, target, weights) for target in targets]
    manifests = [final.with_name(final.name + MANIFEST_SUFFIX) for final in finals]
    refuse_overwrite([*finals, *manifests], request.overwrite)

    made = []
    with staging(request.output_dir) as folder:
        for target in targets:
            staged = folder / _file_name(request.model, target, weights)
            facts = _make(model, weights, request, target, modules[target.format], staged, progress)
            manifest = _write_manifest(facts, staged)
            ensure_on_disk(staged)
            final, _ = publish([staged, manifest], request.output_dir)
            made.append({"path": str(final), "size_bytes": size_bytes(final), **facts.document()})
    return made


def _file_name(model: ModelName, target: Target, weights: Weights) -> str:
    row = exporters.FORMATS[target.format]
    return file_stem(model, target, weights, row.default_output) + row.suffix


def _make(
    model: EfficientViM,
    weights: Weights,
    request: Request,
    target: Target,
    exporter: exporters.Exporter,
    path: Path,
    progress: Progress,
) -> Facts:
    from evim_deploy.lowering import lower
    from evim_deploy.reparam import reparameterise

    label = f"{target.format} {target.precision}"
    progress.step(f"{label}: rewriting the network")
    graph, outcomes = reparameterise(lower(model, target.task, target.output, target.preprocess))
    for outcome in outcomes:
        progress.detail(summary(outcome))
    progress.step(f"{label}: writing the artifact")
    contract = exporter.build(graph, target, path)
    parity = _verify(model, request, target, path, progress)
    row = exporters.FORMATS[target.format]
    facts = Facts(
        request.model,
        target,
        weights,
        contract,
        exporter.structure(path),
        parity,
        tuple(_record(outcome) for outcome in outcomes),
        tool_versions("torch", "numpy", *row.requires),
    )
    metadata = {METADATA_KEY: json.dumps(facts.document()), LABELS_KEY: json.dumps(target.labels)}
    exporter.annotate(path, metadata, describe(request.model, target, weights))
    if exporter.structure(path) != facts.structure:
        raise RuntimeError(f"{path.name} changed when its metadata was written")
    return facts


def _verify(model: EfficientViM, request: Request, target: Target, path: Path, progress: Progress) -> Parity:
    from evim_deploy import parity

    if request.verify is False:
        return Parity.not_run("--no-verify")
    engine = runtimes.ENGINES[exporters.FORMATS[target.format].engine]
    reason = runtimes.why_not(engine)
    if reason:
        return Parity.not_run(f"not run on this host: {reason}")
    progress.step(f"{target.format} {target.precision}: comparing with PyTorch in {engine.name}")
    with runtimes.open_artifact(path, engine) as session:
        result = parity.check(model, session, target, request.model.variant.resolution)
    if result.status == "fail":
        raise ParityFailed(
            f"The {target.format} {target.precision} artifact differs from the model by {result.max_abs:.2g} of the "
            f"largest output; {result.tolerance:.2g} is allowed.",
            "It was not kept. Please report this with the checkpoint.",
        )
    return replace(result, engine=engine.name)


def _write_manifest(facts: Facts, artifact: Path) -> Path:
    manifest = artifact.with_name(artifact.name + MANIFEST_SUFFIX)
    document = {"artifact": artifact.name, "size_bytes": size_bytes(artifact), "sha256": sha256(artifact)}
    manifest.write_text(json.dumps({**document, **facts.document()}, indent=2) + "\n")
    return manifest


def sha256(path: Path) -> str:
    """Hex digest of a file, or of a package: of its files' names and contents in sorted order."""
    digest = hashlib.sha256()
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    for file_path in sorted(file for file in path.rglob("*") if file.is_file()):
        digest.update(file_path.relative_to(path).as_posix().encode() + b"\0")
        digest.update(file_path.read_bytes())
    return digest.hexdigest()


def _record(outcome: Outcome) -> dict[str, Any]:
    return {
        "name": outcome.rewrite,
        "applied": outcome.applied,
        "removed": dict(outcome.removed),
        "added": dict(outcome.added),
    }


def summary(outcome: Outcome) -> str:
    """One line on a rewrite: how often, and which operations went and came."""

    def listed(counts: Sequence[tuple[str, int]]) -> str:
        return ", ".join(f"{number} {op}" for op, number in counts) or "none"

    removed, added = listed(sorted(outcome.removed.items())), listed(sorted(outcome.added.items()))
    text = f"{outcome.rewrite}: {outcome.applied} times, removed {removed}"
    text += f", added {added}" if outcome.added else ""
    return text + "".join(f"; not at {name}: {reason}" for name, reason in outcome.refused)
