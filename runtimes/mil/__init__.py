"""Core ML packages without Core ML: the package's own MIL program, read back from disk and evaluated.

An image goes in as Core ML feeds it, pixels 0-255 in the color order that the package asks for. A
classifier's probabilities come back in the order of its labels, like Core ML's own dictionary.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from evim_deploy import threads
from evim_deploy.contents.coreml import one_line, read_package
from evim_deploy.contents.mil import Constant, Function, Operation
from evim_deploy.contents.mlmodel import of_program
from evim_deploy.errors import BadInput, Damaged, NotRunHere
from evim_deploy.inspection.core_ml import told_otherwise
from evim_deploy.trace import HALF, SINGLE, Arrays, Trace, TracedOperation
from runtimes import Array
from runtimes.classes import probabilities
from runtimes.mil.inputs import image_input


class MilSession:
    """A function of a package; its arrays are channels-first as they stand.

    Pixels are fed as they are; Core ML itself would round those of an image to 8 bits.

    Attributes:
        metadata: Of the package.
        anomalies: What float16 could not hold in the last run, by operation.
    """

    def __init__(self, path: Path, mode: str, function: str | None = None) -> None:
        from runtimes.mil.evaluate import Evaluator

        package = read_package(path)
        name = function or package.default_function
        if name not in package.functions:
            raise BadInput(f"{path} has no function {name!r}.", f"Name one of {', '.join(sorted(package.functions))}.")
        interface = package.interface(name)
        _refuse_reported(path, package.functions[name])
        self._path, self._mode = path, mode
        with _told(path):
            self._evaluator = Evaluator(package.functions[name])
        self._image = image_input(interface, str(path))
        self._outputs = [feature.name for feature in interface.output]
        self._probabilities: str = interface.predictedProbabilitiesName
        missing = {*self._outputs, *filter(None, [self._probabilities])} - set(self._evaluator.function.outputs)
        if missing:
            raise Damaged(f"{path} is damaged: its program gives no {min(missing)!r}.")
        self.metadata: Mapping[str, str] = package.metadata
        self.anomalies: dict[str, Mapping[str, int]] = {}

    def run(self, image: Array) -> dict[str, Array]:
        fed = self._feed(image)
        outputs: dict[Any, Any] = {**self._evaluator.constants, **fed}
        self.anomalies = {}
        wanted = set(self._evaluator.function.outputs)
        with _told(self._path):
            for step in self._evaluator.steps(fed, self._mode):
                if step.anomalies:
                    self.anomalies[f"{step.operation.name} ({step.operation.type})"] = step.anomalies
                for (name, _), value in zip(step.operation.outputs, step.values, strict=True):
                    if name in wanted:
                        outputs[name] = value
        return self._arrays(outputs)

    def _arrays(self, outputs: Mapping[Any, Any]) -> dict[str, Array]:
        """What Core ML would give, as arrays: of a classifier its probabilities."""
        import torch

        if self._probabilities:
            by_label = outputs[self._probabilities]
            if not isinstance(by_label, dict):
                raise Damaged(f"{self._path} is damaged: {self._probabilities!r} is not by label.")
            return {"probabilities": probabilities(by_label, self.metadata, self._path)}
        for name in self._outputs:
            if not isinstance(outputs[name], torch.Tensor):
                raise Damaged(f"{self._path} is damaged: its output {name!r} is no array.")
        return {name: outputs[name].float().numpy() for name in self._outputs}

    def _feed(self, image: Array) -> dict[str, Any]:
        import torch

        return {self._image.name: torch.from_numpy(self._image.feed(image))}


def _refuse_reported(path: Path, function: Function) -> None:
    """Refuse a program whose values Core ML is reported to compute otherwise than the evaluator does, as specified.

    Raises:
        NotRunHere: It has such an operation, which is named.
    """
    if told := told_otherwise(of_program("", function)):
        cause, remedy = told
        cause = f"{path} cannot be evaluated here: {one_line(cause)}"
        raise NotRunHere(cause, f"{remedy} On a Mac Core ML itself runs it, as it does.")


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """What the evaluator finds of a package, as the user is told it."""
    from runtimes.mil.evaluate import ContradictoryProgram, UnknownOperation

    try:
        yield
    except ContradictoryProgram as error:
        raise Damaged(f"The program of {path} cannot be evaluated: {one_line(error)}.") from None
    except UnknownOperation as error:
        cause = f"{path} has operations that cannot be evaluated here: {one_line(error)}."
        raise NotRunHere(cause, "Run it on a Mac.") from None


@contextmanager
def open_session(path: Path, mode: str, function: str | None = None) -> Iterator[MilSession]:
    """Read an .mlpackage, for its default function unless given.

    Raises:
        BadInput: It is damaged, or has no such function.
        NotRunHere: It has an operation that is not known, or that Core ML is reported to compute otherwise.
    """
    with threads.in_torch():
        yield MilSession(path, mode, function)


def read_operations(path: Path, mode: str, function: str | None = None) -> tuple[TracedOperation, ...]:
    """The operations of a package's default function, unless given.

    Raises:
        BadInput: It is damaged, or has no such function.
        NotRunHere: It has an operation that is not known, or that Core ML is reported to compute otherwise.
    """
    return _operations(MilSession(path, mode, function))


def _operations(session: MilSession) -> tuple[TracedOperation, ...]:
    evaluator = session._evaluator
    return tuple(_traced(op, evaluator.stored, session._mode) for op in evaluator.operations)


def trace(path: Path, image: Array, mode: str) -> Trace:
    """The operations of a package's program, and what gives their values.

    Raises:
        BadInput: It is damaged.
        NotRunHere: It has an operation that is not known, or that Core ML is reported to compute otherwise.
    """
    session = MilSession(path, mode)
    indices = {op.name: index for index, op in enumerate(session._evaluator.operations)}

    def compute(wanted: Mapping[int, int]) -> Iterator[tuple[int, Arrays]]:
        with _told(path):
            for step in session._evaluator.steps(session._feed(image), mode):
                if indices[step.operation.name] in wanted:
                    yield indices[step.operation.name], tuple(value.numpy() for value in step.values)

    return Trace(_operations(session), compute)


def _traced(op: Operation, constants: Mapping[str, Constant], mode: str) -> TracedOperation:
    bindings = [
        constants.get(each, each) if isinstance(each, str) else each for given in op.inputs.values() for each in given
    ]
    is_half = mode != "fp32" and any(value_type.dtype == "float16" for _, value_type in op.outputs)
    return TracedOperation(
        op.type,
        (_ADDED.sub("", op.name.removesuffix("_0") if len(op.outputs) > 1 else op.name),),
        tuple(
            np.asarray(each.value, each.type.dtype)
            for each in bindings
            if isinstance(each, Constant) and each.type.is_float
        ),
        HALF if is_half else SINGLE,
        HALF if is_half and mode == "ane" else SINGLE,
    )


_ADDED = re.compile(r"(_exact|_quantize|_dequantize)?(_(cast|to)_fp16)?$")
"""What the name of a step ends in: what our exporter calls one on the way to a value on a grid, and what coremltools
adds to the name of an operation that it makes one on float16."""
