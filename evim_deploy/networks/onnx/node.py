"""A node of an ONNX graph with its attributes, the first argument of each operation's function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from evim_deploy.common.errors import BadInput

Host = npt.NDArray[Any]
"""An array that does not depend on pixels: lengths, axes, limits. Where the batch is open, its elements may be torch's
symbols."""

Value = Tensor | Host | None
"""An input of an operation: a tensor, an array, or None where an optional input is absent."""

Operation = Callable[..., Tensor | tuple[Tensor, ...]]
"""A function from a node and its inputs to its outputs."""


@dataclass(frozen=True, kw_only=True)
class OnnxNode:
    """A node.

    Attributes:
        op: Its operation, by ONNX's name.
        name: Its name, or the name of its first output.
        opset: The file's version of ONNX's operators.
        inputs: Names of its inputs, empty for an absent one.
        outputs: Names of its outputs.
        attributes: Attributes by name, tensors as arrays.
    """

    op: str
    name: str
    opset: int
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def integer(self, name: str, default: int) -> int:
        return int(self.attributes.get(name, default))

    def number(self, name: str, default: float) -> float:
        return float(self.attributes.get(name, default))

    def integers(self, name: str, default: Sequence[int]) -> list[int]:
        return [int(value) for value in self.attributes.get(name, default)]

    def text(self, name: str, default: str) -> str:
        return bytes(self.attributes.get(name, default.encode())).decode()

    def axes(self, value: Value) -> list[int] | None:
        """Axes from an input (later opsets) or from the attribute; None without either."""
        if value is not None:
            return self.ints(value)
        return self.integers("axes", ()) if "axes" in self.attributes else None

    def ints(self, value: Value) -> list[int]:
        """The elements of an input with lengths or axes.

        Raises:
            BadInput: They depend on the pixels.
        """
        return self.numbers(value)

    def scalar(self, value: Value) -> Any:
        """The one element of an input with a number; raises like :meth:`ints`."""
        (number,) = self.numbers(value)
        return number

    def numbers(self, value: Value) -> list[Any]:
        """The elements of an input with numbers; raises like :meth:`ints`."""
        if isinstance(value, np.ndarray):
            return list(value.ravel().tolist())
        raise self.unsupported("has lengths or limits that depend on the image")

    def unsupported(self, reason: str) -> BadInput:
        """The error that a node is not supported; the reason continues a sentence that begins with its name."""
        return BadInput(
            f"The operation {self.op} ({self.name}) {reason}, which cannot be converted.",
            "Export the network again without it, or use the ONNX file as it is.",
        )


def tensor(value: Value, like: Tensor | None = None) -> Tensor:
    """A value as a tensor; an array of floats in the dtype of another tensor, if present."""
    assert value is not None
    if isinstance(value, Tensor):
        return value
    if value.dtype == object:  # torch's symbols
        return torch.tensor(value.tolist())
    is_float = value.dtype.kind == "f" and like is not None and like.is_floating_point()
    return torch.tensor(
        value.tolist(), dtype=like.dtype if like is not None and is_float else _DTYPES[value.dtype.name]
    )


def lengths(x: Tensor | Host) -> list[Any]:
    """The lengths of a value's axes as numbers; a symbol where torch.export leaves the batch open.

    While torch.jit traces a network, ``x.shape`` has tensors instead: computations with them would become part of the
    graph, and neither numpy nor a converter accepts them.
    """
    sizes: Sequence[Any] = x.shape
    return [int(length) if isinstance(length, Tensor) else length for length in sizes]


_DTYPES = {
    "bool": torch.bool,
    "uint8": torch.uint8,
    "int8": torch.int8,
    "int16": torch.int16,
    "int32": torch.int32,
    "int64": torch.int64,
    "float16": torch.float16,
    "float32": torch.float32,
    "float64": torch.float64,
}
"""Dtypes of torch by numpy's name of an element type."""


def is_known(array: Host) -> bool:
    """Whether torch has an array's element type."""
    return array.dtype.name in _DTYPES
