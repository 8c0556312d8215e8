"""Fixtures that several files of tests have in common."""

from __future__ import annotations

import gc
import importlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hub_server import Server, serving, use_alone

with suppress(ImportError):
    importlib.import_module("triton")  # before TensorFlow, which coremltools imports: both bring an LLVM


@pytest.fixture
def server() -> Iterator[Server]:
    """A hub of one file on the loopback."""
    with serving() as found:
        yield found


@pytest.fixture
def cache(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This process's folder of what came from a hub, which is the server; empty."""
    use_alone(server, tmp_path, monkeypatch)
    return tmp_path / "hub"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: pytest-xdist deals files out in order, and one at the end leaves a core idle."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """What was imported is no garbage: coremltools looks for some in each conversion."""
    gc.freeze()
