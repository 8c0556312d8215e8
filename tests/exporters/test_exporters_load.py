"""What loading a format's module imports, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys

LOADED = """
import json, sys
import exporters
exporters.load(exporters.FORMATS["coreml"])
print(json.dumps([name in sys.modules for name in ("coremltools", "tensorflow", "sklearn")]))
import sklearn.base
"""


def test_coremltools_comes_without_what_it_imports_for_converters_that_nothing_here_uses() -> None:
    answer = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    assert json.loads(answer.stdout) == [True, False, False]
