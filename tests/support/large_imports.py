"""Settings for the imports of torch, TensorFlow and coremltools; each run of pytest that has them takes its hook."""

from __future__ import annotations

import gc
import importlib
from contextlib import suppress

gc.set_threshold(20_000)  # as the command line does

with suppress(ImportError):
    importlib.import_module("triton")  # before TensorFlow, which coremltools imports: both bring an LLVM


def pytest_collection_finish() -> None:
    """Exclude what was imported from garbage collection: coremltools runs a full one in each conversion."""
    gc.freeze()
