"""The table of operations: its evaluations, shapes and rounding errors are complete, and agree."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from evim_deploy.graph.interpreter import HANDLERS
from evim_deploy.graph.ir import Attribute, Node
from evim_deploy.graph.ops import INTEGER_FORM_OPS, OPS
from evim_deploy.proof.operations.arithmetic import ERROR_MODELS, apply, magnitudes, roundoffs

BATCH, CHANNELS, STATES, HEIGHT, WIDTH = 2, 4, 3, 5, 6
TOKENS = HEIGHT * WIDTH
MAP = (BATCH, CHANNELS, HEIGHT, WIDTH)
SEQUENCE = (BATCH, CHANNELS, TOKENS)
STATE = (BATCH, CHANNELS, STATES)
VECTOR = (BATCH, CHANNELS)


@dataclass(frozen=True)
class Example:
    """Input and weight shapes of one operation, and its attributes."""

    inputs: tuple[tuple[int, ...], ...]
    weights: dict[str, tuple[int, ...]] = field(default_factory=dict)
    attributes: dict[str, Attribute] = field(default_factory=dict)
    outputs: int = 1


NORM = {"gamma": (CHANNELS,), "beta": (CHANNELS,), "mean": (CHANNELS,), "variance": (CHANNELS,)}
STRIDED: dict[str, Attribute] = {"stride": 2, "padding": 1, "groups": 2}

EXAMPLES: dict[str, list[Example]] = {
    "conv": [Example((MAP,), {"kernel": (6, 2, 3, 3), "bias": (6,)}, STRIDED)],
    "pointwise_conv": [Example((STATE,), {"kernel": (7, CHANNELS)})],
    "linear": [Example((VECTOR,), {"kernel": (7, CHANNELS), "bias": (7,)})],
    "batch_norm": [Example((MAP,), NORM, {"eps": 1e-5})],
    "layer_norm": [Example((MAP,), attributes={"eps": 1e-5}), Example((STATE,), attributes={"eps": 1e-5})],
    "scale": [Example((MAP,), {"scale": (CHANNELS,)}), Example((VECTOR,), {"scale": (1,)})],
    "shift": [Example((STATE,), {"bias": (CHANNELS,)}), Example((MAP,), {"bias": (1,)})],
    "add": [Example((MAP, MAP)), Example(((BATCH, CHANNELS, 1, 1), MAP))],
    "subtract": [Example((SEQUENCE, (BATCH, CHANNELS, 1)))],
    "multiply": [
        Example((MAP, (BATCH, 1, HEIGHT, WIDTH))),
        Example(((BATCH, 1, TOKENS), SEQUENCE)),
        Example((SEQUENCE, (BATCH, CHANNELS, 1))),
    ],
    "relu": [Example((MAP,))],
    "sigmoid": [Example((MAP,))],
    "silu": [Example((STATE,))],
    "exp": [Example((SEQUENCE,))],
    "power": [Example((MAP,), attributes={"eps": 1e-5, "exponent": -0.5})],
    "softmax_tokens": [Example((SEQUENCE,)), Example((SEQUENCE,), attributes={"spread": True})],
    "softmax_channels": [Example((VECTOR,))],
    "split": [Example((SEQUENCE,), attributes={"sections": (1, 3)}, outputs=2)],
    "concat": [Example((VECTOR, (BATCH, 7)))],
    "flatten": [Example((MAP,))],
    "unflatten": [Example(((BATCH, STATES, TOKENS), MAP))],
    "state_update": [Example((SEQUENCE, (BATCH, STATES, TOKENS)))],
    "state_readout": [Example((STATE, (BATCH, STATES, TOKENS)))],
    "sum_tokens": [Example((SEQUENCE,)), Example((SEQUENCE,), attributes={"keep": True})],
    "max_tokens": [Example((SEQUENCE,))],
    "mean": [Example((MAP,), attributes={"keep": keep}) for keep in (True, False)],
    "mean_channels": [Example((MAP,))],
}

NEGATIVE, POSITIVE = ("exp",), ("power", "variance")
"""Operations of one sign of input, and weights that are positive."""

by_example = pytest.mark.parametrize(
    ("op", "example"), [(op, example) for op, examples in EXAMPLES.items() for example in examples]
)


def drawn(op: str, example: Example) -> tuple[Node, list[Tensor]]:
    generator = np.random.default_rng(0)

    def array(name: str, shape: tuple[int, ...]) -> Any:
        values = generator.normal(size=shape)
        return -abs(values) if name in NEGATIVE else abs(values) if name in POSITIVE else values

    node = Node(
        op=op,
        inputs=tuple(f"x{index}" for index in range(len(example.inputs))),
        outputs=tuple(f"y{index}" for index in range(example.outputs)),
        weights={name: array(name, shape) for name, shape in example.weights.items()},
        attributes=example.attributes,
    )
    return node, [torch.from_numpy(array(op, shape)) for shape in example.inputs]


def test_each_operation_has_one_evaluation_one_error_model_and_an_example() -> None:
    assert HANDLERS.keys() == OPS.keys()
    assert ERROR_MODELS.keys() == OPS.keys()
    assert EXAMPLES.keys() == OPS.keys()
    assert OPS.keys() > INTEGER_FORM_OPS


@by_example
def test_the_shape_rule_gives_the_shapes_of_the_evaluation(op: str, example: Example) -> None:
    node, inputs = drawn(op, example)
    assert OPS[op].fault(node) == ""
    outputs = apply(node, inputs)
    assert [tuple(output.shape) for output in outputs] == [*OPS[op].shapes(node, example.inputs)]


def test_axes_that_do_not_broadcast_are_refused() -> None:
    node, _ = drawn("add", EXAMPLES["add"][0])
    with pytest.raises(ValueError, match="y0: axes of 5 and 6 do not broadcast"):
        OPS["add"].shapes(node, [MAP, (BATCH, CHANNELS, 6, WIDTH)])
    assert OPS["add"].shapes(node, [("B", 4, "H", "W"), ("B", 1, "H", "W")]) == [("B", 4, "H", "W")]


@by_example
def test_the_error_model_bounds_the_rounding_error_of_float32(op: str, example: Example) -> None:
    node, inputs = drawn(op, example)
    inputs = [value.float().double() for value in inputs]
    single = {name: array.astype(np.float32) for name, array in node.weights.items()}
    node = node.with_weights(**{name: array.astype(np.float64) for name, array in single.items()})
    exact = apply(node, inputs)
    sizes = magnitudes(node, inputs, [value.abs() for value in inputs], exact)
    weights = {name: torch.from_numpy(array) for name, array in single.items()}
    outputs = HANDLERS[op](node, weights, *(value.float() for value in inputs))
    rounded = outputs if isinstance(outputs, tuple) else (outputs,)
    unit = torch.finfo(torch.float32).eps
    for output, size, value in zip(exact, sizes, rounded, strict=True):
        assert output.shape == size.shape
        assert bool((size >= 0).all())
        explained = 4 * (roundoffs(node, inputs) * size + output.abs()) * unit
        assert bool(((value.double() - output).abs() <= explained + torch.finfo(torch.float32).tiny).all())


@by_example
def test_the_error_model_is_not_far_above_the_values(op: str, example: Example) -> None:
    """A magnitude that explains anything would hide a wrong value."""
    node, inputs = drawn(op, example)
    outputs = apply(node, inputs)
    for size in magnitudes(node, inputs, [value.abs() for value in inputs], outputs):
        assert float(size.max()) < 100 * (1 + max(float(value.abs().max()) for value in (*inputs, *outputs)))
