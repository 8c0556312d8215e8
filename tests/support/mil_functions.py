"""MIL functions written by hand, without coremltools, and their evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from evim_deploy.formats.mil import Binding, Constant, Function, Operation, ValueType
from runtimes.mil.evaluate import Evaluator, Step

DTYPES = {"i": "int32", "b": "bool", "U": "string"}


def constant(value: Any, dtype: str = "") -> Constant:
    """Make a constant; floats are float16 by default."""
    array = np.asarray(value)
    name = dtype or DTYPES.get(array.dtype.kind, "float16")
    array = array.astype({"float16": np.float16, "float32": np.float32, "int32": np.int32}.get(name, array.dtype))
    return Constant(ValueType(name, array.shape), array if array.ndim else array.item(), 0)


def operation(kind: str, output: str, dtype: str, shape: tuple[int | None, ...], **given: Any) -> Operation:
    """Make an operation of one output; each input is the name of a value or a constant."""
    inputs: dict[str, tuple[Binding, ...]] = {
        key: value if isinstance(value, tuple) else (value if isinstance(value, str | Constant) else constant(value),)
        for key, value in given.items()
    }
    return Operation(kind, inputs, ((output, ValueType(dtype, shape)),), False)


def function(inputs: Mapping[str, tuple[str, tuple[int | None, ...]]], *operations: Operation) -> Function:
    """Make a function of operations that returns the value of the last one."""
    types = {name: ValueType(dtype, shape) for name, (dtype, shape) in inputs.items()}
    return Function(types, {}, operations, (operations[-1].name,))


def steps(program: Function, mode: str, **inputs: Any) -> list[Step]:
    tensors = {name: torch.as_tensor(np.asarray(value, dtype=np.float32)) for name, value in inputs.items()}
    return list(Evaluator(program).steps(tensors, mode))


def single(kind: str, dtype: str, x: Any, mode: str, shape: tuple[int, ...] | None = None, **given: Any) -> Step:
    """Make a function of one operation on x; input and output have the same type."""
    x = np.asarray(x, dtype=np.float32)
    body = operation(kind, "y", dtype, x.shape if shape is None else shape, x="x", **given)
    (step,) = steps(function({"x": (dtype, x.shape)}, body), mode, x=x)
    return step
