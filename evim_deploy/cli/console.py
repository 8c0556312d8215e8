"""The output of the commands: results on stdout, everything else on stderr."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
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
_FILE_WIDTH = 132  # columns, for tables in a file or a pipe


@dataclass(kw_only=True)
class Settings:
    """The output options of the running command, whether it was interrupted, and the output of libraries."""

    json: bool = False
    quiet: bool = False
    verbose: bool = False
    interrupted: bool = False
    third_party: list[str] = field(default_factory=list)


Document = Mapping[str, Any]
"""A JSON object."""

SETTINGS = Settings()
"""The settings of this process's command; the handler of unexpected errors reads them too."""


class _Stream:
    """A text stream that calls :meth:`failed` if a write fails."""

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
    """Stderr: text that cannot be written, to a full disk or a closed pipe, is dropped and the work continues."""

    def failed(self, error: OSError) -> None:
        pass

    def close(self) -> None:
        with suppress(OSError):
            self._stream.close()


class _Results(_Stream):
    """Stdout: text that cannot be written ends the command with one message."""

    def failed(self, error: OSError) -> None:
        """Redirect stdout to the null device, since the interpreter flushes it again, and raise the error.

        Raises:
            BrokenPipeError: The reader closed the pipe, as ``head`` does.
            BadInput: The write failed for another reason.
        """
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, _STDOUT)
        os.close(nowhere)
        if isinstance(error, BrokenPipeError):
            raise error
        raise BadInput(
            f"The results cannot be written to standard output: {error.strerror}.",
            "Free some space, or redirect it elsewhere; the files are complete.",
        ) from None


def open_streams() -> None:
    """Make stdin, stdout and stderr usable, whatever the caller closed or set.

    The next file that is opened would take the number of a closed stream, and receive the output.

    Raises:
        BadInput: Stdout is closed.
    """
    while (opened := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        pass
    os.close(opened)
    if sys.stderr is None:
        sys.stderr = os.fdopen(_STDERR, "w", closefd=False)
    sys.stderr = cast("TextIO", Lossy(sys.stderr))
    if sys.stdout is None:
        sys.stdout = os.fdopen(_STDOUT, "w", closefd=False)
        raise BadInput("Standard output is closed.", "Redirect it to /dev/null to discard the results.")
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names and labels that the terminal's encoding lacks
    sys.stdout = cast("TextIO", _Results(sys.stdout))


class Reporter:
    """Prints progress: a spinner on a terminal, plain lines elsewhere.

    It writes to a copy of stderr, so that :func:`muted` can silence libraries meanwhile.
    """

    def __init__(self, settings: Settings) -> None:
        from rich.console import Console

        self._settings = settings
        self._stderr = Lossy(os.fdopen(os.dup(sys.stderr.fileno()), "w", buffering=1, errors="backslashreplace"))
        self._console = Console(file=cast("IO[str]", self._stderr), highlight=False)
        self._status = self._console.status("") if self._console.is_terminal and not settings.quiet else None
        self._quarter = "", 0

    def step(self, text: str) -> None:
        """Announce a step of the work.

        Raises:
            KeyboardInterrupt: An interrupt came before, and a library discarded it.
        """
        self._check_interrupt()
        if self._status is not None:
            self._spin(text)
        elif not self._settings.quiet:
            self._console.print(text, style="dim", soft_wrap=True, markup=False)

    def advance(self, text: str, done: int, total: int) -> None:
        """Show progress within a step: a bar on a terminal, a line for each quarter elsewhere."""
        self._check_interrupt()
        quarter = text, done * _QUARTERS // total
        if self._status is not None:
            self._spin(_bar(text, done, total))
        elif quarter != self._quarter:
            self.step(f"{text}, {done} of {total}")
        self._quarter = quarter

    def _check_interrupt(self) -> None:
        if self._settings.interrupted:
            raise KeyboardInterrupt

    def _spin(self, content: RenderableType) -> None:
        assert self._status
        self._status.update(content)
        self._status.start()

    def detail(self, text: str) -> None:
        """Print a line with ``--verbose`` only."""
        if self._settings.verbose:
            self._console.print(f"  {text}", style="dim", soft_wrap=True, markup=False)

    def warn(self, text: str) -> None:
        """Print a warning, even with ``--quiet``."""
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
    """A reporter; libraries that write to stdout or stderr are silenced meanwhile."""
    reporter = Reporter(settings)
    try:
        with muted(settings):
            yield reporter
    finally:
        reporter.close()


@contextmanager
def muted(settings: Settings) -> Iterator[None]:
    """Capture the output of libraries, also from C; the report of a fault can show it."""
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
    """A file for the output of libraries; in memory if the system supports it, since the disk may be full."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("evim-deploy"), "w+", errors="replace")
    return tempfile.TemporaryFile("w+", errors="replace")


def _text(log: IO[str]) -> str:
    log.seek(0)
    return log.read()


def out() -> Console:
    """The console on stdout for results that people read."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, _FILE_WIDTH)
    return console


def print_json(document: object) -> None:
    """Print one JSON document on stdout."""
    import json

    sys.stdout.write(json.dumps(document, indent=2) + "\n")
