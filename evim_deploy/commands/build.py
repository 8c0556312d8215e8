"""Write one artifact and its metadata. Nothing is compared here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import exporters
import runtimes
from evim_deploy import formats
from evim_deploy.artifact.info import ArtifactInfo, Structure
from evim_deploy.artifact.loaded import LoadedArtifact, load_artifact
from evim_deploy.artifact.manifest import ManifestDocument, embedded
from evim_deploy.artifact.metadata import LABELS_KEY, METADATA_KEY
from evim_deploy.artifact.parity import Parity
from evim_deploy.artifact.target import Target, Weights, file_stem
from evim_deploy.catalog.model import Model
from evim_deploy.catalog.terms import ModelKind
from evim_deploy.common.errors import BadInput
from evim_deploy.common.versions import tool_versions
from evim_deploy.inspection.core_ml import reported_difference

if TYPE_CHECKING:
    from evim_deploy.graph.rewrites.rewrite import RewriteResult
    from evim_deploy.networks.protocols import Reference


def build(model: Model, reference: Reference, target: Target, path: Path) -> ArtifactInfo:
    """Write the file of an artifact, without its metadata.

    Args:
        model: The model, by its name in the manifest.
        reference: The network to write.
        target: The format and options; with its quantisation, if the precision is quantised.
        path: The file or package to write.

    Raises:
        BadInput: The network cannot be written in this format.
    """
    row = exporters.FORMATS[target.format]
    signature = exporters.load(row, reference.kind).build(reference.stored_form(target), target, path)
    contents = formats.read(path)
    _refuse_reported(contents, target)
    unchecked = Parity.not_run("not checked yet")
    timm = ["timm"] if model.kind == ModelKind.TORCH_MODULE else []
    tools = tool_versions("torch", "numpy", *exporters.needs(row, model.kind), *engine_of(target).requires, *timm)
    return ArtifactInfo(
        model=model,
        target=target,
        weights=reference.weights,
        preprocessing=reference.preprocessing,
        signature=signature,
        structure=Structure.of(contents.operations),
        parity=unchecked,
        rewrites=tuple(map(_record, reference.rewrite_results(target))),
        tools=tools | exporters.converter_versions(row, model.kind),
        functions=dict.fromkeys(target.of_functions(), unchecked),
    )


def annotate(info: ArtifactInfo, path: Path) -> LoadedArtifact:
    """Write the manifest and the labels into an artifact's own metadata, and read the finished file back.

    Raises:
        RuntimeError: The operations changed when the metadata was written.
    """
    document = embedded(ManifestDocument.of(info).to_dict())
    metadata = {METADATA_KEY: json.dumps(document), LABELS_KEY: json.dumps(info.target.labels)}
    exporters.load(exporters.FORMATS[info.target.format], info.model.kind).annotate(path, metadata, info)
    artifact = load_artifact(path)
    if Structure.of(artifact.contents.operations) != info.structure:
        raise RuntimeError(f"{path.name} changed when its metadata was written")
    return artifact


def file_name(model: Model, target: Target, weights: Weights) -> str:
    """The file name of an artifact."""
    row = exporters.FORMATS[target.format]
    return file_stem(model, target, weights, row.default_output) + row.suffix


def engine_of(target: Target) -> runtimes.Engine:
    """The engine that checks an artifact on this host; without one, the last engine of the format."""
    return runtimes.first_available(runtimes.engines_of(exporters.FORMATS[target.format].suffix))


def _refuse_reported(contents: formats.ModelFile, target: Target) -> None:
    """Refuse a Core ML program with an operation that Core ML is reported to compute differently.

    This host cannot prove such a file, and a device is expected to give wrong results.

    Raises:
        BadInput: The program has such an operation; the message names it.
    """
    for function in contents.functions if contents.format == "coreml" else ():
        if report := reported_difference(function):
            cause, remedy = report
            raise BadInput(
                f"{target} has an operation that Core ML is reported to compute differently: {cause}",
                f"It was not kept. {remedy} Or choose another format.",
            )


def _record(result: RewriteResult) -> dict[str, object]:
    return {
        "name": result.rewrite,
        "applied": result.applied,
        "removed": dict(result.removed),
        "added": dict(result.added),
        "refused": dict(result.refused),
    }
