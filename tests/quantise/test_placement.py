"""Inputs and outputs of integer operations are quantised, except where their layers stay in floating point."""

from __future__ import annotations

import pytest
from quantisation import INTEGERS

from evim_deploy.graph.ir import Graph
from evim_deploy.quantise.placement import VIEWS, quantisable_layers, quantised_values
from evim_deploy.quantise.schemes import SCHEMES, WEIGHTED


def test_inputs_and_outputs_of_integer_operations_are_quantised(graph: Graph) -> None:
    values = quantised_values(graph, INTEGERS)
    consumers = {node.name: graph.sole_consumer(node.name) for node in graph.nodes if node.op in WEIGHTED}
    before_relus = {name for name, consumer in consumers.items() if consumer is not None and consumer.op == "relu"}
    assert before_relus
    for node in graph.nodes:
        if node.op in INTEGERS.integer_ops:
            assert values.keys() >= {*node.inputs, *node.outputs} - before_relus, node.name
    assert not values.keys() & before_relus
    assert quantised_values(graph, INTEGERS).keys() >= {graph.input_name}


def test_a_view_has_the_root_of_its_input(graph: Graph) -> None:
    values = quantised_values(graph, INTEGERS)
    views = [node for node in graph.nodes if node.op in VIEWS and node.inputs[0] in values]
    assert views
    for node in views:
        assert {values[output] for output in node.outputs} == {values[node.inputs[0]]}


def test_values_of_float_layers_are_not_quantised(graph: Graph) -> None:
    name = next(node.name for node in graph.nodes if node.op == "conv" and "dwconv1" in node.name)
    layers = quantisable_layers(graph, INTEGERS)
    before, after = (quantised_values(graph, INTEGERS, float_layers) for float_layers in ((), layers))
    assert name in before
    assert not after


def test_a_fused_relu_follows_its_producer(graph: Graph) -> None:
    conv = next(
        node
        for node in graph.nodes
        if (consumer := graph.sole_consumer(node.name)) is not None and consumer.op == "relu"
    )
    relu = graph.sole_consumer(conv.name)
    assert relu is not None
    others = [name for name in quantisable_layers(graph, INTEGERS) if name != conv.name]
    assert relu.name in quantised_values(graph, INTEGERS, others)
    assert relu.name not in quantised_values(graph, INTEGERS, [*others, conv.name])
    assert relu.name not in quantisable_layers(graph, INTEGERS)


@pytest.mark.parametrize("name", [name for name, row in SCHEMES.items() if row.is_calibrated], ids=" ".join)
def test_with_all_layers_in_floating_point_no_value_is_quantised(graph: Graph, name: tuple[str, str]) -> None:
    prepared = graph
    for prepare in SCHEMES[name].prepare:
        prepared = prepare(prepared)
    assert quantised_values(prepared, SCHEMES[name])
    assert not quantised_values(prepared, SCHEMES[name], quantisable_layers(prepared, SCHEMES[name]))
