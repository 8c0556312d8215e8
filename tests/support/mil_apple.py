"""Pytest plugin that runs coremltools' own tests of MIL operations in our evaluator instead of Core ML.

coremltools ships the tests that its authors run on a Mac: programs of one or two operations, their inputs and the
outputs expected from Core ML. One float32 case of each test runs. The plugin replaces ``compare_backend``, which asks
Core ML for a prediction on macOS and does nothing elsewhere.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from coremltools.converters.mil import testing_utils
from coremltools.converters.mil.mil.ops.tests import testing_utils as operations_utils

from evim_deploy.formats.coreml import read_package
from runtimes.mil.evaluate import Evaluator, UnknownOperation

REPORT = "MIL_APPLE_REPORT"
evaluated: Counter[str] = Counter()


def predict(model: Any, inputs: Mapping[str, Any]) -> dict[Any, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.mlpackage"
        model.save(str(path))
        function = read_package(path).functions["main"]
    given = {}
    for name, declared in function.inputs.items():
        array = np.asarray(inputs[name])
        if array.ndim == 3 and len(declared.shape) == 4:  # an image input
            array = array.transpose(2, 0, 1)[None]
        if None not in declared.shape:
            array = array.reshape([side or 1 for side in declared.shape])
        given[name] = torch.from_numpy(np.array(array, dtype=np.float32 if declared.is_float else np.int32))
    evaluator = Evaluator(function)
    values: dict[Any, Any] = {**evaluator.constants, **given}
    for step in evaluator.steps(given, "fp32"):
        evaluated[step.operation.type] += 1
        values.update(zip((name for name, _ in step.operation.outputs), step.values, strict=True))
    return values


def compare(mlmodel: Any, input_key_values: Any, expected_outputs: Any, **options: Any) -> Any:
    try:
        values = predict(mlmodel, input_key_values)
    except UnknownOperation as error:
        pytest.skip(f"not evaluated: {error}")
    description = mlmodel.get_spec().description
    names = [output.name for output in description.output]
    halves = "FLOAT16" in str(mlmodel.get_spec().mlProgram)  # the expected values are not rounded to float16
    atol, rtol = max(options.get("atol", 1e-4), 5e-3 * halves), max(options.get("rtol", 1e-5), 5e-3 * halves)
    for name, expected in (expected_outputs or {}).items():
        found = values[name if name in values else name.replace("/", "_") if len(names) > 1 else names[0]]
        if isinstance(found, torch.Tensor):
            np.testing.assert_allclose(found.numpy().reshape(np.shape(expected)), expected, atol=atol, rtol=rtol)
    return values


testing_utils.compare_backend = operations_utils.compare_backend = compare


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Select one case of each test, for ML Programs in float32."""
    cases = defaultdict(list)
    for item in items:
        backend = getattr(getattr(item, "callspec", None), "params", {}).get("backend")
        if getattr(backend, "backend", "") == "mlprogram" and backend.precision == "fp32":
            cases[item.nodeid.partition("[")[0]].append(item)
    draw = random.Random(0)
    items[:] = [draw.choice(several) for several in cases.values()]


def pytest_runtest_setup() -> None:
    np.random.seed(0)
    random.seed(0)
    torch.manual_seed(0)


def pytest_sessionfinish() -> None:
    Path(os.environ[REPORT]).write_text(json.dumps(evaluated))
