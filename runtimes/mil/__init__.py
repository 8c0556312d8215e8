"""The engine of Core ML packages without Core ML: it reads the MIL program from the package and evaluates it.

Images are RGB pixels from 0 to 255, in the colour order that the package declares. A classifier's probabilities are
returned in the order of its labels, as from Core ML.

It owns the meaning of MIL's operations and their rounding. It may import common, formats, artifact and inspection.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from evim_deploy.artifact.trace import HALF, SINGLE, Arrays, Trace, TracedOperation
from evim_deploy.common import threads
from evim_deploy.common.errors import BadInput, Damaged, NotRunHere
from evim_deploy.formats.coreml import one_line, read_package
from evim_deploy.formats.mil import Constant, Function, Operation
from evim_deploy.formats.mlmodel import of_program
from evim_deploy.inspection.core_ml import reported_difference
from runtimes import Array
from runtimes.coreml_interface import probabilities
from runtimes.mil.inputs import image_input
from runtimes.modes import Mode

if TYPE_CHECKING:
    from torch import Tensor

    from runtimes.mil.values import Value


class MilSession:
    """A function of a package; its arrays are channels-first.

    Pixels are not rounded; Core ML itself would round those of an image to 8 bits.

    Args:
        path: The package.
        mode: Mode of the arithmetic.
        function: Name of the function; by default the package's default function.

    Attributes:
        metadata: Metadata of the package.
        anomalies: Counts of the values that float16 could not represent in the last run, by operation.

    Raises:
        BadInput: The package is damaged, or has no such function.
        NotRunHere: The evaluator does not support an operation, or Core ML is reported to compute it differently.
    """

    def __init__(self, path: Path, mode: Mode, function: str | None = None) -> None:
        from runtimes.mil.evaluate import Evaluator

        package = read_package(path)
        name = function or package.default_function
        if name not in package.functions:
            raise BadInput(f"{path} has no function {name!r}.", f"Name one of {', '.join(sorted(package.functions))}.")
        interface = package.interface(name)
        _refuse_reported(path, package.functions[name])
        self._path, self._mode = path, mode
        with _translated_errors(path):
            self._evaluator = Evaluator(package.functions[name])
        self._image = image_input(interface, str(path))
        self._outputs = [feature.name for feature in interface.output]
        self._probabilities: str = interface.predictedProbabilitiesName
        missing = {*self._outputs, *filter(None, [self._probabilities])} - set(self._evaluator.function.outputs)
        if missing:
            raise Damaged(f"{path} is damaged: its program has no output {min(missing)!r}.")
        self.metadata: Mapping[str, str] = package.metadata
        self.anomalies: dict[str, Mapping[str, int]] = {}

    def run(self, image: Array) -> dict[str, Array]:
        inputs = self._inputs(image)
        outputs: dict[Hashable, Value] = {**self._evaluator.constants}
        outputs.update(inputs)
        self.anomalies = {}
        names = set(self._evaluator.function.outputs)
        with _translated_errors(self._path):
            for step in self._evaluator.steps(inputs, self._mode):
                if step.anomalies:
                    self.anomalies[f"{step.operation.name} ({step.operation.type})"] = step.anomalies
                for (name, _), value in zip(step.operation.outputs, step.values, strict=True):
                    if name in names:
                        outputs[name] = value
        return self._arrays(outputs)

    def _arrays(self, outputs: Mapping[Hashable, Value]) -> dict[str, Array]:
        """Return the outputs that Core ML would return, as arrays; those of a classifier are its probabilities."""
        import torch

        if self._probabilities:
            by_label = outputs[self._probabilities]
            if not isinstance(by_label, dict):
                raise Damaged(f"{self._path} is damaged: {self._probabilities!r} is not a dictionary by label.")
            return {"probabilities": probabilities(by_label, self.metadata, self._path)}
        for name in self._outputs:
            if not isinstance(outputs[name], torch.Tensor):
                raise Damaged(f"{self._path} is damaged: its output {name!r} is not an array.")
        return {name: outputs[name].float().numpy() for name in self._outputs}

    def _inputs(self, image: Array) -> dict[str, Tensor]:
        import torch

        return {self._image.name: torch.from_numpy(self._image.feed(image))}

    def operations(self) -> tuple[TracedOperation, ...]:
        """Return the operations of the function with their weights."""
        return tuple(_traced(op, self._evaluator.stored, self._mode) for op in self._evaluator.operations)

    def trace(self, image: Array) -> Trace:
        """Return the operations of the function and their values on images (B, 3, H, W)."""
        indices = {op.name: index for index, op in enumerate(self._evaluator.operations)}

        def compute(requested: Mapping[int, int]) -> Iterator[tuple[int, Arrays]]:
            with _translated_errors(self._path):
                for step in self._evaluator.steps(self._inputs(image), self._mode):
                    if indices[step.operation.name] in requested:
                        yield indices[step.operation.name], tuple(value.numpy() for value in step.values)

        return Trace(self.operations(), compute)


def _refuse_reported(path: Path, function: Function) -> None:
    """Refuse a program that Core ML is reported to compute differently from the specification.

    Raises:
        NotRunHere: The program has such an operation; the message names it.
    """
    if report := reported_difference(of_program("", function)):
        cause, remedy = report
        cause = f"{path} cannot be evaluated here: {one_line(cause)}"
        raise NotRunHere(cause, f"{remedy} On a Mac Core ML itself runs it, as it does.")


@contextmanager
def _translated_errors(path: Path) -> Iterator[None]:
    """Raise the errors of the evaluator as errors with a message for the user."""
    from runtimes.mil.evaluate import ContradictoryProgram, UnknownOperation

    try:
        yield
    except ContradictoryProgram as error:
        raise Damaged(f"The program of {path} cannot be evaluated: {one_line(error)}.") from None
    except UnknownOperation as error:
        cause = f"{path} has operations that cannot be evaluated here: {one_line(error)}."
        raise NotRunHere(cause, "Run it on a Mac.") from None


@contextmanager
def open_session(path: Path, mode: Mode, function: str | None = None) -> Iterator[MilSession]:
    """Open a session of a function of a package, by default of its default function.

    Raises:
        BadInput: The package is damaged, or has no such function.
        NotRunHere: The evaluator does not support an operation, or Core ML is reported to compute it differently.
    """
    with threads.torch_threads():
        yield MilSession(path, mode, function)


def read_operations(path: Path, mode: Mode, function: str | None = None) -> tuple[TracedOperation, ...]:
    """Return the operations of a function of a package, by default of its default function.

    Raises:
        BadInput: The package is damaged, or has no such function.
        NotRunHere: The evaluator does not support an operation, or Core ML is reported to compute it differently.
    """
    return MilSession(path, mode, function).operations()


def trace(path: Path, image: Array, mode: Mode) -> Trace:
    """Return the operations of a package's program and their values on images (B, 3, H, W).

    Raises:
        BadInput: The package is damaged.
        NotRunHere: The evaluator does not support an operation, or Core ML is reported to compute it differently.
    """
    return MilSession(path, mode).trace(image)


def _traced(op: Operation, constants: Mapping[str, Constant], mode: Mode) -> TracedOperation:
    bindings = [
        constants.get(binding, binding) if isinstance(binding, str) else binding
        for parameter in op.inputs.values()
        for binding in parameter
    ]
    is_half = mode != Mode.FP32 and any(value_type.dtype == "float16" for _, value_type in op.outputs)
    return TracedOperation(
        type=op.type,
        names=(_SUFFIXES.sub("", op.name.removesuffix("_0") if len(op.outputs) > 1 else op.name),),
        weights=tuple(
            np.asarray(binding.value, binding.type.dtype)
            for binding in bindings
            if isinstance(binding, Constant) and binding.type.is_float
        ),
        rounding=HALF if is_half else SINGLE,
        accumulation=HALF if is_half and mode == Mode.ANE else SINGLE,
    )


_SUFFIXES = re.compile(r"(_exact|_quantize|_dequantize)?(_(cast|to)_fp16)?$")
"""Suffixes that our exporter gives to the operations of a quantised value, and coremltools to those that it casts to
float16."""
