"""The values of an artifact under the graph's names, computed by its trace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np
import torch
from torch import Tensor

from evim_deploy.artifact.trace import Arrays, Trace
from evim_deploy.graph.interpreter import fake_quantise
from evim_deploy.graph.ir import Graph
from evim_deploy.proof.operations.alignment import Alignment, MatchedOp
from evim_deploy.proof.operations.arithmetic import apply
from evim_deploy.proof.operations.op_comparison import OpComparison, compare_op

Values = dict[str, Tensor]
Shapes = Mapping[str, tuple[int, ...]]


class TracedArtifact:
    """An artifact's values, read from its trace in the order of its operations.

    Args:
        graph: The rewritten graph in floating point.
        exported: The graph with the artifact's weights.
        alignment: The artifact's operations matched with the graph's.
        trace: The artifact's trace.
        shapes: Shapes of the graph's values.
        pixels: The image, (B, 3, H, W), float64.

    Attributes:
        is_quantised: Whether weights or activations are quantised.
        values: The values read so far, by name, float64.
        noises: For a quantised artifact, the noise that each layer adds on its own inputs, by name.
    """

    def __init__(
        self, *, graph: Graph, exported: Graph, alignment: Alignment, trace: Trace, shapes: Shapes, pixels: Tensor
    ) -> None:
        self.is_quantised = bool(exported.qparams) or any(node.encodings for node in exported.nodes)
        self.noises: dict[str, Values] = {}
        self._qparams = exported.qparams
        self._float_nodes = {node.name: node for node in graph.nodes} if self.is_quantised else {}
        self._operations = trace.operations
        sizes = {
            op.operations[-1]: sum(4 * prod(shapes[name]) for name in op.node.outputs)
            for op in alignment.matched.values()
        }
        if alignment.image is not None:
            sizes[alignment.image] = 4 * pixels.numel()
        self._computed = trace.compute(dict(sorted(sizes.items())))
        self._arrived: dict[int, Arrays] = {}
        self.values: Values = fake_quantise({graph.input_name: pixels}, self._qparams)
        if alignment.image is not None:
            (image,) = self._take(alignment.image)
            self.values[graph.input_name] = torch.from_numpy(image.astype(np.float64)).reshape(pixels.shape)

    def type_of(self, op: MatchedOp) -> str:
        """Type of the file's operation that computes a value."""
        return self._operations[op.operations[-1]].type

    def outputs(self, op: MatchedOp, expected: Sequence[Tensor]) -> Sequence[Tensor] | str:
        """Read an operation's outputs into :attr:`values`; their shapes in words if these are wrong.

        With wrong shapes the expected values take their place, so that later operations are compared.
        """
        arrays = self._take(op.operations[-1])
        if [array.size for array in arrays] != [value.numel() for value in expected]:
            self.values.update(zip(op.node.outputs, expected, strict=True))
            return " and ".join(str(array.shape) for array in arrays)
        outputs = [
            torch.from_numpy(array.astype(np.float64)).reshape(value.shape)
            for array, value in zip(arrays, expected, strict=True)
        ]
        self.values.update(zip(op.node.outputs, outputs, strict=True))
        return outputs

    def compare(self, op: MatchedOp, outputs: Sequence[Tensor]) -> OpComparison:
        """Compare an operation with the reference operation on the artifact's own inputs."""
        return compare_op(
            op,
            traced=[self._operations[index] for index in op.operations],
            inputs=self._inputs(op),
            outputs=outputs,
            qparams=self._qparams,
        )

    def measure_noise(self, op: MatchedOp) -> tuple[list[Tensor], list[Tensor]]:
        """The floating-point outputs of an operation on its own inputs, and the artifact's difference from them."""
        values = self._inputs(op)
        for node in (self._float_nodes[each.name] for each in op.nodes):
            values.update(zip(node.outputs, apply(node, [values[name] for name in node.inputs]), strict=True))
        noise = {name: self.values[name] - values[name] for name in op.node.outputs}
        self.noises[op.node.name] = {name: lost.float() for name, lost in noise.items()}
        return [values[name] for name in noise], list(noise.values())

    def _inputs(self, op: MatchedOp) -> Values:
        return {name: self.values[name] for name in op.inputs}

    def _take(self, index: int) -> Arrays:
        while index not in self._arrived:
            arrived, arrays = next(self._computed)
            self._arrived[arrived] = arrays
        return self._arrived.pop(index)
