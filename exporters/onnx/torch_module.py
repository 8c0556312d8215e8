"""Write a torch module as ONNX by PyTorch's own exporter, which uses standard operations only.

An fp16 file computes in float16; its inputs and outputs are float32 by default. Below operator set 20, which introduced
Gelu, the erf of GELU is computed in float32: float16's sqrt(2) has an error of 1e-4, which rounded weights do not
explain.
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
from evim_deploy.catalog.terms import Precision
from evim_deploy.common.errors import BadInput, first_line
from evim_deploy.common.system_errors import problem_of, temporary_folder
from exporters.onnx.graph import annotate
from exporters.onnx.opsets import DEFAULT_OPSET, OPSETS

__all__ = ["annotate", "build", "export", "write_onnx"]

_INPUT = "image"
_HAS_GELU = 20  # the operator set that introduced Gelu, whose erf engines compute accurately


def build(module: nn.Module, target: Target, path: Path) -> Signature:
    """Write an export wrapper as an ONNX file that passes ONNX's checker; its batch may be dynamic.

    Raises:
        BadInput: PyTorch's exporter cannot write the target's operator set.
    """
    written = _Half(module, target.half_io) if target.precision == Precision.FP16 else module
    write_onnx(written, target, path, target.opset or DEFAULT_OPSET)
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
    """Write a module as an ONNX file with the input ``image`` and the target's output.

    Raises:
        BadInput: PyTorch's exporter cannot write this operator set.
    """
    assert target.height
    assert target.width
    dtype = torch.float16 if target.half_io else torch.float32
    # a dynamic batch is traced with two images: with one, the exporter would fix the batch to one
    image = torch.zeros(target.batch or 2, 3, target.height, target.width, dtype=dtype)
    export(module, image, target.output, path, opset, target.batch is None)


def export(module: nn.Module, image: Tensor, output: str, path: Path, opset: int, dynamic_batch: bool) -> None:
    """Write a module with one input as an ONNX file.

    Args:
        module: The module, in evaluation mode and without gradients.
        image: An example of its input, (B, ...).
        output: Name of its output.
        path: Path of the file.
        opset: Operator set of the file.
        dynamic_batch: Whether the batch of the file is dynamic.

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
    except Exception as error:  # of any type: a network may do what the exporter does not foresee
        cause = first_line(error.__cause__ or error)  # the exporter's own message is a page on how to report it
        raise problem_of(error, path.parent, temporary_folder()) or BadInput(
            f"PyTorch's exporter cannot write the network: {cause}.", "Choose another format, batch or network."
        ) from error
    model = onnx.load(path)
    written = next(each.version for each in model.opset_import if not each.domain)
    if written != opset:
        raise BadInput(
            f"PyTorch's exporter writes this network in operator set {written} and cannot convert it to {opset}.",
            f"Give --opset {written}.",
        )
    model.ir_version = OPSETS[opset].ir_version
    model.graph.ClearField("value_info")
    for described in (model, model.graph, *model.graph.node, *model.graph.input, *model.graph.output):
        described.ClearField("metadata_props")  # the exporter's notes contain paths of this machine
    onnx.save(model, path)
    try:
        onnx.checker.check_model(path, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise BadInput(
            f"PyTorch's exporter wrote a file that ONNX's checker refuses: {first_line(error)}.",
            "Give another --opset or --precision, or choose another format.",
        ) from error


def _is_half(module: nn.Module) -> bool:
    return any(parameter.dtype == torch.float16 for parameter in module.parameters())


def _gelu(x: Any, approximate: str = "none") -> Any:
    """Translate GELU of a float16 value (B, ...), computed in float32."""
    wide = op.Cast(x, to=onnx.TensorProto.FLOAT)
    inner = op.Erf(op.Mul(wide, 0.5**0.5))
    if approximate == "tanh":
        cubic = op.Mul(op.Mul(op.Mul(wide, wide), wide), 0.044715)
        inner = op.Tanh(op.Mul(op.Add(wide, cubic), (2 / math.pi) ** 0.5))
    return op.CastLike(op.Mul(op.Mul(wide, 0.5), op.Add(inner, 1.0)), x)


_TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {torch.ops.aten.gelu.default: _gelu}


class _Half(nn.Module):
    """A module in float16, with casts where its input and output are float32."""

    def __init__(self, module: nn.Module, half_io: bool) -> None:
        super().__init__()
        self.module = deepcopy(module).half()
        self.half_io = half_io
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        answer: Tensor = self.module(image.half())
        return answer if self.half_io else answer.float()
