"""What each operation of a MIL program computes: one pure function each, by the operation's type.

A handler takes the arithmetic and then the operation's parameters by the names, and with the
defaults, of its specification; a parameter that is given several values is annotated as a tuple. It gives
a value, or a tuple where there are several outputs. Floats come and go as float32 tensors, whatever
type the program stores them in; integers as int32, int8 or uint8; constants of rank 0 as Python's.

Specification: https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from runtimes.mil.operations import convolution, elementwise, normalisation, reduction, tensor

Handler = Callable[..., Any]

HANDLERS: Mapping[str, Handler] = {
    **convolution.HANDLERS,
    **elementwise.HANDLERS,
    **normalisation.HANDLERS,
    **reduction.HANDLERS,
    **tensor.HANDLERS,
}
