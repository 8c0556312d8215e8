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
from evim_deploy.proof.operations.alignment import values_in_file
from evim_deploy.proof.operations.mismatched_weights import StoredArray, closest, compare_with_stored


def compare_stored(reference: Reference, target: Target, operations: Sequence[TracedOperation]) -> StoredWeights:
    """Compare the weights in an artifact's file with those that its reference stores for the target."""
    if is_lowered(reference):
        return compare_weights(reference.stored_form(target), operations)
    stored = cast("nn.Module", reference.stored_form(target))
    return compare_arrays({name: value.numpy() for name, value in stored.named_parameters()}, operations)


def compare_weights(graph: Graph, operations: Sequence[TracedOperation]) -> StoredWeights:
    """Compare all weights of a file with a graph's, each under its name in the graph.

    Args:
        graph: The exported graph, its weights rounded to the file's type.
        operations: The file's operations.
    """
    compared, changed = 0, []
    for value in values_in_file(graph, operations).values():
        stored = [array for index in value.operations for array in operations[index].weights]
        for node in (node for node in graph.nodes if node.name in value.named):
            comparisons = compare_with_stored([node], stored)
            compared += len(comparisons)
            changed += [f"{node.name}, {each}" for each in comparisons if each.differing]
    return StoredWeights(sum(len(node.weights) for node in graph.nodes), compared, tuple(changed))


def compare_arrays(weights: Mapping[str, Array], operations: Sequence[TracedOperation]) -> StoredWeights:
    """Compare weights by name with all arrays of a file that has its own names for operations.

    A converter may change an operation's weights, for example by folding a factor into them. If more than one value
    in a hundred differs from the closest array, that is assumed, and only the outputs check the array.

    Args:
        weights: The exported weights by module and parameter (``layer.weight``), rounded to the file's type.
        operations: The file's operations.
    """
    stored = [StoredArray(array) for operation in operations for array in operation.weights]
    matches = {name: closest(name.rpartition(".")[2], array, stored) for name, array in weights.items()}
    compared = {name: each for name, each in matches.items() if each and each.differing <= _few(each.size)}
    changed = tuple(f"{name.rpartition('.')[0]}, {each}" for name, each in compared.items() if each.differing)
    return StoredWeights(len(weights), len(compared), changed)


def _few(size: int) -> int:
    """Number of values that may differ in an array of a size for it to be the same array; at least one of two."""
    return max(min(1, size - 1), size // 100)
