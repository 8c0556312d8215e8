"""Give per-channel weights in an ONNX file the batch axis, for onnx2tf.

ONNX broadcasts (C, 1, 1) to a map (B, C, H, W). onnx2tf 1.29 and 2.6 transposes such weights to channels-last only in
some cases: beside a map of one pixel they stay (1, C, 1, 1), and the result is (B, C, 1, C); a difference of weights
and a map fails. With an explicit batch axis, (1, C, 1, 1), all cases are correct.
"""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import numpy_helper, shape_inference

_BROADCAST = frozenset(["Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "PRelu", "Where"])
_OF_CHANNELS, _OF_MAPS = 3, 4  # axes


def add_batch_axis(path: Path) -> int:
    """Reshape per-channel weights in a file to four axes, in place.

    Returns:
        The number of changed operation inputs.
    """
    model = onnx.load(path)
    graph = shape_inference.infer_shapes(model).graph
    ranks = {each.name: len(each.type.tensor_type.shape.dim) for each in (*graph.value_info, *graph.output)}
    weights = {each.name: each for each in model.graph.initializer if len(each.dims) == _OF_CHANNELS}
    written: dict[str, str] = {}
    changed = 0
    for node in model.graph.node:
        if node.op_type not in _BROADCAST or ranks.get(node.output[0]) != _OF_MAPS:
            continue
        for index, name in enumerate(node.input):
            if name in weights:
                if name not in written:
                    array = numpy_helper.to_array(weights[name])[None]
                    written[name] = f"{name}/of_a_map"
                    model.graph.initializer.append(numpy_helper.from_array(array, written[name]))
                node.input[index] = written[name]
                changed += 1
    if changed:
        onnx.save(model, path)
    return changed
