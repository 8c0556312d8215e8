"""Compare the weights that a file stores with those of its reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from torch import nn

from evim_deploy.artifact.parity import StoredWeights
from evim_deploy.artifact.target import Target
from evim_deploy.artifact.trace import TracedOperation
from evim_deploy.graph.ir import Graph
from evim_deploy.graph.quantised import Array
from evim_deploy.networks.protocols import Reference, is_lowered
from evim_deploy.proof.operations.alignment import computed
from evim_deploy.proof.operations.mismatched_weights import StoredArray, beside, nearest


def compare_stored(reference: Reference, target: Target, operations: Sequence[TracedOperation]) -> StoredWeights:
    """Compare the weights in an artifact's file with those that its reference stores for the target."""
    if is_lowered(reference):
        return compare_weights(reference.stored_form(target), operations)
    stored = cast("nn.Module", reference.stored_form(target))
    return compare_arrays({name: value.numpy() for name, value in stored.named_parameters()}, operations)


def compare_weights(graph: Graph, operations: Sequence[TracedOperation]) -> StoredWeights:
    """All weights of a file, each under its name in the graph.

    Args:
        graph: What was exported, its weights at values that the file's type has.
        operations: Of the file.
    """
    compared, changed = 0, []
    for value in computed(graph, operations).values():
        stored = [array for index in value.operations for array in operations[index].weights]
        for node in (node for node in graph.nodes if node.name in value.named):
            found = beside([node], stored)
            compared += len(found)
            changed += [f"{node.name}, {stale}" for stale in found if stale.differing]
    return StoredWeights(sum(len(node.weights) for node in graph.nodes), compared, tuple(changed))


def compare_arrays(weights: Mapping[str, Array], operations: Sequence[TracedOperation]) -> StoredWeights:
    """Weights by name against all arrays of a file whose operations have names of their own.

    A converter may give an operation other weights, such as their product with what follows. Where more than one
    value in a hundred is not the file's, that is taken to be so, and the outputs alone tell of the array.

    Args:
        weights: What was exported, by module and parameter (``layer.weight``), at values that the file's type has.
        operations: Of the file.
    """
    stored = [StoredArray(array) for operation in operations for array in operation.weights]
    closest = {name: nearest(name.rpartition(".")[2], array, stored) for name, array in weights.items()}
    kept = {name: stale for name, stale in closest.items() if stale and stale.differing <= _few(stale.size)}
    changed = tuple(f"{name.rpartition('.')[0]}, {stale}" for name, stale in kept.items() if stale.differing)
    return StoredWeights(len(weights), len(kept), changed)


def _few(size: int) -> int:
    """Of an array's values as many as may differ in the same array: one of two at the least."""
    return max(min(1, size - 1), size // 100)
