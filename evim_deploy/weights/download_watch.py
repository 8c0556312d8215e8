"""Run calls that cannot be interrupted, such as a name lookup, in a thread that can be left behind.

huggingface_hub's own time limits are for each attempt of a request. They bound neither the name lookup, nor the
retries, nor a download that starts over again and again.
"""

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
    """Start a call in a daemon thread, which does not keep the process alive."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except Exception as error:  # any error is raised again by Future.result
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def wait_for_download(future: Future[T], stall_seconds: float, folder: Path) -> T:
    """The result of a download, unless its partial files stop growing.

    Growth means a new maximum of bytes: a download that starts over again and again does not grow.

    Args:
        future: The download.
        stall_seconds: Seconds without growth after which the download is abandoned.
        folder: The folder of its ``*.incomplete`` files.

    Raises:
        TimeoutError: The download stalled.
        Exception: An error of the download itself.
    """
    largest, since = 0, time.monotonic()
    while not future.done():
        wait([future], timeout=_STEP_SECONDS)
        if (size := _partial_bytes(folder)) > largest:
            largest, since = size, time.monotonic()
        elif time.monotonic() - since > stall_seconds:
            raise TimeoutError(f"nothing came for {stall_seconds:.0f} s")
    return future.result()


def _partial_bytes(folder: Path) -> int:
    try:
        return sum(path.stat().st_size for path in folder.glob("*.incomplete"))
    except FileNotFoundError:  # finished since it was listed
        return 0
