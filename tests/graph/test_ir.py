"""The methods of a graph, its shapes, and the lowering of the reference."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from networks import normalise, pixels, random_tiny, relative_gap

from evim_deploy.graph.interpreter import evaluate, run
from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.ops import infer_shapes, validate
from evim_deploy.graph.rewrites import reparameterise
from evim_deploy.graph.shapes import Axis, Shape
from evim_deploy.networks.efficientvim.lowering import FEATURE_OUTPUTS, lower

TOLERANCE = 1e-12
ONE = np.ones(1)
TASKS = (("classify", "logits"), ("classify", "probabilities"), ("features", "logits"))


def diamond() -> Graph:
    """x ── relu r ─┬─ sigmoid s ─┬─ add y
    └─ silu t ────┘
    """
    graph = Graph("x")
    graph.add("relu", ["x"], "r")
    graph.add("sigmoid", ["r"], "s")
    graph.add("silu", ["r"], "t")
    graph.outputs = {"out": graph.add("add", ["s", "t"], "y")}
    return graph


def wiring(graph: Graph) -> dict[str, tuple[str, ...]]:
    """The inputs of each operation, in order."""
    return {node.name: node.inputs for node in graph.nodes}


# --- the methods -----------------------------------------------------------------------------------


def test_a_node_is_named_after_its_first_output() -> None:
    graph = Graph("x")
    assert graph.add("split", ["x"], "a", outputs=("a", "b"), sections=(1, 2)) == "a"
    (node,) = graph.nodes
    assert (node.op, node.inputs, node.outputs) == ("split", ("x",), ("a", "b"))
    assert (node.weights, node.attributes) == ({}, {"sections": (1, 2)})
    assert graph.producer("b") is node
    assert graph.producer("x") is None


def test_with_weights_leaves_the_original() -> None:
    node = Node(
        op="conv", inputs=("x",), outputs=("y",), weights={"kernel": np.ones((2, 2, 1, 1))}, attributes={"stride": 1}
    )
    changed = node.with_weights(bias=np.zeros(2))
    assert set(changed.weights) == {"kernel", "bias"}
    assert set(node.weights) == {"kernel"}
    assert (changed.op, changed.inputs, changed.outputs, changed.attributes) == ("conv", ("x",), ("y",), {"stride": 1})


@pytest.mark.parametrize(
    ("op", "channels", "groups", "depthwise"),
    [
        ("conv", 4, 4, True),
        ("conv", 4, 2, False),
        ("conv", 4, 1, False),
        ("conv", 1, 1, False),
        ("linear", 4, 4, False),
    ],
)
def test_is_depthwise(op: str, channels: int, groups: int, depthwise: bool) -> None:
    node = Node(
        op=op,
        inputs=("x",),
        outputs=("y",),
        weights={"kernel": np.ones((channels, 1, 3, 3))},
        attributes={"groups": groups},
    )
    assert node.is_depthwise is depthwise


def test_nodes_are_compared_by_identity() -> None:
    kernel = np.ones((2, 2, 1, 1))
    node, other = (Node(op="conv", inputs=("x",), outputs=("y",), weights={"kernel": kernel}) for _ in range(2))
    assert node != other
    assert {node, other} == {other, node}


def test_producers_and_consumers_follow_each_change() -> None:
    graph = diamond()
    silu = graph.producer("t")
    assert silu is not None
    graph.substitute(silu, Node(op="relu", inputs=("s",), outputs=("t",)))
    assert [node.name for node in graph.consumers("r")] == ["s"]
    assert [node.name for node in graph.consumers("s")] == ["t", "y"]
    graph.add("multiply", ["y", "y"], "z")
    assert [node.name for node in graph.consumers("y")] == ["z"]
    graph.reconnect("s", "r")
    assert [node.name for node in graph.consumers("r")] == ["s", "t", "y"]
    graph.prune()
    assert graph.producer("z") is None
    assert graph.consumers("y") == ()


def test_consumers_and_the_sole_consumer() -> None:
    graph = diamond()
    assert [node.name for node in graph.consumers("r")] == ["s", "t"]
    assert graph.sole_consumer("r") is None
    assert graph.sole_consumer("s") is graph.producer("y")
    assert graph.sole_consumer("y") is None
    assert graph.is_output("y")
    graph.outputs["early"] = "s"
    assert graph.sole_consumer("s") is None


def test_last_uses() -> None:
    graph = diamond()
    assert graph.last_uses() == {"r": ["x"], "t": ["r"], "y": ["s", "t"]}
    graph.outputs["early"] = "s"
    graph.add("split", ["t"], "a", outputs=("a", "b"), sections=(1, 2))
    assert graph.last_uses() == {"r": ["x"], "t": ["r"], "a": ["t", "a", "b"]}


def test_outputs_are_those_of_a_run_with_all_values() -> None:
    graph, image = lower(random_tiny(1), "features", "logits", True), pixels(1, 64, 48)
    values = run(graph, image)
    outputs = evaluate(graph, image)
    assert outputs.keys() == graph.outputs.keys()
    assert all(torch.equal(outputs[name], values[value]) for name, value in graph.outputs.items())


def test_a_copy_is_independent() -> None:
    graph = diamond()
    copy = graph.copy()
    copy.add("relu", ["y"], "z")
    copy.outputs["more"] = "z"
    assert list(wiring(graph)) == ["r", "s", "t", "y"]
    assert graph.outputs == {"out": "y"}


def test_substitute_preserves_the_position() -> None:
    graph = diamond()
    graph.substitute(
        graph.nodes[1],
        Node(op="relu", inputs=("r",), outputs=("q",)),
        Node(op="sigmoid", inputs=("q",), outputs=("s",)),
    )
    assert list(wiring(graph)) == ["r", "q", "s", "t", "y"]
    validate(graph)


def test_reconnect_moves_consumers_and_outputs() -> None:
    graph = diamond()
    graph.outputs |= {"early": "s", "same": "s"}
    graph.reconnect("s", "r")
    assert wiring(graph) == {"r": ("x",), "s": ("r",), "t": ("r",), "y": ("r", "t")}
    assert graph.outputs == {"out": "y", "early": "r", "same": "r"}


def test_bypass_joins_the_neighbours() -> None:
    graph = diamond()
    graph.outputs["early"] = "r"
    graph.bypass(graph.nodes[0])
    assert wiring(graph) == {"s": ("x",), "t": ("x",), "y": ("s", "t")}
    assert graph.outputs == {"out": "y", "early": "x"}


def test_prune_preserves_the_operations_that_outputs_depend_on() -> None:
    graph = diamond()
    graph.outputs = {"out": "t"}
    graph.prune()
    assert list(wiring(graph)) == ["r", "t"]


def test_prune_preserves_a_split_for_its_second_output() -> None:
    graph = Graph("x")
    graph.add("split", ["x"], "a", outputs=("a", "b"), sections=(1, 2))
    graph.add("relu", ["a"], "unused")
    graph.outputs = {"out": "b"}
    graph.prune()
    assert list(wiring(graph)) == ["a"]


def test_counts() -> None:
    graph = diamond()
    graph.add("relu", ["y"], "z")
    assert graph.counts() == Counter(relu=2, sigmoid=1, silu=1, add=1)


@pytest.mark.parametrize(
    ("nodes", "outputs", "message"),
    [
        ([Node(op="gelu", inputs=("x",), outputs=("y",))], {}, "y: unknown operation 'gelu'"),
        (
            [Node(op="relu", inputs=("z",), outputs=("y",)), Node(op="relu", inputs=("x",), outputs=("z",))],
            {},
            r"y: reads \['z'\] before they are computed",
        ),
        (
            [Node(op="relu", inputs=("x",), outputs=("y",)), Node(op="silu", inputs=("x",), outputs=("y",))],
            {},
            r"y: computes \['y'\] a second time",
        ),
        ([Node(op="relu", inputs=("x",), outputs=("x",))], {}, r"x: computes \['x'\] a second time"),
        ([Node(op="linear", inputs=("x",), outputs=("y",))], {}, r"y: missing weight \['bias', 'kernel'\] of 'linear'"),
        (
            [Node(op="scale", inputs=("x",), outputs=("y",), weights={"scale": ONE, "bias": ONE})],
            {},
            r"y: unknown weight \['bias'\] of 'scale'",
        ),
        (
            [Node(op="layer_norm", inputs=("x",), outputs=("y",))],
            {},
            r"y: missing attribute \['eps'\] of 'layer_norm'",
        ),
        (
            [Node(op="relu", inputs=("x",), outputs=("y",), attributes={"keep": True})],
            {},
            r"y: unknown attribute \['keep'\] of 'relu'",
        ),
        ([Node(op="relu", inputs=("x",), outputs=("y",))], {"out": "z"}, r"outputs \['z'\] are not computed"),
    ],
    ids=[
        "unknown operation",
        "order",
        "duplicate",
        "input overwritten",
        "missing weight",
        "unknown weight",
        "missing attribute",
        "unknown attribute",
        "missing output",
    ],
)
def test_validate_names_the_fault(nodes: list[Node], outputs: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        validate(Graph("x", nodes, outputs))


# --- shapes ----------------------------------------------------------------------------------------


def lowered(seed: int, task: str, output: str, distilled: bool = False, preprocess: bool = True) -> Graph:
    return lower(random_tiny(seed, distilled=distilled), task, output, preprocess)


@pytest.mark.parametrize(("task", "output"), TASKS)
@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 95), (97, 65), (64, 130)])
@pytest.mark.parametrize("rewritten", [False, True])
def test_shapes_are_those_of_the_values(task: str, output: str, height: int, width: int, rewritten: bool) -> None:
    graph = lowered(height, task, output, distilled=True)
    if rewritten:
        graph, _ = reparameterise(graph)
    image = pixels(width, height, width, batch=2)
    values = {name: tuple(value.shape) for name, value in run(graph, image).items()}
    assert infer_shapes(graph, tuple(image.shape)) == values


def resolve(axis: Axis, sides: dict[str, int]) -> int:
    """The length that a symbolic axis (``H``, ``H/16``, ``H/16*W/16``) stands for."""
    if isinstance(axis, int):
        return axis
    if "*" in axis:
        return math.prod(resolve(side, sides) for side in axis.split("*"))
    name, _, divisor = axis.partition("/")
    return math.ceil(sides[name] / int(divisor or 1))


@pytest.mark.parametrize(("task", "output"), TASKS)
@pytest.mark.parametrize("sides", [{"B": 1, "H": 224, "W": 224}, {"B": 3, "H": 33, "W": 1000}])
def test_symbolic_sides_stand_for_the_integers(task: str, output: str, sides: dict[str, int]) -> None:
    graph, _ = reparameterise(lowered(1, task, output))
    symbolic = infer_shapes(graph, ("B", 3, "H", "W"))
    resolved: dict[str, Shape] = {
        name: tuple(resolve(axis, sides) for axis in shape) for name, shape in symbolic.items()
    }
    assert resolved == infer_shapes(graph, (sides["B"], 3, sides["H"], sides["W"]))


def test_symbolic_sides_are_named() -> None:
    graph = lowered(2, "features", "logits")
    shapes = infer_shapes(graph, (1, 3, "height", "width"))
    assert [shapes[value][2:] for value in graph.outputs.values()] == [
        (f"height/{stride}", f"width/{stride}") for stride in (16, 32, 64)
    ]
    assert shapes["stages.0.blocks.0.mixer.BCdt"][2] == "height/16*width/16"


# --- lowering --------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("preprocess", [False, True])
@pytest.mark.parametrize("distilled", [False, True])
@pytest.mark.parametrize(("task", "output"), TASKS)
def test_the_graph_computes_the_reference(task: str, output: str, distilled: bool, preprocess: bool) -> None:
    for seed in range(3):
        model = random_tiny(seed, distilled=distilled)
        image = pixels(seed, 33 + 16 * seed, 90 - seed, batch=2)
        graph = lower(model, task, output, preprocess)
        actual = evaluate(graph, image if preprocess else normalise(image))
        if task == "features":
            expected = dict(zip(FEATURE_OUTPUTS, model.features(normalise(image)), strict=True))
        else:
            logits = model(normalise(image))
            expected = {output: logits.softmax(1) if output == "probabilities" else logits}
        assert relative_gap(actual, expected) < TOLERANCE


def test_weights_are_float64_whatever_the_model() -> None:
    graph = lower(random_tiny(3).float(), "classify", "logits", preprocess=True)
    assert {array.dtype for node in graph.nodes for array in node.weights.values()} == {np.dtype(np.float64)}


def test_features_leave_out_the_heads() -> None:
    names = set(wiring(lowered(4, "features", "logits")))
    assert not [name for name in names if name.startswith(("heads", "norm"))]
    assert names < set(wiring(lowered(4, "classify", "logits")))


def test_kernels_bear_the_checkpoints_names() -> None:
    model = random_tiny(5, distilled=True)
    kernels = {node.name for node in lower(model, "classify", "logits", True).nodes if "kernel" in node.weights}
    stored = {name.removesuffix(".weight") for name, tensor in model.state_dict().items() if name.endswith(".weight")}
    in_projections = {name.removesuffix(".conv") for name in stored if ".mixer." in name}
    assert (
        kernels == {name for name in stored if "norm" not in name.split(".") and ".mixer." not in name} | in_projections
    )
