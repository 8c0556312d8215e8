"""From a model's name to artifacts on disk: the one road that every format takes.

weights -> reference model -> graph -> rewrites -> exporter -> engine, compared with the reference -> files
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
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
from evim_deploy.errors import NotRunHere, ParityFailed
from evim_deploy.labels import class_labels
from evim_deploy.publish import publish, refuse_overwrite, sha256, size_bytes, staging
from evim_deploy.request import Request, plan
from evim_deploy.tools import tool_versions
from evim_deploy.variants import ModelName

if TYPE_CHECKING:
    from evim_deploy.graph import Graph
    from evim_deploy.model import EfficientViM
    from evim_deploy.reparam.rewrite import Outcome


class Progress(Protocol):
    """Who is told how the work goes on."""

    def step(self, text: str) -> None:
        """A piece of work begins."""

    def detail(self, text: str) -> None:
        """Something that only the curious want to know."""

    def warn(self, text: str) -> None:
        """Something that nobody may miss."""


class Silent:
    """A progress that tells nobody."""

    def step(self, text: str) -> None:
        pass

    def detail(self, text: str) -> None:
        pass

    def warn(self, text: str) -> None:
        pass


def export(request: Request, progress: Progress | None = None) -> list[dict[str, Any]]:
    """Make, check and publish the artifacts of a request; without a progress, silently.

    Returns:
        For each artifact what its manifest says, and its ``path`` and ``size_bytes``.

    Raises:
        BadInput: An option, the checkpoint, the labels or the output directory will not do.
        NotInstalled: A format needs a package that is missing.
        ParityFailed: An artifact differs from its model; it is not kept.
        NotRunHere: A check was insisted on that this host cannot make.
    """
    progress = progress or Silent()
    targets = plan(request)
    _check_host(request, targets)

    from evim_deploy.weights import resolve

    progress.step("Loading weights")
    model, weights = resolve(request.model, request.weights, request.num_classes, progress.step)
    if not weights.trained:
        progress.warn(" ".join(filter(None, (f"UNTRAINED weights ({weights.source}).", weights.note))))
    if request.task == "classify":
        labels = class_labels(model.num_classes, request.labels)
        targets = [replace(target, labels=labels) for target in targets]
    source = _Source(request.model, model, weights, request.verify)
    names = [source.file_name(target) for target in targets]
    manifests = [name + MANIFEST_SUFFIX for name in names]
    refuse_overwrite([request.output_dir / name for name in (*names, *manifests)], request.overwrite)

    made = []
    with staging(request.output_dir) as folder:
        for target, name, manifest in zip(targets, names, manifests, strict=True):
            staged = folder / name
            facts = _make(source, target, staged, progress)
            _write_manifest(facts, staged, folder / manifest)
            final, _ = publish([staged, folder / manifest], request.output_dir, request.overwrite)
            made.append({"path": str(final), "size_bytes": size_bytes(final), **facts.document()})
    return made


@dataclass
class _Source:
    """What all artifacts of a request are made from."""

    name: ModelName
    model: EfficientViM
    weights: Weights
    verify: bool | None
    rewritten: dict[str, tuple[Graph, list[Outcome]]] = field(default_factory=dict)

    def file_name(self, target: Target) -> str:
        row = exporters.FORMATS[target.format]
        return file_stem(self.name, target, self.weights, row.default_output) + row.suffix

    def graph(self, target: Target, progress: Progress) -> tuple[Graph, list[Outcome]]:
        """The rewritten network that ends in the target's output: one for all formats, precisions and sizes."""
        from evim_deploy.lowering import lower
        from evim_deploy.reparam import reparameterise

        if target.output not in self.rewritten:
            progress.step(f"Rewriting the network for {target.output}")
            lowered = lower(self.model, target.task, target.output, target.preprocess)
            self.rewritten[target.output] = reparameterise(lowered)
            for outcome in self.rewritten[target.output][1]:
                progress.detail(summary(outcome))
        return self.rewritten[target.output]


def _engine(target: Target) -> runtimes.Engine:
    return runtimes.ENGINES[exporters.FORMATS[target.format].engine]


def _check_host(request: Request, targets: list[Target]) -> None:
    """Stop before any work where something that it needs is missing."""
    for target in targets:
        exporters.require(exporters.FORMATS[target.format])
        if request.verify:
            try:
                runtimes.require(_engine(target), str(target))
            except NotRunHere as error:
                raise NotRunHere(error.cause, "Leave out --verify to export it unchecked.") from None


def _make(source: _Source, target: Target, path: Path, progress: Progress) -> Facts:
    """Write, check and annotate one artifact."""
    row = exporters.FORMATS[target.format]
    graph, outcomes = source.graph(target, progress)
    progress.step(f"{target}: writing")
    exporter = exporters.load(row)
    contract = exporter.build(graph, target, path)
    facts = Facts(
        source.name,
        target,
        source.weights,
        contract,
        exporter.structure(path),
        Parity.not_run("not checked yet"),
        tuple(_record(outcome) for outcome in outcomes),
        tool_versions("torch", "numpy", *row.requires, _engine(target).package),
    )
    _annotate(exporter, path, facts)  # before the check, which thereby sees the file as it was rewritten
    facts = replace(facts, parity=_verify(source, target, path, progress))
    _annotate(exporter, path, facts)
    return facts


def _annotate(exporter: exporters.Exporter, path: Path, facts: Facts) -> None:
    metadata = {METADATA_KEY: json.dumps(facts.document()), LABELS_KEY: json.dumps(facts.target.labels)}
    exporter.annotate(path, metadata, describe(facts.model, facts.target, facts.weights))
    if exporter.structure(path) != facts.structure:
        raise RuntimeError(f"{path.name} changed when its metadata was written")


def _verify(source: _Source, target: Target, path: Path, progress: Progress) -> Parity:
    from evim_deploy.parity import check

    if source.verify is False:
        return Parity.not_run("--no-verify")
    engine = _engine(target)
    reason = runtimes.why_not(engine)
    if reason:
        return Parity.not_run(f"not run on this host: {reason}")
    progress.step(f"{target}: comparing with PyTorch in {engine.name}")
    with runtimes.open_artifact(path, engine) as session:
        result = check(source.model, session, target, source.name.variant.resolution)
    if result.status == "fail":
        raise ParityFailed(
            f"The artifact {target} differs from the model by {result.max_abs:.2g} of the largest output; "
            f"{result.tolerance:.2g} is allowed.",
            "It was not kept. Please report this with the checkpoint.",
        )
    return replace(result, engine=engine.name)


def _write_manifest(facts: Facts, artifact: Path, manifest: Path) -> None:
    document = {"artifact": artifact.name, "size_bytes": size_bytes(artifact), "sha256": sha256(artifact)}
    manifest.write_text(json.dumps({**document, **facts.document()}, indent=2) + "\n")


def _record(outcome: Outcome) -> dict[str, Any]:
    return {
        "name": outcome.rewrite,
        "applied": outcome.applied,
        "removed": dict(outcome.removed),
        "added": dict(outcome.added),
        "refused": dict(outcome.refused),
    }


def summary(outcome: Outcome) -> str:
    """One line on a rewrite: how often, and which operations went and came."""

    def listed(counts: Sequence[tuple[str, int]]) -> str:
        return ", ".join(f"{number} {op}" for op, number in counts) or "none"

    removed, added = listed(sorted(outcome.removed.items())), listed(sorted(outcome.added.items()))
    text = f"{outcome.rewrite}: {outcome.applied} times, removed {removed}"
    text += f", added {added}" if outcome.added else ""
    return text + "".join(f"; not at {name}: {reason}" for name, reason in outcome.refused)
