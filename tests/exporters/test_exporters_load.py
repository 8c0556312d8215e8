"""Loading a format's module imports only the packages that it needs; checked in a separate process."""

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


def test_coreml_exporter_imports_neither_tensorflow_nor_sklearn() -> None:
    answer = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    assert json.loads(answer.stdout) == [True, False, False]
