"""What the commands print, and where: results on stdout, everything else on stderr."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import TextIOWrapper
from typing import IO, TYPE_CHECKING, Any, TextIO, cast

from evim_deploy.common.errors import BadInput

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


_STDOUT, _STDERR = 1, 2
_BAR_WIDTH = 30
_QUARTERS = 4
_FILE_WIDTH = 132  # where nobody looks at a terminal, tables need not be cut


@dataclass(kw_only=True)
class Settings:
    """How a command speaks, which the options of the same names set; and what has happened to it."""

    json: bool = False
    quiet: bool = False
    verbose: bool = False
    interrupted: bool = False
    third_party: list[str] = field(default_factory=list)


SETTINGS = Settings()
"""Of the one command that this process runs; read by the last-resort handler too."""


class _Stream:
    """A text stream of which :meth:`failed` decides what a failure to write means."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self.failed(error)
            return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self.failed(error)

    def failed(self, error: OSError) -> None:
        raise NotImplementedError

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Lossy(_Stream):
    """For those who look: what cannot be written, on a full disk or to nobody, is lost and the work goes on."""

    def failed(self, error: OSError) -> None:
        pass

    def close(self) -> None:
        with suppress(OSError):
            self._stream.close()


class _Results(_Stream):
    """Stdout: what cannot be written ends the command, in one message."""

    def failed(self, error: OSError) -> None:
        """Let stdout go nowhere from here, or the interpreter would fail at it again.

        Raises:
            BrokenPipeError: Its reader went away, as `head` does.
            BadInput: Anything else.
        """
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, _STDOUT)
        os.close(nowhere)
        if isinstance(error, BrokenPipeError):
            raise error
        raise BadInput(
            f"The results cannot be written to standard output: {error.strerror}.",
            "Free some space, or redirect it elsewhere; files that were made are complete.",
        ) from None


def open_streams() -> None:
    """Make stdin, stdout and stderr fit to be used, whatever the caller closed or set.

    Where one is closed the next file that is opened would take its number, and what is printed would go there.

    Raises:
        BadInput: There is no stdout, so that no result could be told.
    """
    while (opened := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        pass
    os.close(opened)
    if sys.stderr is None:
        sys.stderr = os.fdopen(_STDERR, "w", closefd=False)
    sys.stderr = cast("TextIO", Lossy(sys.stderr))
    if sys.stdout is None:
        sys.stdout = os.fdopen(_STDOUT, "w", closefd=False)
        raise BadInput("Standard output is closed.", "Redirect it to /dev/null where the results are not wanted.")
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names and labels that the terminal's encoding lacks
    sys.stdout = cast("TextIO", _Results(sys.stdout))


class Reporter:
    """Tells how work goes on: a spinner on a terminal, plain lines elsewhere.

    It keeps a stderr of its own, so that :func:`muted` can silence libraries around it.
    """

    def __init__(self, settings: Settings) -> None:
        from rich.console import Console

        self._settings = settings
        self._stderr = Lossy(os.fdopen(os.dup(sys.stderr.fileno()), "w", buffering=1, errors="backslashreplace"))
        self._console = Console(file=cast("IO[str]", self._stderr), highlight=False)
        self._status = self._console.status("") if self._console.is_terminal and not settings.quiet else None
        self._quarter = "", 0

    def step(self, text: str) -> None:
        """A piece of work begins, unless an interrupt came that a library swallowed."""
        self._heed()
        if self._status is not None:
            self._spin(text)
        elif not self._settings.quiet:
            self._console.print(text, style="dim", soft_wrap=True, markup=False)

    def advance(self, text: str, done: int, total: int) -> None:
        """So much of a piece of work is done: a bar on a terminal, a line for each quarter elsewhere."""
        self._heed()
        quarter = text, done * _QUARTERS // total
        if self._status is not None:
            self._spin(_bar(text, done, total))
        elif quarter != self._quarter:
            self.step(f"{text}, {done} of {total}")
        self._quarter = quarter

    def _heed(self) -> None:
        if self._settings.interrupted:
            raise KeyboardInterrupt

    def _spin(self, what: RenderableType) -> None:
        assert self._status
        self._status.update(what)
        self._status.start()

    def detail(self, text: str) -> None:
        """Shown with ``--verbose`` alone."""
        if self._settings.verbose:
            self._console.print(f"  {text}", style="dim", soft_wrap=True, markup=False)

    def warn(self, text: str) -> None:
        """Shown always, ``--quiet`` or not."""
        self._console.print(f"WARNING: {text}", style="bold yellow", soft_wrap=True, markup=False)

    def close(self) -> None:
        if self._status is not None:
            self._status.stop()
        self._stderr.close()


def _bar(text: str, done: int, total: int) -> RenderableType:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    row = Table.grid(padding=(0, 1))
    row.add_column(no_wrap=True, overflow="ellipsis")
    row.add_row(Text(text), ProgressBar(total, done, width=_BAR_WIDTH), f"{done}/{total}")
    return row


@contextmanager
def reporting(settings: Settings) -> Iterator[Reporter]:
    """A reporter, with libraries that write to stdout and stderr on their own silenced meanwhile."""
    reporter = Reporter(settings)
    try:
        with muted(settings):
            yield reporter
    finally:
        reporter.close()


@contextmanager
def muted(settings: Settings) -> Iterator[None]:
    """Keep what libraries print, from C too, out of the terminal; a fault's report can still show it."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [(descriptor, os.dup(descriptor)) for descriptor in (_STDOUT, _STDERR)]
    with _log() as log:
        try:
            for descriptor, _ in saved:
                os.dup2(log.fileno(), descriptor)
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for descriptor, copy in saved:
                os.dup2(copy, descriptor)
                os.close(copy)
            settings.third_party.append(_text(log))


def _log() -> IO[str]:
    """A file for what libraries print; in memory where the system can, since the disk may be full."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("evim-deploy"), "w+", errors="replace")
    return tempfile.TemporaryFile("w+", errors="replace")


def _text(log: IO[str]) -> str:
    log.seek(0)
    return log.read()


def out() -> Console:
    """Where results for people go."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, _FILE_WIDTH)
    return console


def print_json(document: object) -> None:
    """One JSON document on stdout."""
    import json

    sys.stdout.write(json.dumps(document, indent=2) + "\n")
