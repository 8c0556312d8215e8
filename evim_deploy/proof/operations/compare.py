"""Compare an artifact with its reference operation by operation, from the first to the last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf, isfinite
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from evim_deploy.artifact.target import Target
from evim_deploy.artifact.trace import Trace
from evim_deploy.common.errors import NotRunHere
from evim_deploy.graph.ir import RESCALED, Graph
from evim_deploy.graph.ops import infer_shapes
from evim_deploy.networks.protocols import Reference, is_lowered
from evim_deploy.proof.operations.alignment import Alignment, MatchedOp, align
from evim_deploy.proof.operations.arithmetic import apply
from evim_deploy.proof.operations.causes import likely_cause
from evim_deploy.proof.operations.error_attribution import output_costs, signal_to_noise
from evim_deploy.proof.operations.op_comparison import OpComparison, flat
from evim_deploy.proof.operations.report import OpReport, OpsReport, StageReport
from evim_deploy.proof.operations.stages import place, reference_stages, stage_values
from evim_deploy.proof.operations.traced_artifact import Shapes, TracedArtifact, Values

if TYPE_CHECKING:
    from evim_deploy.networks.efficientvim.model import EfficientViM

_EXACT = 1e-9
"""Relative error that rewriting may cause in float64, whose unit roundoff is 1e-16."""


def compare_operations(
    model: EfficientViM,
    *,
    graph: Graph,
    exported: Graph,
    target: Target,
    trace: Trace,
    image: npt.NDArray[np.float32],
) -> OpsReport:
    """Compare an artifact's operations with its reference's.

    Values are dropped after their last use.

    Args:
        model: The reference, in evaluation mode.
        graph: The model, lowered and rewritten as for the artifact, in floating point.
        exported: The same graph with the artifact's rounded or quantised weights.
        target: The artifact's target.
        trace: Its operations.
        image: The input of the trace, (B, 3, H, W), float32.

    Raises:
        EvimError: The engine cannot compute the values.
    """
    shapes = cast("Shapes", infer_shapes(exported, image.shape))
    alignment = align(exported, trace.operations, shapes)
    if not alignment.matched:
        return OpsReport(stages=(), ops=(), unmatched=alignment.unmatched, file_operations=len(trace.operations))
    pixels = torch.from_numpy(image.astype(np.float64))
    modelled = reference_stages(model, target, pixels)
    artifact = TracedArtifact(
        graph=graph, exported=exported, alignment=alignment, trace=trace, shapes=shapes, pixels=pixels
    )
    expected: Values = {graph.input_name: pixels}
    expiring = _last_uses(graph, alignment)
    ends = stage_values(graph)
    stages, ops = [], []
    for node in graph.nodes:
        outputs = apply(node, [expected[name] for name in node.inputs])
        expected.update(zip(node.outputs, outputs, strict=True))
        if node.name in alignment.matched:
            ops.append(_op_report(artifact, alignment.matched[node.name], outputs))
        for stage in (stage for stage, value in ends.items() if value == node.name):
            actual = artifact.values.get(node.name)
            is_rescaled = node.name.endswith(RESCALED)
            stages.append(_stage_report(stage, modelled[stage], outputs[0], actual, is_rescaled=is_rescaled))
        for name in expiring.get(node.name, ()):
            expected.pop(name, None)
            artifact.values.pop(name, None)
    if artifact.noises:
        costs = output_costs(graph, pixels, artifact.noises)
        ops = [replace(op, cost_db=costs.get(name)) for op, name in zip(ops, alignment.matched, strict=True)]
    return OpsReport(
        stages=tuple(stages),
        ops=tuple(ops),
        unmatched=alignment.unmatched,
        file_operations=len(trace.operations),
    )


def match_operations(reference: Reference, target: Target, trace: Trace, image: npt.NDArray[np.float32]) -> OpsReport:
    """Compare an artifact's operations with its network's, on images in the artifact's input form (B, 3, H, W).

    Raises:
        NotRunHere: The network is not one of ours, so its operations have no common names.
    """
    if not is_lowered(reference):
        raise NotRunHere(
            "Operations can be matched only for EfficientViM, whose artifacts keep the model's names.",
            "Leave out --layers; the outputs and the stored weights are compared without it.",
        )
    return compare_operations(
        reference.model,
        graph=reference.inference(target),
        exported=reference.stored_form(target),
        target=target,
        trace=trace,
        image=image,
    )


def _stage_report(
    stage: str, modelled: Tensor, rewritten: Tensor, actual: Tensor | None, *, is_rescaled: bool
) -> StageReport:
    """Compare the rewritten graph's and the artifact's value after a stage with the model's."""
    unit = _unit(rewritten, modelled) if is_rescaled else 1.0
    error = None if actual is None else _error([actual * unit], [modelled])
    rewriting = _error([rewritten * unit], [modelled])
    return StageReport(name=stage, place=place(stage), error=error, rewriting=rewriting, is_exact=rewriting <= _EXACT)


def _op_report(artifact: TracedArtifact, op: MatchedOp, expected: Sequence[Tensor]) -> OpReport:
    """Compare an operation by itself, and its outputs with the expected ones."""
    type_ = artifact.type_of(op)
    outputs = artifact.outputs(op, expected)
    if isinstance(outputs, str):
        return _named(op, type_, cumulative=inf, local=inf, bound=0.0, cause=f"wrong shape: {outputs}")
    comparison = artifact.compare(op, outputs)
    local, bound = _worst(comparison)
    report = _named(
        op,
        type_,
        cumulative=_error(outputs, expected),
        local=local,
        bound=bound,
        cause=likely_cause(comparison) if comparison.diverges else "",
    )
    if not artifact.is_quantised:
        return report
    exact, noise = artifact.measure_noise(op)
    return replace(
        report,
        snr_db=signal_to_noise(flat(expected), flat(outputs) - flat(expected)),
        own_snr_db=signal_to_noise(flat(exact), flat(noise)),
    )


def _worst(comparison: OpComparison) -> tuple[float, float]:
    """The error at the element that exceeds its bound most, and that bound, in units of the largest magnitude."""
    worst = int(comparison.excess.argmax())
    scale = _scale(comparison.reference)
    return float(comparison.difference[worst] / scale), float(comparison.explained[worst] / scale)


def _named(op: MatchedOp, type_: str, *, cumulative: float, local: float, bound: float, cause: str) -> OpReport:
    """The report of an operation, under the name of the one with weights if several are fused."""
    node = next((node for node in op.named if node.weights), op.node)
    return OpReport(
        name=node.name,
        op=node.op,
        place=place(node.name),
        type=type_,
        fused=tuple(each.name for each in op.named if each is not node),
        cumulative=cumulative,
        local=local,
        bound=bound,
        cause=cause,
    )


def _last_uses(graph: Graph, alignment: Alignment) -> dict[str, list[str]]:
    """For each operation, the values that are not needed after it."""
    last = {}
    for node in graph.nodes:
        op = alignment.matched.get(node.name)
        last.update(dict.fromkeys((*node.inputs, *(op.inputs if op else ())), node.name))
    expiring: dict[str, list[str]] = {}
    for value, name in last.items():
        expiring.setdefault(name, []).append(value)
    return expiring


def _unit(value: Tensor, modelled: Tensor) -> Tensor:
    """The factor of each channel (C, 1, 1) that brings a map (B, C, H, W) closest to the model's."""
    axes = (0, 2, 3)
    square = value.square().sum(axes, keepdim=True).clamp_min(torch.finfo(value.dtype).tiny)
    return ((value * modelled).sum(axes, keepdim=True) / square)[0]


def _error(actual: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """The largest absolute error in units of the largest magnitude; infinite if a value is not finite."""
    reference = flat(expected)
    error = float((flat(actual) - reference).abs().max() / _scale(reference))
    return error if isfinite(error) else inf


def _scale(reference: Tensor) -> Tensor:
    largest = reference.abs().nan_to_num(0.0, posinf=0.0).max()
    return largest if largest > 0 else torch.ones_like(largest)
