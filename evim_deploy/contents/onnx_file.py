"""Write an ONNX model: as one file, or with its weights in a second one where protobuf's limit asks for it.

A protobuf message holds 2 GiB at the most. Weights that leave no room below go into ``NAME.onnx.data`` beside the
model, which names it without a folder, so that the two can move together.

Source: https://onnx.ai/onnx/repo-docs/ExternalData.html
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
from onnx.external_data_helper import convert_model_to_external_data

from evim_deploy.publish import COMPANION_SUFFIX

MOST_INSIDE = 2_000_000_000
"""Bytes of weights in the model's own file; the rest of the 2 GiB is for the graph and the labels."""


def is_large(model: Any) -> bool:
    """Whether a model's weights are too many for its own file."""
    return sum(len(tensor.raw_data) for tensor in model.graph.initializer) > MOST_INSIDE


def write(model: Any, path: Path) -> None:
    """Write a model whose weights are in memory."""
    if is_large(model):
        data = path.with_name(path.name + COMPANION_SUFFIX)
        data.unlink(missing_ok=True)  # onnx would append to it
        convert_model_to_external_data(model, location=data.name)
    onnx.save(model, path)
