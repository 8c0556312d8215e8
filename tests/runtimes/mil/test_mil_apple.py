"""The evaluator passes coremltools' own tests of the MIL operations, which Core ML passes."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

# Tests that call Core ML without `compare_backend`, need a stateful model, or expect that an undefined case passes in
# silence (we refuse an index outside of its axis).
LEFT_OUT = ("invalid_indices", "corner_case", "TestReadState", "TestCoreMLUpdateState")


@pytest.mark.slow
def test_the_evaluator_returns_the_outputs_expected_from_core_ml(tmp_path: Path) -> None:
    coremltools = importlib.util.find_spec("coremltools")
    assert coremltools is not None
    assert coremltools.origin is not None
    theirs = Path(coremltools.origin).parent / "converters/mil/mil/ops/tests"
    if not theirs.exists():
        pytest.skip("this coremltools comes without its tests")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT / "tests" / "support"), str(ROOT)]),
        "PYMIL_TEST_TARGETS": "mlprogram",
        "INCLUDE_MIL_FP32_UNIT_TESTS": "1",
        "MIL_APPLE_REPORT": str(tmp_path / "report.json"),
    }
    options = ["-q", "-p", "large_imports", "-p", "mil_apple", "-p", "no:cacheprovider"]
    options += ["-W", "ignore", "--tb=line", f"--rootdir={tmp_path}"]
    options += [f"--ignore-glob=*test_{family}.py" for family in ("control_flow", "random", "recurrent")]
    deselected = " and ".join(f"not {name}" for name in LEFT_OUT)
    result = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "-k", deselected, str(theirs)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    summary = result.stdout.splitlines()[-1]
    passed = re.search(r"(\d+) passed", summary)
    assert passed is not None
    assert int(passed[1]) > 200, summary
    assert len(json.loads((tmp_path / "report.json").read_text())) > 90
