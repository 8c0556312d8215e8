"""Evaluate a function of a MIL program, operation by operation, in torch.

Every float is held as float32. A result that the program declares float16 is rounded to it, except in mode ``fp32``.
Constants have the declared type in every mode, including those that ``constexpr_`` operations compute. Each result is
checked against the declared type and shape.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from evim_deploy.common.errors import first_line
from evim_deploy.formats.mil import Constant, Function, Operation, ValueType
from runtimes.mil.arithmetic import SMALLEST_NORMAL, Float16, Float32, round_to_float16
from runtimes.mil.operations import HANDLERS
from runtimes.mil.values import DTYPES, LARGEST_BYTES, TooLarge, Value, bounded, from_constant
from runtimes.modes import Mode

_COMPRESSED = "constexpr_"


class UnknownOperation(Exception):
    """The evaluator does not support an operation or a variant of it; the message names it."""


class ContradictoryProgram(Exception):
    """An operation contradicts its inputs or its declared outputs; the message says where and how.

    Either the program is damaged or the evaluator has a fault; the evaluator cannot tell which.
    """


Anomalies = Mapping[str, int]
"""Counts of the float16 results of an operation that float16 cannot represent, by kind:

``overflow``: a finite value became infinite, in ``ane`` also inside the operation; ``subnormal``: a value other than 0
is below the smallest normal number; ``nan``.
"""


@dataclass(frozen=True)
class Step:
    """One evaluated operation."""

    operation: Operation
    values: tuple[Value, ...]
    anomalies: Anomalies


@dataclass(frozen=True)
class _Call:
    """An operation, and the keys of the values of each parameter."""

    operation: Operation
    arguments: Mapping[str, tuple[Hashable, ...]]


def unknown_operations(function: Function) -> Counter[str]:
    """Count the operations that the evaluator does not support, by type."""
    return Counter(op.type for op in function.operations if op.type not in HANDLERS or op.has_blocks)


class Evaluator:
    """A function that is ready to be evaluated, with its constants decompressed and as tensors.

    Attributes:
        function: The function.
        operations: The operations that run for each image.
        constants: Its constants by name, and those inside operations by keys of their own.
        stored: Its constants by name as the file stores them, and the decompressed ones.

    Raises:
        UnknownOperation: The evaluator does not support an operation.
        ContradictoryProgram: The types or the constants of the program contradict each other.
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
                results, _ = _store(op, _run(call, self.constants, Float32()))
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
        """Prepare the call of an operation, and add the constants inside it to the others."""
        arguments: dict[str, tuple[Hashable, ...]] = {}
        for parameter, bindings in op.inputs.items():
            keys: list[Hashable] = []
            for index, binding in enumerate(bindings):
                keys.append(binding if isinstance(binding, str) else (op.name, parameter, index))
                if not isinstance(binding, str):
                    self.constants[keys[-1]] = from_constant(binding)
            arguments[parameter] = tuple(keys)
        return _Call(op, arguments)

    def steps(self, inputs: Mapping[str, Tensor], mode: Mode) -> Iterator[Step]:
        """Evaluate the function and yield each operation; a value is dropped after its last use.

        Args:
            inputs: Values by name, each of the shape that the function declares.
            mode: ``fp32``, ``fp16`` or ``ane``.

        Raises:
            UnknownOperation: The parameters of an operation have no specified meaning.
            ContradictoryProgram: An operation contradicts its inputs or its declared outputs.
        """
        values: dict[Hashable, Value] = self.constants | self._typed_inputs(inputs, mode)
        for index, call in enumerate(self._calls):
            op = call.operation
            arithmetic = Float16() if mode == Mode.ANE and op.name in self._halves else Float32()
            results = _run(call, values, arithmetic)
            anomalies: Anomalies = {}
            if mode != Mode.FP32:
                results, counts = _store(op, results)
                counts["overflow"] += arithmetic.overflows
                anomalies = +counts  # without the zeros
            values.update(zip((name for name, _ in op.outputs), results, strict=True))
            for key in self._last_uses.get(index, ()):
                values.pop(key, None)
            yield Step(op, results, anomalies)

    def _typed_inputs(self, inputs: Mapping[str, Tensor], mode: Mode) -> dict[Hashable, Value]:
        """Return the inputs in the types that the function declares."""
        typed: dict[Hashable, Value] = {}
        for name, declared in self.function.inputs.items():
            if name not in inputs or declared.dtype not in DTYPES:
                raise ContradictoryProgram(f"the function has the input {name!r}, a {declared.dtype}, without a value")
            value = inputs[name].to(DTYPES[declared.dtype])
            _check(name, value, declared)
            typed[name] = value.half().float() if declared.dtype == "float16" and mode != Mode.FP32 else value
        return typed


def _on_float16(function: Function) -> frozenset[str]:
    """Return the names of the operations with a float16 input or output."""
    types = dict(function.inputs) | {name: constant.type for name, constant in function.constants.items()}
    types |= dict(output for op in function.operations for output in op.outputs)
    names = set()
    for op in function.operations:
        bindings = (binding for parameter in op.inputs.values() for binding in parameter)
        inputs = [binding.type if isinstance(binding, Constant) else types[binding] for binding in bindings]
        if any(each.dtype == "float16" for each in (*inputs, *(declared for _, declared in op.outputs))):
            names.add(op.name)
    return frozenset(names)


def _run(call: _Call, values: Mapping[Hashable, Value], arithmetic: Float32) -> tuple[Value, ...]:
    op, handler = call.operation, HANDLERS[call.operation.type]
    variadic = _variadic_parameters(handler)
    for name, declared in op.outputs:
        _check_known(name, declared)
    unknown = [parameter for parameter in call.arguments if parameter not in _parameters(handler)]
    if unknown:
        raise UnknownOperation(f"{op.type} with the parameter {unknown[0]!r}")
    several = [parameter for parameter, keys in call.arguments.items() if len(keys) > 1 and parameter not in variadic]
    if several:
        raise ContradictoryProgram(f"{op.name} ({op.type}) has several values for {several[0]!r}")
    arguments = {
        parameter: tuple(values[key] for key in keys) if parameter in variadic else values[keys[0]]
        for parameter, keys in call.arguments.items()
    }
    try:
        with torch.inference_mode():
            result = handler(arithmetic, **arguments)
    except NotImplementedError as error:
        raise UnknownOperation(f"{op.type} with {first_line(error)}") from None
    except Exception as error:  # a contradiction in the program, or a fault of the handler
        raise ContradictoryProgram(f"{op.name} ({op.type}) cannot be computed: {_reason(error)}") from None
    results = result if isinstance(result, tuple) else (result,)
    if len(results) != len(op.outputs):
        raise ContradictoryProgram(f"{op.name} ({op.type}) returns {len(results)} values, not {len(op.outputs)}")
    for value, (name, declared) in zip(results, op.outputs, strict=True):
        _check(name, value, declared)
    return results


def _check_known(name: str, declared: ValueType) -> None:
    """Check that the evaluator can hold a value of a type.

    Raises:
        UnknownOperation: The element type is unknown, or the value is too large.
        ContradictoryProgram: The shape is invalid.
    """
    if declared.shape and declared.dtype not in DTYPES:
        raise UnknownOperation(f"{name}, which is declared {declared.dtype}")
    try:
        bounded(side for side in declared.shape if side is not None)
    except TooLarge as error:
        raise UnknownOperation(f"{name}, {error}; {LARGEST_BYTES / 2**30:.3g} GiB are the limit") from None
    except ValueError as error:
        raise ContradictoryProgram(f"{name} is declared as {error}") from None


@cache
def _parameters(handler: Callable[..., Value]) -> frozenset[str]:
    """Return the names of a handler's parameters after the arithmetic."""
    return frozenset(list(inspect.signature(handler).parameters)[1:])


@cache
def _variadic_parameters(handler: Callable[..., Value]) -> frozenset[str]:
    """Return the names of the parameters with several values, which are annotated as tuples."""
    parameters = inspect.signature(handler).parameters.values()
    return frozenset(parameter.name for parameter in parameters if "tuple[" in str(parameter.annotation))


def _reason(error: Exception) -> str:
    return f"KeyError {first_line(error)}" if isinstance(error, KeyError) else first_line(error)


def _check(name: str, value: Value, declared: ValueType) -> None:
    if not isinstance(value, Tensor):
        return
    sides = declared.shape
    fits = len(sides) == value.ndim and all(side in (None, size) for side, size in zip(sides, value.shape, strict=True))
    if not fits and not declared.is_variadic:
        raise ContradictoryProgram(f"{name} is declared {list(sides)} but is {list(value.shape)}")
    if DTYPES.get(declared.dtype) != value.dtype:
        raise ContradictoryProgram(f"{name} is declared {declared.dtype} but is {value.dtype}")


def _store(op: Operation, results: tuple[Value, ...]) -> tuple[tuple[Value, ...], Counter[str]]:
    """Return the results as the program stores them, and the counts of values that float16 cannot represent."""
    counts: Counter[str] = Counter()
    stored = []
    for value, (_, declared) in zip(results, op.outputs, strict=True):
        if declared.dtype != "float16" or not isinstance(value, Tensor):
            stored.append(value)
            continue
        rounded, anomalies = round_to_float16(value)
        counts += anomalies
        counts["subnormal"] += int(((value != 0) & (rounded.abs() < SMALLEST_NORMAL)).sum())
        stored.append(rounded)
    return tuple(stored), counts
