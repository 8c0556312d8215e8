"""Fixtures shared by several test files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import Server, serving, use_alone
from large_imports import pytest_collection_finish as pytest_collection_finish


@pytest.fixture
def server() -> Iterator[Server]:
    """A local hub server with one file."""
    with serving() as found:
        yield found


@pytest.fixture
def cache(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The empty cache folder of this process's hub, which is the local server."""
    use_alone(server, tmp_path, monkeypatch)
    return tmp_path / "hub"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort files with slow tests first, then by size, because pytest-xdist starts them in order.

    A slow file at the end would leave the other workers idle.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    size = {path: path.stat().st_size for path in {item.path for item in items}}
    items.sort(key=lambda item: (item.path not in slow, -size[item.path], item.path))
