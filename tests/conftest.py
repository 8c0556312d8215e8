"""Fixtures that several files of tests have in common."""

from __future__ import annotations

import gc
import importlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hub_server import Server, serving, use_alone

gc.set_threshold(20_000)  # as the command line does

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
    """Files with slow tests first, then the larger ones: pytest-xdist deals files out in order.

    A file that takes long leaves the other cores idle where it comes last.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    size = {path: path.stat().st_size for path in {item.path for item in items}}
    items.sort(key=lambda item: (item.path not in slow, -size[item.path], item.path))


def pytest_collection_finish() -> None:
    """What was imported is no garbage: coremltools looks for some in each conversion."""
    gc.freeze()
