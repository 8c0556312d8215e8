"""Write one artifact: its file, and what is known of it in the file's own metadata. Nothing is compared here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import exporters
import runtimes
from evim_deploy import formats
from evim_deploy.artifact.loaded import LoadedArtifact, load_artifact
from evim_deploy.artifact.parity import Parity
from evim_deploy.artifact.target import (
    LABELS_KEY,
    METADATA_KEY,
    ArtifactInfo,
    Structure,
    Target,
    Weights,
    embedded,
    file_stem,
)
from evim_deploy.catalog.model import Model
from evim_deploy.common.errors import BadInput
from evim_deploy.common.versions import tool_versions
from evim_deploy.inspection.core_ml import told_otherwise

if TYPE_CHECKING:
    from evim_deploy.graph.rewrites.rewrite import RewriteResult
    from evim_deploy.networks.protocols import Reference


def build(model: Model, reference: Reference, target: Target, path: Path) -> ArtifactInfo:
    """Write the file of an artifact, still without its metadata.

    Args:
        model: As manifests name it.
        reference: What it is made from.
        target: What it is to be; a quantised one has its quantisation.
        path: Of the file or package.

    Raises:
        BadInput: The network cannot be written in this format.
    """
    row = exporters.FORMATS[target.format]
    contract = exporters.load(row, reference.form).build(reference.stored(target), target, path)
    found = formats.read(path)
    _refuse_reported(found, target)
    unchecked = Parity.not_run("not checked yet")
    timm = ["timm"] if model.form == "torch_module" else []
    tools = tool_versions("torch", "numpy", *exporters.needs(row, model.form), *engine_of(target).requires, *timm)
    return ArtifactInfo(
        model=model,
        target=target,
        weights=reference.weights,
        preprocessing=reference.preprocessing,
        contract=contract,
        structure=Structure.of(found.operations),
        parity=unchecked,
        rewrites=tuple(_record(outcome) for outcome in reference.outcomes(target)),
        tools=tools | exporters.converter_versions(row, model.form),
        functions=dict.fromkeys(target.of_functions(), unchecked),
    )


def annotate(info: ArtifactInfo, path: Path) -> LoadedArtifact:
    """Write the manifest and the labels into an artifact's own metadata, and read the finished file back.

    Raises:
        RuntimeError: The operations changed when the metadata was written.
    """
    metadata = {METADATA_KEY: json.dumps(embedded(info.to_dict())), LABELS_KEY: json.dumps(info.target.labels)}
    exporters.load(exporters.FORMATS[info.target.format], info.model.form).annotate(path, metadata, info)
    artifact = load_artifact(path)
    if Structure.of(artifact.contents.operations) != info.structure:
        raise RuntimeError(f"{path.name} changed when its metadata was written")
    return artifact


def file_name(model: Model, target: Target, weights: Weights) -> str:
    """Of an artifact."""
    row = exporters.FORMATS[target.format]
    return file_stem(model, target, weights, row.default_output) + row.suffix


def engine_of(target: Target) -> runtimes.Engine:
    """The engine that checks an artifact on this host, or would."""
    return runtimes.first_here(runtimes.engines_of(exporters.FORMATS[target.format].suffix))


def _refuse_reported(found: formats.Contents, target: Target) -> None:
    """Refuse a Core ML program with an operation that Core ML is reported to compute otherwise.

    Such a file cannot be proven here, and is believed to be wrong there: it is not kept.

    Raises:
        BadInput: It has one, which is named.
    """
    for function in found.functions if found.format == "coreml" else ():
        if told := told_otherwise(function):
            cause, remedy = told
            raise BadInput(
                f"{target} would have an operation that Core ML is reported to compute otherwise: {cause}",
                f"It was not kept. {remedy} Or choose another format.",
            )


def _record(outcome: RewriteResult) -> dict[str, Any]:
    return {
        "name": outcome.rewrite,
        "applied": outcome.applied,
        "removed": dict(outcome.removed),
        "added": dict(outcome.added),
        "refused": dict(outcome.refused),
    }
