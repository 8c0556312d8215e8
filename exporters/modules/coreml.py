"""Core ML: a traced torch module through coremltools' own front end for PyTorch.

Ports, precision and metadata are those of :mod:`exporters.coreml`. What the front end lacks is registered here. A
file's weights are the network's, rounded: coremltools' fusions that multiply them by what follows are left out. The
product would be rounded instead, which no comparison could tell from a wrong weight.

Operations: https://apple.github.io/coremltools/docs-guides/source/composite-operators.html
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import coremltools as ct
import torch
from coremltools.converters.mil import Builder as mb  # noqa: N813, the name in coremltools' own documentation
from coremltools.converters.mil.frontend.torch.ops import _get_inputs
from coremltools.converters.mil.frontend.torch.torch_op_registry import register_torch_op
from torch import nn

from evim_deploy.artifact import Contract, Target
from exporters.coreml import annotate, convert, fixed_shape, input_type, is_classifier, output_types

__all__ = ["annotate", "build"]

_INPUT = "image"
_LEFT_OUT = (
    "common::fuse_conv_scale",
    "common::fuse_conv_bias",
    "common::fuse_conv_batchnorm",
    "common::fuse_elementwise_to_batchnorm",
)


def build(module: nn.Module, target: Target, path: Path) -> Contract:
    """Write a servable module as an .mlpackage, with the ports that a graph's has.

    Raises:
        ValueError: The target's batch, height or width is dynamic.
    """
    with torch.no_grad():
        traced = torch.jit.trace(module, torch.zeros(fixed_shape(target)), check_trace=False)
    passes = ct.PassPipeline()
    passes.remove_passes(_LEFT_OUT)
    return convert(
        traced,
        target,
        path,
        source="pytorch",
        inputs=[input_type(target, _INPUT)],
        outputs=None if is_classifier(target) else output_types(target, [target.output]),
        pass_pipeline=passes,
    )


def addcmul(context: Any, node: Any) -> None:
    """``x + value * a * b``, which coremltools 9.0 does not have."""
    x, a, b, *value = _get_inputs(context, node)
    product = mb.mul(x=a, y=b)
    if value and value[0].val != 1:
        product = mb.mul(x=product, y=value[0])
    context.add(mb.add(x=x, y=product, name=node.name))


register_torch_op(addcmul, override=True)
