"""Messages on the progress of long work."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """The receiver of messages on progress."""

    def step(self, text: str) -> None:
        """Report that a step begins."""

    def advance(self, text: str, done: int, total: int) -> None:
        """Report that ``done`` of ``total`` units of a step are finished."""

    def detail(self, text: str) -> None:
        """Report a detail, which ``--verbose`` shows."""

    def warn(self, text: str) -> None:
        """Report a warning."""


class Silent:
    """A progress that discards all messages."""

    def step(self, text: str) -> None:
        pass

    def advance(self, text: str, done: int, total: int) -> None:
        pass

    def detail(self, text: str) -> None:
        pass

    def warn(self, text: str) -> None:
        pass
