"""The end of an ONNX classifier: its logits or its probabilities, and the activation between the two.

An exporter may end a file in its logits, in a Softmax or Sigmoid of them, or in the same activation written out in
simpler operations, with casts and reshapes after it. The graph proposes the logits, and the file's own outputs decide:
an activation counts only if it turns the proposed logits into the file's outputs, and outputs that are probabilities
already get no second activation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from evim_deploy.catalog.terms import Activation
from evim_deploy.common.errors import BadInput
from evim_deploy.common.numerics import ACTIVATIONS

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

    from evim_deploy.networks.protocols import Array

LOGITS, PROBABILITIES = "logits", "probabilities"

Compute = Callable[[Sequence[str]], list["Array"]]
"""Computes values of a graph by their names, each (N, ...) for the same N images."""

_KEEPS_ORDER = ("Identity", "Cast", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Dropout")
"""Operations that keep the elements of a row of classes and their order."""

_SUM_ERROR = 1e-3
"""Tolerance of the sum of a row of probabilities: the rounding of a thousand float16 values."""

SAME = 1e-5
"""Tolerance between probabilities computed from the logits and the file's own: float32's rounding."""

_REMEDY = "Export the network with its logits as the output, or with Softmax or Sigmoid as its last operation."


@dataclass(frozen=True, kw_only=True)
class Ending:
    """The end of a classifier.

    Attributes:
        value: Name of the value at which the network is cut; its elements for one image are the classes.
        output: The meaning of this value, ``logits`` or ``probabilities``.
        activation: Function from logits to probabilities, a key of :data:`~evim_deploy.common.numerics.ACTIVATIONS`.
        is_applied: Whether the file's output is probabilities.
        axes: Rank of the value: 2 for (B, classes), more with axes of length 1.
        num_classes: Number of classes.
    """

    value: str
    output: str
    activation: str
    is_applied: bool
    axes: int
    num_classes: int

    @property
    def note(self) -> str:
        """One line about an unusual end; empty for a usual one."""
        if self.activation == Activation.SIGMOID:
            return "ends in a sigmoid: a multi-label classifier, each class has a probability of its own"
        if self.output == PROBABILITIES:
            return "has probabilities as its output, and its logits were not found: the artifact has the same output"
        return ""

    def cut(self, graph: GraphProto) -> GraphProto:
        """A copy of the graph that ends at the value, as (B, classes)."""
        import onnx

        copied = onnx.GraphProto()
        copied.CopyFrom(graph)
        (output,) = copied.output
        output.CopyFrom(onnx.ValueInfoProto(name=self.value))
        if self.axes != 2:
            output.name = f"{self.value}/classes"
            copied.node.append(onnx.helper.make_node("Flatten", [self.value], [output.name], axis=1))
        return copied


def find_ending(graph: GraphProto, compute: Compute, path: str) -> Ending:
    """The end of a graph with one output.

    Args:
        graph: An ``onnx.GraphProto``.
        compute: Computes values of the graph for images that differ from each other.
        path: Path of the file, for messages.

    Raises:
        BadInput: The output is not one row of at least two numbers for each image, or neither logits nor probabilities.
    """
    (output,) = (each.name for each in graph.output)
    (own,) = compute([output])
    answers = _rows(own, path)  # (N, classes)
    classes = answers.shape[1]
    for activation, value in _proposed(graph, output):
        logits = compute([value])[0]
        if logits.size == answers.size and max(logits.shape[1:], default=0) == classes:
            probabilities = ACTIVATIONS[activation](logits.reshape(answers.shape))
            if np.abs(probabilities - answers).max() <= SAME:
                return Ending(
                    value=value,
                    output=LOGITS,
                    activation=activation,
                    is_applied=True,
                    axes=logits.ndim,
                    num_classes=classes,
                )
    sums = answers.sum(1)
    if answers.min() >= -_SUM_ERROR and np.abs(sums - 1).max() <= _SUM_ERROR:
        return Ending(
            value=output,
            output=PROBABILITIES,
            activation=Activation.SOFTMAX,
            is_applied=True,
            axes=own.ndim,
            num_classes=classes,
        )
    if answers.min() < 0 or (answers.max() > 1 and np.ptp(sums) > _SUM_ERROR * sums.max()):
        return Ending(
            value=output,
            output=LOGITS,
            activation=Activation.SOFTMAX,
            is_applied=False,
            axes=own.ndim,
            num_classes=classes,
        )
    raise BadInput(
        f"The output of {path} is neither logits nor probabilities: for {len(answers)} images it is between "
        f"{answers.min():.3g} and {answers.max():.3g}, and its sum is between {sums.min():.3g} and {sums.max():.3g}.",
        _REMEDY,
    )


def _rows(answers: Array, path: str) -> Array:
    """Outputs (N, classes), from any shape with one axis longer than 1.

    Raises:
        BadInput: They have another shape, less than two classes, or a value that is not finite.
    """
    shape = answers.shape[1:]
    classes = int(np.prod(shape))
    if not shape or max(shape) != classes:
        raise BadInput(
            f"The output of {path} has the shape {('B', *shape)}, and not one row of classes for each image.",
            "Export a classifier with one output (B, classes).",
        )
    if classes < 2:
        raise BadInput(
            f"num_classes must be at least 2, got 1: {path} gives one number for each image.",
            "Export a classifier of two classes with two logits. For one logit x these are 0 and x.",
        )
    if not np.isfinite(answers).all():
        raise BadInput(
            f"{path} gives values that are not finite for ordinary images.",
            "Check the file in ONNX Runtime. If its images need another normalisation, give --mean and --std.",
        )
    return answers.reshape(len(answers), classes)


def _proposed(graph: GraphProto, output: str) -> Iterator[tuple[str, str]]:
    """Possible last activations of the graph, each with the name of the logits."""
    view = _View(graph)
    last = view.node(output)
    if last is None:
        return
    if last.op_type in _OPERATIONS:
        yield _OPERATIONS[last.op_type], last.input[0]
    for written in (_exponentials_by_sum, _exponential_of_log, _sigmoid):
        yield from written(view, last)


_OPERATIONS = {"Softmax": Activation.SOFTMAX, "Sigmoid": Activation.SIGMOID}


class _View:
    """The producers of a graph's values, without the operations that keep the order of elements."""

    def __init__(self, graph: GraphProto) -> None:
        self._producers: Mapping[str, NodeProto] = {name: node for node in graph.node for name in node.output}

    def node(self, name: str, *kinds: str) -> NodeProto | None:
        """The producer of a value; None for an input or weights, or for an operation of another kind than asked for."""
        producer = self._producers.get(name)
        while producer is not None and producer.op_type in _KEEPS_ORDER:
            producer = self._producers.get(producer.input[0])
        return producer if producer is not None and (not kinds or producer.op_type in kinds) else None

    def operands(self, node: NodeProto, *kinds: str) -> Iterator[NodeProto]:
        """The producers of a node's inputs that are of some kinds."""
        return (each for name in node.input if (each := self.node(name, *kinds)) is not None)


def _exponentials_by_sum(view: _View, last: NodeProto) -> Iterator[tuple[str, str]]:
    """``exp(x - max x) / sum``, or multiplied by the reciprocal of the sum."""
    if last.op_type not in ("Div", "Mul"):
        return
    for exponential in view.operands(last, "Exp"):
        shifted = view.node(exponential.input[0], "Sub")
        if shifted is not None and view.node(shifted.input[1], "ReduceMax") is not None:
            yield Activation.SOFTMAX, shifted.input[0]
        yield Activation.SOFTMAX, exponential.input[0]


def _exponential_of_log(view: _View, last: NodeProto) -> Iterator[tuple[str, str]]:
    """``exp(logsoftmax x)``, or ``exp(x - logsumexp x)``."""
    if last.op_type != "Exp":
        return
    if (inner := view.node(last.input[0], "LogSoftmax", "Sub")) is not None:
        yield Activation.SOFTMAX, inner.input[0]
    yield Activation.SOFTMAX, last.input[0]


def _sigmoid(view: _View, last: NodeProto) -> Iterator[tuple[str, str]]:
    """``1 / (1 + exp(-x))``"""
    if last.op_type not in ("Div", "Reciprocal"):
        return
    for total in view.operands(last, "Add"):
        for exponential in view.operands(total, "Exp"):
            if (negative := view.node(exponential.input[0], "Neg")) is not None:
                yield Activation.SIGMOID, negative.input[0]
