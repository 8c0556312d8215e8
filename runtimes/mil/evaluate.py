"""Evaluate a function of a MIL program, operation by operation, in torch.

Every float is carried as float32; an operation whose result the program types float16 has it
rounded, but for mode ``fp32``. What the program declares of a value is checked against what came out.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evim_deploy.contents.mil import Binding, Constant, Function, Operation, ValueType
from runtimes.mil.arithmetic import SMALLEST_NORMAL, Exact, Half
from runtimes.mil.operations import HANDLERS

Value = Any
"""A tensor, a scalar of Python's, a string, an array of strings, or a dictionary of a classifier."""

_DTYPES = {
    "float16": torch.float32,
    "float32": torch.float32,
    "float64": torch.float32,
    "bfloat16": torch.float32,
    "int64": torch.int32,
    "int32": torch.int32,
    "uint32": torch.int32,
    "int16": torch.int32,
    "uint16": torch.int32,
    "int8": torch.int8,
    "uint8": torch.uint8,
    "bool": torch.bool,
}


class UnknownOperation(Exception):
    """The program has an operation that the evaluator does not know; its only argument is the type."""


class DamagedProgram(Exception):
    """The program contradicts itself; its only argument says where and how."""


Anomalies = Mapping[str, int]
"""How many values of an operation's float16 results float16 cannot hold as they are, by kind:

``overflow``, finite and became infinite; ``subnormal``, not 0 and below the smallest normal number; ``nan``.
"""


@dataclass(frozen=True)
class Step:
    """One evaluated operation."""

    operation: Operation
    values: tuple[Value, ...]
    anomalies: Anomalies


def unknown_operations(function: Function) -> Counter[str]:
    """The operations that the evaluator does not know, by type."""
    return Counter(op.type for op in function.operations if op.type not in HANDLERS or op.has_blocks)


class Evaluator:
    """A function that is ready to be evaluated, its constants as tensors."""

    def __init__(self, function: Function) -> None:
        self.function = function
        self._constants = {name: _constant(constant) for name, constant in function.constants.items()}
        last_use = {
            name: index
            for index, op in enumerate(function.operations)
            for bindings in op.inputs.values()
            for name in bindings
            if isinstance(name, str) and name not in function.outputs
        }
        self._last_uses: dict[int, list[str]] = {}
        for name, index in last_use.items():
            self._last_uses.setdefault(index, []).append(name)

    def steps(self, inputs: Mapping[str, Tensor], mode: str) -> Iterator[Step]:
        """Evaluate, giving each operation as it is done; a value is dropped after its last use.

        Args:
            inputs: By name.
            mode: One of :data:`runtimes.mil.arithmetic.MODES`.

        Raises:
            UnknownOperation: There is an operation that has no handler.
            DamagedProgram: An operation cannot be done with what it is given, or gives something else than is declared.
        """
        exact, half = Exact(), Half()
        values: dict[str, Value] = {**self._constants, **inputs}
        for index, op in enumerate(self.function.operations):
            is_half = mode == "ane" and any(value_type.dtype == "float16" for _, value_type in op.outputs)
            results = _run(op, values, half if is_half else exact)
            anomalies: Anomalies = {}
            if mode != "fp32":
                results, anomalies = _store(op, results)
            values.update(zip((name for name, _ in op.outputs), results, strict=True))
            for name in self._last_uses.get(index, ()):
                values.pop(name, None)
            yield Step(op, results, anomalies)


def _run(op: Operation, values: Mapping[str, Value], arithmetic: Exact) -> tuple[Value, ...]:
    handler = HANDLERS.get(op.type)
    if handler is None or op.has_blocks:
        raise UnknownOperation(op.type)
    many = _takes_many(handler)
    try:
        arguments = {
            key: tuple(_bound(each, values) for each in bindings) if key in many else _bound(bindings[0], values)
            for key, bindings in op.inputs.items()
        }
        with torch.inference_mode():
            result = handler(arithmetic, **arguments)
    except KeyError as error:
        raise DamagedProgram(f"{op.name} takes {error}, which nothing gives") from None
    except (RuntimeError, ValueError, IndexError, TypeError, AttributeError, OverflowError, ZeroDivisionError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DamagedProgram(f"{op.name} ({op.type}) cannot be computed: {reason}") from None
    results = result if isinstance(result, tuple) else (result,)
    if len(results) != len(op.outputs):
        raise DamagedProgram(f"{op.name} ({op.type}) gives {len(results)} values, not {len(op.outputs)}")
    for value, (name, declared) in zip(results, op.outputs, strict=True):
        _check(name, value, declared)
    return results


@cache
def _takes_many(handler: Callable[..., Any]) -> frozenset[str]:
    """Parameters that take several values, marked by their annotation."""
    parameters = inspect.signature(handler).parameters.values()
    return frozenset(parameter.name for parameter in parameters if "tuple[" in str(parameter.annotation))


def _bound(binding: Binding, values: Mapping[str, Value]) -> Value:
    return values[binding] if isinstance(binding, str) else _constant(binding)


def _constant(constant: Constant) -> Value:
    array = constant.value
    if not isinstance(array, np.ndarray) or array.dtype.kind == "U":
        return array
    dtype = _DTYPES.get(constant.type.dtype)
    # those of less than a byte stand in a byte each
    return torch.from_numpy(np.array(array)).to(dtype) if dtype else torch.from_numpy(np.array(array))


def _check(name: str, value: Value, declared: ValueType) -> None:
    if not isinstance(value, Tensor):
        return
    sides = declared.shape
    if len(sides) != value.ndim or any(side not in (None, size) for side, size in zip(sides, value.shape, strict=True)):
        raise DamagedProgram(f"{name} is declared {list(sides)} and comes out {list(value.shape)}")


def _store(op: Operation, results: tuple[Value, ...]) -> tuple[tuple[Value, ...], Anomalies]:
    """The results as the program stores them, and what float16 did to them."""
    counts: Counter[str] = Counter()
    stored = []
    for value, (_, declared) in zip(results, op.outputs, strict=True):
        if declared.dtype != "float16" or not isinstance(value, Tensor):
            stored.append(value)
            continue
        rounded = value.half().float()
        magnitude = rounded.abs()
        counts["overflow"] += int((magnitude.isinf() & value.isfinite()).sum())
        counts["subnormal"] += int(((value != 0) & (magnitude < SMALLEST_NORMAL)).sum())
        counts["nan"] += int(rounded.isnan().sum())
        stored.append(rounded)
    return tuple(stored), +counts  # without those that are 0
