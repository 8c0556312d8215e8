"""Measuring requires fewer packages than reporting: a machine with a GPU may lack SciPy and matplotlib."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

from evim_deploy.common.errors import NotInstalled
from latency.installed import require_measuring, require_reporting

_MODULES = ("cli.bench", "session", "plan", "worker", "preparation", "engines.torch", "results")
_IMPORT = "\n".join(f"import {'evim_deploy' if name == 'cli.bench' else 'latency'}.{name}" for name in _MODULES)


@pytest.mark.parametrize("missing", ["scipy", "matplotlib", "jinja2"])
def test_without_what_draws_reports_it_measures(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else found(name))
    require_measuring()
    with pytest.raises(NotInstalled, match=f"Latency needs {missing}"):
        require_reporting()


def test_without_a_monitor_it_measures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "psutil" else found(name))
    with pytest.raises(NotInstalled, match="psutil"):
        require_measuring()


def test_what_measures_imports_nothing_that_reports() -> None:
    program = f"import sys\n{_IMPORT}\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"scipy", "matplotlib", "onnx", "onnxruntime", "tensorflow", "openvino"} & {*done.stdout.split()}
    assert {"psutil", "pydantic", "torch"} <= {*done.stdout.split()}
