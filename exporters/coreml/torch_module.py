"""Write a traced torch module as Core ML by coremltools' own front end for PyTorch.

Inputs, outputs, precision and metadata are those of :mod:`exporters.coreml.graph`. Operations that the front end lacks
are registered here. The weights in a file are the network's, rounded: passes that multiply weights by a following
constant are left out, because a comparison could not distinguish their rounded product from a wrong weight. For the
same reason divisions stay divisions, and a hard sigmoid divides by 6: float16 represents 6 exactly, but not 1 / 6.

Operations: https://apple.github.io/coremltools/docs-guides/source/composite-operators.html
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import torch
from coremltools.converters.mil import Builder as mb  # noqa: N813, the name in coremltools' own documentation
from coremltools.converters.mil.frontend.torch.ops import _get_inputs
from coremltools.converters.mil.frontend.torch.torch_op_registry import register_torch_op
from torch import nn

from evim_deploy.artifact.signature import Signature
from evim_deploy.artifact.target import Target
from evim_deploy.common.errors import BadInput, first_line
from evim_deploy.common.system_errors import problem_of, temporary_folder
from exporters.coreml import package as coreml_package
from exporters.coreml import replacements
from exporters.coreml.graph import annotate, convert, fixed_shape, input_type, is_classifier, output_types

__all__ = ["annotate", "build"]

_INPUT = "image"
_SIX = np.float32(6)
_LEFT_OUT = (
    "common::fuse_conv_scale",
    "common::fuse_conv_bias",
    "common::fuse_conv_batchnorm",
    "common::fuse_elementwise_to_batchnorm",
    "common::divide_to_multiply",
)


def build(module: nn.Module, target: Target, path: Path) -> Signature:
    """Write an export wrapper as an .mlpackage with the same inputs and outputs as a graph's package.

    Raises:
        BadInput: coremltools cannot convert the network.
        ValueError: The target's batch, height or width is dynamic.
    """
    image = torch.zeros(fixed_shape(target))
    passes = ct.PassPipeline()
    passes.remove_passes(_LEFT_OUT)
    try:
        with torch.no_grad():
            traced = torch.jit.trace(module, image, check_trace=False)
        signature = convert(
            traced,
            target,
            path,
            source="pytorch",
            inputs=[input_type(target, _INPUT)],
            outputs=None if is_classifier(target) else output_types(target, [target.output]),
            pass_pipeline=passes,
        )
    except Exception as error:  # of any type: a network may do what the front end does not foresee
        raise problem_of(error, path.parent, temporary_folder()) or BadInput(
            f"coremltools cannot convert the network: {first_line(error)}.", "Choose another format or network."
        ) from error
    coreml_package.make_deterministic(path)
    return signature


def addcmul(context: Any, node: Any) -> None:
    """``x + value * a * b``, missing in coremltools 9.0."""
    x, a, b, *value = _get_inputs(context, node)
    product = mb.mul(x=a, y=b)
    if value and value[0].val != 1:
        product = mb.mul(x=product, y=value[0])
    context.add(mb.add(x=x, y=product, name=node.name))


def hardsigmoid(context: Any, node: Any) -> None:
    """``relu6(x + 3) / 6``"""
    (x, *_) = _get_inputs(context, node)
    context.add(mb.real_div(x=_relu6(x), y=_SIX, name=node.name))


def hardswish(context: Any, node: Any) -> None:
    """``x relu6(x + 3) / 6``"""
    (x, *_) = _get_inputs(context, node)
    context.add(mb.mul(x=x, y=mb.real_div(x=_relu6(x), y=_SIX), name=node.name))


def log_softmax(context: Any, node: Any) -> None:
    """``x - max - log(sum(exp(x - max)))``: the logarithm of a softmax cannot be below -103, in float16 -16."""
    x, axis, *_ = _get_inputs(context, node)
    shifted = mb.sub(x=x, y=mb.reduce_max(x=x, axes=[axis.val], keep_dims=True))
    total = mb.reduce_sum(x=mb.exp(x=shifted), axes=[axis.val], keep_dims=True)
    context.add(mb.sub(x=shifted, y=mb.log(x=total), name=node.name))


def prod(context: Any, node: Any) -> None:
    """The product along an axis, missing in coremltools 9.0."""
    x, axis, keeps, *_ = _get_inputs(context, node)
    context.add(mb.reduce_prod(x=x, axes=[axis.val], keep_dims=keeps.val, name=node.name))


def reciprocal(context: Any, node: Any) -> None:
    """``1 / x``: the operation ``inverse`` adds 1e-4 to x (coremltools #2773)."""
    (x,) = _get_inputs(context, node)
    context.add(mb.real_div(x=np.float32(1), y=x, name=node.name))


def rms_norm(context: Any, node: Any) -> None:
    """``x / sqrt(mean(x^2) + eps)``, computed on x divided by its largest magnitude if this exceeds 1.

    This keeps the squares within float16's range; eps is divided, too (coremltools #2821).
    """
    x, shape, weight, eps = _get_inputs(context, node)
    axes = list(range(-len(shape.val), 0))
    largest = mb.maximum(x=mb.reduce_max(x=mb.abs(x=x), axes=axes, keep_dims=True), y=np.float32(1))
    scaled = mb.real_div(x=x, y=largest)
    least = np.float32(np.finfo(np.float32).eps if eps is None else eps.val)  # torch's default
    added = mb.real_div(x=mb.real_div(x=least, y=largest), y=largest)
    mean = mb.reduce_mean(x=mb.square(x=scaled), axes=axes, keep_dims=True)
    result = mb.real_div(x=scaled, y=mb.sqrt(x=mb.add(x=mean, y=added)))
    context.add(result if weight is None else mb.mul(x=result, y=weight), node.name)


def _relu6(x: Any) -> Any:
    return mb.relu6(x=mb.add(x=x, y=np.float32(3)))


for operation in (addcmul, hardsigmoid, hardswish, log_softmax, prod, reciprocal, rms_norm):
    register_torch_op(operation, override=True)
replacements.register()
