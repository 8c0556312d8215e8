"""Evaluate a function of a MIL program, operation by operation, in torch.

Every float is carried as float32; an operation whose result the program types float16 has it
rounded, but for mode ``fp32``. Constants are what the program types them in every mode, those that
``constexpr_`` operations make of others, too. What the program declares of a value is checked
against what came out.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from evim_deploy.formats.mil import Constant, Function, Operation, ValueType
from runtimes.mil.arithmetic import SMALLEST_NORMAL, Exact, Half, halved
from runtimes.mil.operations import HANDLERS
from runtimes.mil.values import DTYPES, LARGEST_BYTES, TooLarge, Value, bounded, from_constant

_COMPRESSED = "constexpr_"


class UnknownOperation(Exception):
    """The program has an operation, or a variant of one, that the evaluator does not know; it says which."""


class ContradictoryProgram(Exception):
    """An operation does not fit what it is given or what is declared of it; its only argument says where and how.

    The program is damaged, or the evaluator has a fault: neither can be told from here.
    """


Anomalies = Mapping[str, int]
"""How many values of an operation's float16 results float16 cannot hold as they are, by kind:

``overflow``, finite and became infinite, in ``ane`` inside the operation, too; ``subnormal``, not 0
and below the smallest normal number; ``nan``.
"""


@dataclass(frozen=True)
class Step:
    """One evaluated operation."""

    operation: Operation
    values: tuple[Value, ...]
    anomalies: Anomalies


@dataclass(frozen=True)
class _Call:
    """An operation and where its arguments are found, by parameter."""

    operation: Operation
    arguments: Mapping[str, tuple[Hashable, ...]]


def unknown_operations(function: Function) -> Counter[str]:
    """The operations that the evaluator does not know, by type."""
    return Counter(op.type for op in function.operations if op.type not in HANDLERS or op.has_blocks)


class Evaluator:
    """A function that is ready to be evaluated, its constants decompressed and as tensors.

    Attributes:
        function: The function.
        operations: Those that run for each image.
        constants: Its constants by name, and those that are given in place by a key of their own.
        stored: Its constants by name as the file has them, decompressed ones among them.

    Raises:
        UnknownOperation: There is an operation that is not known.
        ContradictoryProgram: The types or the constants of the program do not fit together.
    """

    def __init__(self, function: Function) -> None:
        unknown = unknown_operations(function)
        if unknown:
            raise UnknownOperation(", ".join(f"{op} ({count} times)" for op, count in sorted(unknown.items())))
        self.function = function
        self.constants: dict[Hashable, Value] = {
            name: from_constant(constant) for name, constant in function.constants.items()
        }
        self.stored: dict[str, Constant] = dict(function.constants)
        self._calls: list[_Call] = []
        for op in function.operations:
            call = self._prepared(op)
            if op.type.startswith(_COMPRESSED):
                results, _ = _store(op, _run(call, self.constants, Exact()))
                for (name, declared), value in zip(op.outputs, results, strict=True):
                    self.constants[name] = value
                    self.stored[name] = Constant(declared, value.numpy(), 0)
            else:
                self._calls.append(call)
        self._halves = _on_float16(function)
        self.operations = tuple(call.operation for call in self._calls)
        uses = {
            key: index
            for index, call in enumerate(self._calls)
            for keys in call.arguments.values()
            for key in keys
            if key not in function.outputs
        }
        self.constants = {key: value for key, value in self.constants.items() if key in {*uses, *function.outputs}}
        self._last_uses: dict[int, list[Hashable]] = {}
        for key, index in uses.items():
            self._last_uses.setdefault(index, []).append(key)

    def _prepared(self, op: Operation) -> _Call:
        """A call; the constants that stand in the operation join the others."""
        arguments: dict[str, tuple[Hashable, ...]] = {}
        for parameter, bindings in op.inputs.items():
            keys: list[Hashable] = []
            for index, binding in enumerate(bindings):
                keys.append(binding if isinstance(binding, str) else (op.name, parameter, index))
                if not isinstance(binding, str):
                    self.constants[keys[-1]] = from_constant(binding)
            arguments[parameter] = tuple(keys)
        return _Call(op, arguments)

    def steps(self, inputs: Mapping[str, Tensor], mode: str) -> Iterator[Step]:
        """Evaluate, giving each operation as it is done; a value is dropped after its last use.

        Args:
            inputs: By name, each of the shape that the function declares.
            mode: One of :data:`runtimes.mil.arithmetic.MODES`.

        Raises:
            UnknownOperation: An operation is given parameters whose meaning is not specified.
            ContradictoryProgram: An operation does not fit what it is given, or gives something else than is declared.
        """
        values: dict[Hashable, Value] = self.constants | self._entered(inputs, mode)
        for index, call in enumerate(self._calls):
            op = call.operation
            arithmetic = Half() if mode == "ane" and op.name in self._halves else Exact()
            results = _run(call, values, arithmetic)
            anomalies: Anomalies = {}
            if mode != "fp32":
                results, counts = _store(op, results)
                counts["overflow"] += arithmetic.overflows
                anomalies = +counts  # without those that are 0
            values.update(zip((name for name, _ in op.outputs), results, strict=True))
            for key in self._last_uses.get(index, ()):
                values.pop(key, None)
            yield Step(op, results, anomalies)

    def _entered(self, inputs: Mapping[str, Tensor], mode: str) -> dict[Hashable, Value]:
        """The inputs in the types that the function declares."""
        entered: dict[Hashable, Value] = {}
        for name, declared in self.function.inputs.items():
            if name not in inputs or declared.dtype not in DTYPES:
                raise ContradictoryProgram(f"the function takes {name!r}, a {declared.dtype}, which nothing gives")
            value = inputs[name].to(DTYPES[declared.dtype])
            _check(name, value, declared)
            entered[name] = value.half().float() if declared.dtype == "float16" and mode != "fp32" else value
        return entered


def _on_float16(function: Function) -> frozenset[str]:
    """Names of the operations that take float16, as one does that makes codes of it, or give it."""
    types = dict(function.inputs) | {name: constant.type for name, constant in function.constants.items()}
    types |= dict(output for op in function.operations for output in op.outputs)
    found = set()
    for op in function.operations:
        taken = (each for bindings in op.inputs.values() for each in bindings)
        given = [each.type if isinstance(each, Constant) else types[each] for each in taken]
        if any(each.dtype == "float16" for each in (*given, *(declared for _, declared in op.outputs))):
            found.add(op.name)
    return frozenset(found)


def _run(call: _Call, values: Mapping[Hashable, Value], arithmetic: Exact) -> tuple[Value, ...]:
    op, handler = call.operation, HANDLERS[call.operation.type]
    many = _takes_many(handler)
    for name, declared in op.outputs:
        _check_known(name, declared)
    unknown = [parameter for parameter in call.arguments if parameter not in _parameters(handler)]
    if unknown:
        raise UnknownOperation(f"{op.type} with the parameter {unknown[0]!r}")
    several = [parameter for parameter, keys in call.arguments.items() if len(keys) > 1 and parameter not in many]
    if several:
        raise ContradictoryProgram(f"{op.name} ({op.type}) is given several values for {several[0]!r}")
    arguments = {
        parameter: tuple(values[key] for key in keys) if parameter in many else values[keys[0]]
        for parameter, keys in call.arguments.items()
    }
    try:
        with torch.inference_mode():
            result = handler(arithmetic, **arguments)
    except NotImplementedError as error:
        raise UnknownOperation(f"{op.type} with {_first_line(error)}") from None
    except Exception as error:  # whatever a handler runs into, by what it was given or by a fault of its own
        raise ContradictoryProgram(f"{op.name} ({op.type}) cannot be computed: {_first_line(error)}") from None
    results = result if isinstance(result, tuple) else (result,)
    if len(results) != len(op.outputs):
        raise ContradictoryProgram(f"{op.name} ({op.type}) gives {len(results)} values, not {len(op.outputs)}")
    for value, (name, declared) in zip(results, op.outputs, strict=True):
        _check(name, value, declared)
    return results


def _check_known(name: str, declared: ValueType) -> None:
    """Check that a value of a type can be held.

    Raises:
        UnknownOperation: The element type is not known, or the value is too large.
        ContradictoryProgram: There is no such shape.
    """
    if declared.shape and declared.dtype not in DTYPES:
        raise UnknownOperation(f"{name}, which is declared {declared.dtype}")
    try:
        bounded(side for side in declared.shape if side is not None)
    except TooLarge as error:
        raise UnknownOperation(f"{name}, {error}; {LARGEST_BYTES / 2**30:.3g} GiB are the most here") from None
    except ValueError as error:
        raise ContradictoryProgram(f"{name} is declared as {error}") from None


@cache
def _parameters(handler: Callable[..., Any]) -> frozenset[str]:
    """Names of what a handler takes, after the arithmetic."""
    return frozenset(list(inspect.signature(handler).parameters)[1:])


@cache
def _takes_many(handler: Callable[..., Any]) -> frozenset[str]:
    """Parameters that take several values, marked by their annotation."""
    parameters = inspect.signature(handler).parameters.values()
    return frozenset(parameter.name for parameter in parameters if "tuple[" in str(parameter.annotation))


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__} {lines[0]}" if isinstance(error, KeyError) else lines[0] if lines else repr(error)


def _check(name: str, value: Value, declared: ValueType) -> None:
    if not isinstance(value, Tensor):
        return
    sides = declared.shape
    fits = len(sides) == value.ndim and all(side in (None, size) for side, size in zip(sides, value.shape, strict=True))
    if not fits and not declared.is_variadic:
        raise ContradictoryProgram(f"{name} is declared {list(sides)} and comes out {list(value.shape)}")
    if DTYPES.get(declared.dtype) != value.dtype:
        raise ContradictoryProgram(f"{name} is declared {declared.dtype} and comes out {value.dtype}")


def _store(op: Operation, results: tuple[Value, ...]) -> tuple[tuple[Value, ...], Counter[str]]:
    """The results as the program stores them, and what float16 did to them."""
    counts: Counter[str] = Counter()
    stored = []
    for value, (_, declared) in zip(results, op.outputs, strict=True):
        if declared.dtype != "float16" or not isinstance(value, Tensor):
            stored.append(value)
            continue
        rounded, anomalies = halved(value)
        counts += anomalies
        counts["subnormal"] += int(((value != 0) & (rounded.abs() < SMALLEST_NORMAL)).sum())
        stored.append(rounded)
    return tuple(stored), counts
