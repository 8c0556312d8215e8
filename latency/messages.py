"""The failures of a worker, raised in its process and again in its parent's, and the replies to its commands."""

from __future__ import annotations

from enum import StrEnum
from typing import TypedDict


class WorkerFailed(Exception):
    """The worker could not run the command; the message has the reason."""


class OutOfMemory(WorkerFailed):
    """The worker's memory ran out, as an error or by its death."""


class WrongOutput(WorkerFailed):
    """The output of the case differs from its model's."""


class NotOnThisHost(WorkerFailed):
    """This host lacks the device of the case."""


class FailureKind(StrEnum):
    """The failures as a worker reports them."""

    MEMORY = "memory"
    DIFFERENT = "different"
    UNAVAILABLE = "unavailable"
    OTHER = "other"


FAILURES: dict[FailureKind, type[WorkerFailed]] = {
    FailureKind.MEMORY: OutOfMemory,
    FailureKind.DIFFERENT: WrongOutput,
    FailureKind.UNAVAILABLE: NotOnThisHost,
    FailureKind.OTHER: WorkerFailed,
}


class FailureReply(TypedDict):
    """The reply to a command that failed."""

    failure: FailureKind
    message: str


class CheckReply(TypedDict):
    """The reply to ``check``: the relative error of the last output, None without an expected output."""

    error: float | None


class OpenReply(CheckReply):
    """The reply to ``open``: times in seconds, memory in bytes."""

    load_s: float
    first_prediction_s: float
    peak_bytes: int
    own_bytes: int
    version: str
    mode: str


class SamplesReply(TypedDict):
    """The reply to ``predict``: the time of each prediction in order, seconds."""

    samples_s: list[float]


class OperationReply(TypedDict):
    """One operation of a profile, see :class:`latency.engines.ProfiledOperation`."""

    name: str
    operation_class: str
    seconds: float
    calls: int


class ProfileReply(TypedDict):
    """The reply to ``profile``."""

    operations: list[OperationReply]


class MemoryReply(TypedDict):
    """The reply to ``memory``; ``of`` is ``process`` or ``accelerator``."""

    peak_bytes: int
    before_bytes: int
    of: str
