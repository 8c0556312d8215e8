"""Each exporter handles each graph operation or gives the reason why it is unsupported."""

from __future__ import annotations

import pytest

from evim_deploy.graph.ops import OPS
from evim_deploy.quantise.placement import VIEWS
from evim_deploy.quantise.quantise_graph import VECTORS
from evim_deploy.quantise.schemes import SCHEMES, WEIGHTED
from exporters.coreml import graph as coreml
from exporters.onnx import graph as onnx
from exporters.tflite import graph as tflite
from exporters.tflite import integers

EXPORTERS = {"onnx": onnx, "coreml": coreml, "tflite": tflite, "tflite in integers": integers}


@pytest.mark.parametrize("name", EXPORTERS)
def test_each_operation_is_either_handled_or_unsupported(name: str) -> None:
    exporter = EXPORTERS[name]
    assert exporter.HANDLERS.keys() | exporter.REFUSED.keys() == OPS.keys()
    assert not exporter.HANDLERS.keys() & exporter.REFUSED.keys()
    assert all(exporter.REFUSED.values())


@pytest.mark.parametrize("precision", ["int8", "dynamic"])
def test_quantised_onnx_replaces_handlers_without_removing_any(precision: str) -> None:
    handlers = onnx._handlers(SCHEMES["onnx", precision])
    assert handlers.keys() == onnx.HANDLERS.keys()
    assert handlers != onnx.HANDLERS


def test_quantisation_refers_to_known_operations() -> None:
    assert WEIGHTED | {*VECTORS, *VIEWS} <= OPS.keys()
    for scheme in SCHEMES.values():
        assert scheme.integer_ops | scheme.float_output_ops | scheme.symmetric_inputs.keys() <= OPS.keys()
