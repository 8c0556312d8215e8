"""Random cases of single MIL operations: parameters, expected outputs from the specification, and evaluation."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from runtimes.mil.arithmetic import Float32
from runtimes.mil.operations import HANDLERS
from runtimes.mil.values import tensor

Array = npt.NDArray[Any]
SEEDS = 12
TOLERANCE = 1e-5  # relative to the largest value: several float32 roundings of 6e-8


class Draw:
    """Random parameters. Floats are float64 values that float32 can represent."""

    def __init__(self, op: str, seed: int) -> None:
        self.rng = np.random.default_rng([zlib.crc32(op.encode()), seed])

    def integer(self, low: int, high: int) -> int:
        """Draw an integer from low to high, inclusive."""
        return int(self.rng.integers(low, high + 1))

    def choice(self, *options: Any) -> Any:
        return options[self.rng.integers(len(options))]

    def flag(self) -> bool:
        return bool(self.rng.integers(2))

    def array(self, *shape: int, low: float = -2, high: float = 2) -> Array:
        return self.rng.uniform(low, high, shape).astype(np.float32).astype(np.float64)

    def eighths(self, *shape: int, low: int = -40, high: int = 40) -> Array:
        """Draw multiples of 1/8, whose sums and products are exact."""
        return self.rng.integers(low, high + 1, shape) / 8

    def integers(self, *shape: int, low: int = -5, high: int = 5) -> Array:
        return self.rng.integers(low, high + 1, shape).astype(np.int32)

    def number(self, low: float = 0.1, high: float = 2) -> float:
        return float(np.float32(self.rng.uniform(low, high)))

    def shape(self, least: int, most: int, low: int = 1, high: int = 5) -> tuple[int, ...]:
        return tuple(self.integer(low, high) for _ in range(self.integer(least, most)))

    def axis(self, rank: int) -> int:
        return self.integer(-rank, rank - 1)

    def axes(self, rank: int) -> list[int]:
        """Draw one or more axes, in any order, counted from either end."""
        chosen = self.rng.permutation(rank)[: self.integer(1, rank)]
        return [int(axis) - rank * self.integer(0, 1) for axis in chosen]


@dataclass(frozen=True)
class Case:
    """Parameters of an operation and its expected outputs.

    Attributes:
        given: Parameters by the names of the specification: arrays, Python scalars, strings, tuples of arrays.
        expected: Outputs: float64, integers or booleans.
        opset: The first iOS with this version of the operation.
        computed: Parameters that a program may compute; the others must be constants.
    """

    given: Mapping[str, Any]
    expected: tuple[Any, ...]
    opset: str = "iOS15"
    computed: Sequence[str] = ("x",)


Cases = Mapping[str, Callable[[Draw], Case]]


def of(expected: Any, opset: str = "iOS15", computed: Sequence[str] = ("x",), **given: Any) -> Case:
    """Make a case of one output."""
    return Case({key: value for key, value in given.items() if value is not None}, (expected,), opset, computed)


def held(value: Any) -> Any:
    """Return a parameter as the evaluator holds it."""
    if isinstance(value, tuple):
        return tuple(held(each) for each in value)
    if isinstance(value, list):
        value = np.array(value, dtype=np.bool_ if value and isinstance(value[0], bool) else np.int32)
    if not isinstance(value, np.ndarray) or value.dtype.kind == "U":
        return value
    return torch.from_numpy(value.astype(np.float32) if value.dtype.kind == "f" else value.copy())


def evaluate(op: str, case: Case, arithmetic: Float32 | None = None) -> list[Array]:
    """Return the outputs of the handler."""
    result = HANDLERS[op](arithmetic or Float32(), **{key: held(value) for key, value in case.given.items()})
    results = result if isinstance(result, tuple) else (result,)
    return [tensor(each).numpy() for each in results]


def gap(actual: Array, expected: Any) -> float:
    """Return the largest difference relative to the largest expected value; infinite if shapes or kinds differ."""
    expected = np.asarray(expected)
    if actual.shape != expected.shape or (actual.dtype.kind == "f") != (expected.dtype.kind == "f"):
        return np.inf
    if actual.dtype.kind != "f":
        return 0.0 if np.array_equal(actual, expected) else np.inf
    if not expected.size:
        return 0.0
    return float(np.abs(actual - expected).max() / max(1.0, np.abs(expected).max()))


def check(op: str, make: Callable[[Draw], Case], part: int = 0) -> None:
    """Check that the handler returns the specified outputs over :data:`SEEDS` random cases; ``part`` selects others."""
    for seed in range(part * SEEDS, (part + 1) * SEEDS):
        case = make(Draw(op, seed))
        actual = evaluate(op, case)
        assert len(actual) == len(case.expected)
        for found, expected in zip(actual, case.expected, strict=True):
            assert gap(found, expected) < TOLERANCE, f"seed {seed}: {case.given}\n{found}\n{expected}"


def outside(op: str, case: Case) -> dict[str, Array]:
    """Return the run-time inputs of a program with this operation, by name."""
    found: dict[str, Array] = {}
    for key in case.computed:
        value = case.given.get(key)
        arrays = value if isinstance(value, tuple) else [value] if isinstance(value, np.ndarray) else []
        found |= {f"{op}_{key}_{index}": _typed(array) for index, array in enumerate(arrays)}
    return found


def package(cases: Mapping[str, Case], path: Path) -> list[str]:
    """Write cases as a package of one program with coremltools; return the names of its outputs in order."""
    import coremltools as ct
    from coremltools.converters.mil import Builder as mb  # noqa: N813
    from coremltools.converters.mil import mil
    from coremltools.converters.mil.mil import types

    (opset,) = {case.opset for case in cases.values()}
    target = getattr(ct.target, opset)
    inputs = {name: array for op, case in cases.items() for name, array in outside(op, case).items()}
    placeholders = {
        name: mb.placeholder(array.shape, types.fp32 if array.dtype == np.float32 else types.int32)
        for name, array in inputs.items()
    }
    outputs: list[Any] = []
    program = mil.Program()
    with mil.Function(placeholders, opset_version=target) as function:
        for op, case in cases.items():
            given = {key: _typed(value, key) for key, value in case.given.items()}
            for key, value in given.items():
                names = [name for name in function.inputs if name.startswith(f"{op}_{key}_")]
                values = tuple(function.inputs[name] for name in names if key in case.computed)
                given[key] = (values if isinstance(value, tuple) else values[0]) if values else value
            result = getattr(mb, op)(**given)
            outputs += result if isinstance(result, list | tuple) else [result]
        function.set_outputs(outputs)
    program.add_function("main", function)
    model = ct.convert(
        program,
        convert_to="mlprogram",
        minimum_deployment_target=target,
        compute_precision=ct.precision.FLOAT32,
        pass_pipeline=ct.PassPipeline.CLEANUP,
        skip_model_load=True,
    )
    model.save(str(path))
    return [output.name for output in model.get_spec().description.output]


def _typed(value: Any, key: str = "") -> Any:
    """Return a parameter as coremltools accepts it."""
    if key in ("resized_dims", "downscale_factor"):
        return np.uint32(value)
    if isinstance(value, np.ndarray) and value.dtype == np.float64:
        return value.astype(np.float32)
    if isinstance(value, float):
        return np.float32(value)
    return tuple(_typed(each) for each in value) if isinstance(value, tuple) else value
