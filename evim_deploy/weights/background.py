"""Work that cannot be interrupted, such as asking a name server: done in a thread that can be left behind."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")

_STEP_SECONDS = 0.2


def start(work: Callable[[], T]) -> Future[T]:
    """Begin work in a daemon thread, which does not keep the process alive."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except Exception as error:  # whatever it is, it is raised where the result is asked for
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def result(future: Future[T], patience: float, folder: Path) -> T:
    """The result of a download, for as long as the partial files in a folder grow.

    To grow is to become larger than ever: a download that starts again and again, cut off each time, does not.

    Args:
        future: The download.
        patience: Seconds without growth after which it is given up.
        folder: Where its ``*.incomplete`` files are.

    Raises:
        TimeoutError: It was given up.
        Exception: What the download itself raised.
    """
    largest, since = 0, time.monotonic()
    while not future.done():
        wait([future], timeout=_STEP_SECONDS)
        if (size := _partial_bytes(folder)) > largest:
            largest, since = size, time.monotonic()
        elif time.monotonic() - since > patience:
            raise TimeoutError(f"nothing came for {patience:.0f} s")
    return future.result()


def _partial_bytes(folder: Path) -> int:
    try:
        return sum(path.stat().st_size for path in folder.glob("*.incomplete"))
    except FileNotFoundError:  # finished since it was listed
        return 0
