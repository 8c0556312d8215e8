"""How many threads compute: one where an image is small, all cores where it is large.

The threads of an operation wait for each other at its end. Where another process has the core of one of them, the rest
wait for a time slice of the scheduler, some milliseconds, while an operation on a small image takes microseconds. Those
that wait spin, in OpenMP, ONNX Runtime and XNNPACK alike, and take the core from the thread that they wait for.

Two rules prevent that: work of up to :data:`SMALL` pixels gets one thread, and threads that wait sleep where the
library allows it. ``OMP_NUM_THREADS`` sets the number for work of any size. Latency is measured without these rules
(:mod:`latency`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar

SMALL = 256 * 256
"""Pixels, of all images of a batch together, up to which one thread computes: M4's native size. On a busy machine of
two cores M4 was as fast with one thread as with two here, and slower with one from 512x512 on."""

_count: ContextVar[int | None] = ContextVar("threads", default=None)


def let_waiting_threads_sleep() -> None:
    """Have OpenMP's threads sleep instead of spin while they wait, unless the user has set ``OMP_WAIT_POLICY``.

    OpenMP reads it when torch is imported. Processes that are started later inherit it.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def count() -> int:
    """Threads for an engine that is opened now: those of :func:`computing`, otherwise as many as there are."""
    return _count.get() or _available()


def threads_for(pixels: int) -> int:
    """Threads for a number of pixels, those of all images in a batch together."""
    return 1 if pixels <= SMALL and _asked() is None else _available()


@contextmanager
def computing(pixels: int) -> Iterator[None]:
    """Give engines that are opened in this block, and torch if it is loaded, the threads for a number of pixels."""
    token = _count.set(threads_for(pixels))
    try:
        with in_torch() if "torch" in sys.modules else nullcontext():
            yield
    finally:
        _count.reset(token)


@contextmanager
def in_torch() -> Iterator[None]:
    """Give torch :func:`count` threads in this block."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count())
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _available() -> int:
    """The number that the user asks for, otherwise that of the cores that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return _asked() or cores


def _asked() -> int | None:
    """``OMP_NUM_THREADS``, of a list the first number; None where it is unset or invalid, which OpenMP ignores too."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) else None
