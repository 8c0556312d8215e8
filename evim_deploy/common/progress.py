"""How long work tells that it goes on."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Who is told how the work goes on."""

    def step(self, text: str) -> None:
        """A piece of work begins."""

    def advance(self, text: str, done: int, total: int) -> None:
        """So much of a piece of work is done."""

    def detail(self, text: str) -> None:
        """Something that only the curious want to know."""

    def warn(self, text: str) -> None:
        """Something that nobody may miss."""


class Silent:
    """A progress that tells nobody."""

    def step(self, text: str) -> None:
        pass

    def advance(self, text: str, done: int, total: int) -> None:
        pass

    def detail(self, text: str) -> None:
        pass

    def warn(self, text: str) -> None:
        pass
