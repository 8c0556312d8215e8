"""Settings for tests that import torch, TensorFlow and coremltools; used by conftest.py and as a pytest plugin."""

from __future__ import annotations

import gc
import importlib
from contextlib import suppress

gc.set_threshold(20_000)  # same threshold as the command line

with suppress(ImportError):
    importlib.import_module("triton")  # before TensorFlow, which coremltools imports: both contain an LLVM


def pytest_collection_finish() -> None:
    """Exclude imported objects from garbage collection, because coremltools runs a full one in each conversion."""
    gc.freeze()
