"""ONNX: a torch module through PyTorch's own exporter, which writes standard operations alone.

An fp16 file computes in float16 where the module does; it takes and gives float32 unless asked. GELU's erf is computed
in float32 there where it is no operation of its own: float16's sqrt(2) is off by 1e-4, which no rounded weight accounts
for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import onnx
import torch
from onnxscript import opset18 as op
from torch import Tensor, nn

from evim_deploy.artifact.signature import Signature, TensorSpec
from evim_deploy.artifact.target import Target
from evim_deploy.common.errors import BadInput, first_line
from evim_deploy.common.system_errors import problem_of, temporary_folder
from exporters.onnx.graph import annotate
from exporters.onnx.opsets import OPSETS, USUAL_OPSET

__all__ = ["annotate", "build", "export", "write_onnx"]

_INPUT = "image"
_HAS_GELU = 20  # the operator set that made it an operation, whose erf an engine computes as it should


def build(module: nn.Module, target: Target, path: Path) -> Signature:
    """Write a servable module as an ONNX file that passes the checker; its batch may be dynamic.

    Raises:
        BadInput: PyTorch's exporter cannot write the target's operator set.
    """
    written = _Half(module, target.half_io) if target.precision == "fp16" else module
    write_onnx(written, target, path, target.opset or USUAL_OPSET)
    batch = "batch" if target.batch is None else target.batch
    assert target.height
    assert target.width
    dtype = "float16" if target.half_io else "float32"
    return Signature(
        (
            TensorSpec(
                name=_INPUT,
                shape=(batch, 3, target.height, target.width),
                dtype=dtype,
                layout="NCHW",
                range=target.input_range,
            ),
        ),
        (
            TensorSpec(
                name=target.output,
                shape=(batch, len(target.labels)),
                dtype=dtype,
                layout="NC",
                range=target.output_range,
            ),
        ),
    )


def write_onnx(module: nn.Module, target: Target, path: Path, opset: int) -> None:
    """A module of a target's images as an ONNX file, its input ``image`` and its output the target's.

    Raises:
        BadInput: PyTorch's exporter cannot write this operator set.
    """
    assert target.height
    assert target.width
    dtype = torch.float16 if target.half_io else torch.float32
    # of a dynamic batch two: one image would be taken for a batch that is always one
    image = torch.zeros(target.batch or 2, 3, target.height, target.width, dtype=dtype)
    export(module, image, target.output, path, opset, target.batch is None)


def export(module: nn.Module, image: Tensor, output: str, path: Path, opset: int, dynamic_batch: bool) -> None:
    """A module of one input as an ONNX file.

    Args:
        module: In evaluation mode and without gradients.
        image: What it takes, (B, ...), its input in the file.
        output: The name of what it gives.
        path: Of the file.
        opset: The operator set.
        dynamic_batch: Whether the file takes any number of images.

    Raises:
        BadInput: PyTorch's exporter cannot write the network, or not in this operator set.
    """
    try:
        torch.onnx.export(
            module,
            (image,),
            path,
            input_names=[_INPUT],
            output_names=[output],
            opset_version=opset,
            dynamic_shapes=({0: "batch"},) if dynamic_batch else None,
            custom_translation_table=_TRANSLATIONS if _is_half(module) and opset < _HAS_GELU else None,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    except Exception as error:  # of any kind: what a network does that the exporter does not foresee
        cause = first_line(error.__cause__ or error)  # its own is a page on how to report it
        raise problem_of(error, path.parent, temporary_folder()) or BadInput(
            f"PyTorch's exporter cannot write the network: {cause}.", "Choose another format, batch or network."
        ) from error
    model = onnx.load(path)
    written = next(each.version for each in model.opset_import if not each.domain)
    if written != opset:
        raise BadInput(
            f"PyTorch's exporter writes operator set {written} of this network, and cannot convert it to {opset}.",
            f"Give --opset {written}.",
        )
    model.ir_version = OPSETS[opset].ir_version
    model.graph.ClearField("value_info")
    for described in (model, model.graph, *model.graph.node, *model.graph.input, *model.graph.output):
        described.ClearField("metadata_props")  # the exporter's notes, which name this machine's folders
    onnx.save(model, path)
    try:
        onnx.checker.check_model(path, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise BadInput(
            f"PyTorch's exporter writes a file of the network that ONNX's checker refuses: {first_line(error)}.",
            "Give another --opset or --precision, or choose another format.",
        ) from error


def _is_half(module: nn.Module) -> bool:
    return any(parameter.dtype == torch.float16 for parameter in module.parameters())


def _gelu(x: Any, approximate: str = "none") -> Any:
    """(B, ...) in float16 -> (B, ...)"""
    wide = op.Cast(x, to=onnx.TensorProto.FLOAT)
    inner = op.Erf(op.Mul(wide, 0.5**0.5))
    if approximate == "tanh":
        cubic = op.Mul(op.Mul(op.Mul(wide, wide), wide), 0.044715)
        inner = op.Tanh(op.Mul(op.Add(wide, cubic), (2 / math.pi) ** 0.5))
    return op.CastLike(op.Mul(op.Mul(wide, 0.5), op.Add(inner, 1.0)), x)


_TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {torch.ops.aten.gelu.default: _gelu}


class _Half(nn.Module):
    """A module in float16, with casts where its ports are float32."""

    def __init__(self, module: nn.Module, half_io: bool) -> None:
        super().__init__()
        self.module = deepcopy(module).half()
        self.half_io = half_io
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        answer: Tensor = self.module(image.half())
        return answer if self.half_io else answer.float()
