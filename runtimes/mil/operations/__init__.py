"""The operations of MIL programs: one pure function for each, by operation type.

The first argument of a handler is the arithmetic. The others are the parameters of the operation, with the names and
the defaults of its specification, from iOS 15 to iOS 18; a parameter that accepts several values is annotated as a
tuple. A handler returns a tensor, or a tuple if there are several outputs; :mod:`runtimes.mil.values` says how values
are held. A handler rounds every step but the last with ``m.round``; the evaluator rounds the result. A handler raises
NotImplementedError for a case that the specification leaves open.

Specification: https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html
"""

from __future__ import annotations

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
from runtimes.mil.values import Handlers

HANDLERS: Handlers = {
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
