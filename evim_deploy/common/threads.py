"""The number of threads: one for a small image, all cores for a large one.

The threads of an operation wait for each other at its end. If another process occupies the core of one thread, the
others wait for a time slice of the scheduler, some milliseconds, while an operation on a small image takes
microseconds. Waiting threads spin, in OpenMP, ONNX Runtime and XNNPACK alike, and occupy the core that the last thread
needs.

Two rules prevent this: work of up to :data:`SMALL` pixels gets one thread, and waiting threads sleep if the library
allows it. ``OMP_NUM_THREADS`` sets the number for work of any size. Latency is measured without these rules
(:mod:`latency`).

Numbers that are written into a file are computed with one thread (``torch_threads(1)``): with several, a sum is split
into as many parts, and float32 rounds each of them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar

SMALL = 256 * 256
"""Pixels of a whole batch up to which one thread computes: M4's native size. On a busy machine with two cores M4 was as
fast with one thread as with two at this size, and slower with one from 512x512 on."""

_count: ContextVar[int | None] = ContextVar("threads", default=None)


def let_waiting_threads_sleep() -> None:
    """Let OpenMP's threads sleep instead of spin while they wait, unless the user has set ``OMP_WAIT_POLICY``.

    OpenMP reads the variable when torch is imported. Processes that are started later inherit it.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def count() -> int:
    """Number of threads for an engine that is opened now: from :func:`computing`, otherwise all that are available."""
    return _count.get() or _available()


def threads_for(pixels: int) -> int:
    """Number of threads for the pixels of a whole batch."""
    return 1 if pixels <= SMALL and _requested() is None else _available()


@contextmanager
def computing(pixels: int) -> Iterator[None]:
    """Set the number of threads of engines that are opened in this block, and of torch if it is loaded."""
    token = _count.set(threads_for(pixels))
    try:
        with torch_threads() if "torch" in sys.modules else nullcontext():
            yield
    finally:
        _count.reset(token)


@contextmanager
def torch_threads(number: int | None = None) -> Iterator[None]:
    """Set the number of torch's threads in this block.

    Args:
        number: The number; None for :func:`count`.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number or count())
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _available() -> int:
    """The number that the user requests, otherwise the number of cores that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return _requested() or cores


def _requested() -> int | None:
    """``OMP_NUM_THREADS``, or the first number of a list; None if unset or invalid, which OpenMP ignores too."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) else None
