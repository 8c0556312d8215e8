"""Core ML's protobuf messages, without importing the rest of coremltools, which takes seconds.

The classes are those of ``coremltools.proto``: protobuf creates one class for each message.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

_ALIAS = "_coremltools_proto"


@functools.cache
def core_ml(module: str) -> ModuleType:
    """A module of messages, ``Model_pb2`` or ``MIL_pb2``.

    Raises:
        ModuleNotFoundError: coremltools is not installed.
    """
    coremltools = importlib.util.find_spec("coremltools")  # located, not imported
    if coremltools is None or coremltools.origin is None:
        raise ModuleNotFoundError("No module named 'coremltools'", name="coremltools")
    if _ALIAS not in sys.modules:
        folder = Path(coremltools.origin).parent / "proto"
        spec = importlib.util.spec_from_file_location(
            _ALIAS, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        assert spec is not None
        sys.modules[_ALIAS] = importlib.util.module_from_spec(spec)
    return importlib.import_module(f"{_ALIAS}.{module}")
