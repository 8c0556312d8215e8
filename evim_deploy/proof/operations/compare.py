"""Line up an artifact's values with the reference's, from the first operation to the last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf, isfinite, prod
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from evim_deploy.artifact.target import Target
from evim_deploy.artifact.trace import Arrays, Trace
from evim_deploy.common.errors import NotRunHere
from evim_deploy.graph.interpreter import fake_quantise
from evim_deploy.graph.ir import RESCALED, Graph
from evim_deploy.graph.ops import infer_shapes
from evim_deploy.networks.protocols import Reference, is_lowered
from evim_deploy.proof.operations.alignment import Alignment, Row, align
from evim_deploy.proof.operations.arithmetic import apply
from evim_deploy.proof.operations.causes import likely_cause
from evim_deploy.proof.operations.comparison import flat, judge
from evim_deploy.proof.operations.error_attribution import output_costs, signal_to_noise
from evim_deploy.proof.operations.report import Layer, LayerReport, Stage
from evim_deploy.proof.operations.stages import place, reference_stages, stage_values

if TYPE_CHECKING:
    from evim_deploy.networks.efficientvim.model import EfficientViM

Values = dict[str, Tensor]
Shapes = Mapping[str, tuple[int, ...]]

_EXACT = 1e-9
"""What rewriting may change in float64, whose roundings are of 1e-16."""


def compare(
    model: EfficientViM,
    graph: Graph,
    exported: Graph,
    target: Target,
    trace: Trace,
    image: npt.NDArray[np.float32],
) -> LayerReport:
    """Line up an artifact with what it was made from.

    Values are dropped once nothing needs them any more.

    Args:
        model: The reference, in evaluation mode.
        graph: The model, lowered and rewritten as it was for the artifact, in floating point.
        exported: The same as the artifact stores it: rounded, or quantised.
        target: What the artifact is.
        trace: Its operations.
        image: What they are traced on, as the artifact takes it: (B, 3, H, W), float32.

    Raises:
        EvimError: The engine cannot compute the values.
    """
    shapes = cast("Shapes", infer_shapes(exported, image.shape))
    alignment = align(exported, trace.operations, shapes)
    if not alignment.rows:
        return LayerReport((), (), alignment.unmatched, len(trace.operations))
    pixels = torch.from_numpy(image.astype(np.float64))
    modelled = reference_stages(model, target, pixels)
    artifact = _Artifact(graph, exported, alignment, trace, shapes, pixels)
    expected: Values = {graph.input_name: pixels}
    expiring = _last_uses(graph, alignment)
    ends = stage_values(graph)
    stages, layers = [], []
    for node in graph.nodes:
        outputs = apply(node, [expected[name] for name in node.inputs])
        expected.update(zip(node.outputs, outputs, strict=True))
        if node.name in alignment.rows:
            layers.append(artifact.layer(alignment.rows[node.name], outputs))
        for stage in (stage for stage, value in ends.items() if value == node.name):
            unit = _unit(outputs[0], modelled[stage]) if node.name.endswith(RESCALED) else 1.0
            rewriting = _error([outputs[0] * unit], [modelled[stage]])
            found = artifact.values.get(node.name)
            error = None if found is None else _error([found * unit], [modelled[stage]])
            stages.append(
                Stage(name=stage, place=place(stage), error=error, rewriting=rewriting, is_exact=rewriting <= _EXACT)
            )
        for name in expiring.get(node.name, ()):
            expected.pop(name, None)
            artifact.values.pop(name, None)
    if artifact.noises:
        costs = output_costs(graph, pixels, artifact.noises)
        layers = [replace(layer, cost_db=costs.get(row)) for layer, row in zip(layers, alignment.rows, strict=True)]
    return LayerReport(tuple(stages), tuple(layers), alignment.unmatched, len(trace.operations))


def match_operations(reference: Reference, target: Target, trace: Trace, image: npt.NDArray[np.float32]) -> LayerReport:
    """Line up an artifact's operations with the network's, on images as the artifact takes them (B, 3, H, W).

    Raises:
        NotRunHere: Nothing says which operation is which.
    """
    if not is_lowered(reference):
        raise NotRunHere(
            "Nothing says which operation of an artifact is which of a network that is none of ours.",
            "Leave out --layers; the outputs and the stored weights are compared without it.",
        )
    return compare(reference.model, reference.inference(target), reference.stored_form(target), target, trace, image)


class _Artifact:
    """The values of an artifact by the graph's names, taken from its trace as they are needed.

    Attributes:
        values: By name, as far as they are needed yet.
        noises: Of a quantised artifact, what each layer gives beside the network in floating point, on its own inputs.
    """

    def __init__(
        self, graph: Graph, exported: Graph, alignment: Alignment, trace: Trace, shapes: Shapes, pixels: Tensor
    ) -> None:
        self._grids = exported.qparams
        is_quantised = bool(exported.qparams) or any(node.encodings for node in exported.nodes)
        self._floats = {node.name: node for node in graph.nodes} if is_quantised else {}
        self.noises: dict[str, Values] = {}
        self._operations = trace.operations
        wanted = {
            row.operations[-1]: sum(4 * prod(shapes[name]) for name in row.node.outputs)
            for row in alignment.rows.values()
        }
        if alignment.image is not None:
            wanted[alignment.image] = 4 * pixels.numel()
        self._computed = trace.compute(dict(sorted(wanted.items())))
        self._arrived: dict[int, Arrays] = {}
        self.values: Values = fake_quantise({graph.input_name: pixels}, self._grids)
        if alignment.image is not None:
            (cast_image,) = self._take(alignment.image)
            self.values[graph.input_name] = torch.from_numpy(cast_image.astype(np.float64)).reshape(pixels.shape)

    def layer(self, row: Row, expected: Sequence[Tensor]) -> Layer:
        """Take an operation's values from the trace, and judge it by itself and against the values expected."""
        traced = [self._operations[index] for index in row.operations]
        arrays = self._take(row.operations[-1])
        if [array.size for array in arrays] != [value.numel() for value in expected]:
            # what follows is judged on what should have come out
            self.values.update(zip(row.node.outputs, expected, strict=True))
            shapes = " and ".join(str(array.shape) for array in arrays)
            return _layer(row, traced[-1].type, cumulative=inf, local=inf, bound=0.0, cause=f"wrong shape: {shapes}")
        outputs = [
            torch.from_numpy(array.astype(np.float64)).reshape(value.shape)
            for array, value in zip(arrays, expected, strict=True)
        ]
        self.values.update(zip(row.node.outputs, outputs, strict=True))
        inputs = {name: self.values[name] for name in row.inputs}
        judgement = judge(row, traced, inputs, outputs, self._grids)
        worst = int(judgement.excess.argmax())
        scale = _scale(judgement.reference)
        local, bound = (float(found[worst] / scale) for found in (judgement.difference, judgement.explained))
        layer = _layer(
            row,
            traced[-1].type,
            cumulative=_error(outputs, expected),
            local=local,
            bound=bound,
            cause=likely_cause(judgement) if judgement.diverges else "",
        )
        if not self._floats:
            return layer
        exact = self._in_floats(row, inputs)
        noise = {name: self.values[name] - exact[name] for name in row.node.outputs}
        self.noises[row.node.name] = {name: lost.float() for name, lost in noise.items()}
        return replace(
            layer,
            snr_db=signal_to_noise(flat(expected), flat(outputs) - flat(expected)),
            own_snr_db=signal_to_noise(flat([exact[name] for name in noise]), flat(list(noise.values()))),
        )

    def _in_floats(self, row: Row, inputs: Values) -> Values:
        """What the network in floating point makes of an operation's own inputs."""
        values = dict(inputs)
        for node in (self._floats[each.name] for each in row.nodes):
            values.update(zip(node.outputs, apply(node, [values[name] for name in node.inputs]), strict=True))
        return values

    def _take(self, index: int) -> Arrays:
        while index not in self._arrived:
            arrived, arrays = next(self._computed)
            self._arrived[arrived] = arrays
        return self._arrived.pop(index)


def _layer(row: Row, type_: str, *, cumulative: float, local: float, bound: float, cause: str) -> Layer:
    """A row under the name of what has weights in it, where operations are fused."""
    node = next((node for node in row.named if node.weights), row.node)
    fused = tuple(each.name for each in row.named if each is not node)
    return Layer(
        name=node.name,
        op=node.op,
        place=place(node.name),
        type=type_,
        fused=fused,
        cumulative=cumulative,
        local=local,
        bound=bound,
        cause=cause,
    )


def _last_uses(graph: Graph, alignment: Alignment) -> dict[str, list[str]]:
    """For each operation the values that nothing needs after it."""
    last = {}
    for node in graph.nodes:
        row = alignment.rows.get(node.name)
        last.update(dict.fromkeys((*node.inputs, *(row.inputs if row else ())), node.name))
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
    """The largest absolute error of all values, of their largest magnitude; infinite where one is not finite."""
    found, reference = flat(actual), flat(expected)
    error = float((found - reference).abs().max() / _scale(reference))
    return error if isfinite(error) else inf


def _scale(reference: Tensor) -> Tensor:
    largest = reference.abs().nan_to_num(0.0, posinf=0.0).max()
    return largest if largest > 0 else torch.ones_like(largest)
