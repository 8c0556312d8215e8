"""What each operation of a MIL program computes: one pure function each, by the operation's type.

A handler takes the arithmetic and then the operation's parameters by the names, and with the
defaults, of its specification, from iOS 15 to iOS 18; a parameter that is given several values is
annotated as a tuple. It gives a tensor, or a tuple where there are several outputs. Values are held
as :mod:`runtimes.mil.values` says. The last step of an operation is rounded by whoever stores it,
the others by ``m.round``. What a specification leaves open is a NotImplementedError, never a guess.

Specification: https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from runtimes.mil.operations import (
    activation,
    binary,
    compression,
    convolution,
    gathering,
    joining,
    matrix,
    normalisation,
    ordering,
    pooling,
    reduction,
    resizing,
    shape,
    slicing,
    spatial,
    unary,
)

Handler = Callable[..., Any]

HANDLERS: Mapping[str, Handler] = {
    **activation.HANDLERS,
    **binary.HANDLERS,
    **compression.HANDLERS,
    **convolution.HANDLERS,
    **gathering.HANDLERS,
    **joining.HANDLERS,
    **matrix.HANDLERS,
    **normalisation.HANDLERS,
    **ordering.HANDLERS,
    **pooling.HANDLERS,
    **reduction.HANDLERS,
    **resizing.HANDLERS,
    **shape.HANDLERS,
    **slicing.HANDLERS,
    **spatial.HANDLERS,
    **unary.HANDLERS,
}
