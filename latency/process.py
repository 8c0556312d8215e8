"""The parent's side of a worker: start it, send it commands, end it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from latency.memory import mentions_out_of_memory
from latency.messages import FAILURES, FailureKind, OutOfMemory, WorkerFailed

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_SCRATCH_VARIABLES = ("TMPDIR", "TORCHINDUCTOR_CACHE_DIR")
_STDERR_BYTES = 4000  # bytes at the end of a dead worker's stderr that are searched for the reason


class WorkerProcess:
    """A worker, which ends with the context.

    Args:
        threads: CPU threads of the libraries that compute; None for their defaults.
        limit_bytes: Memory limit in bytes; None for no limit.
        scratch: Folder for files of libraries, such as compiled code; None for the default folders.
        modules: Modules to import at the start.
        python: Interpreter of the worker.
    """

    def __init__(
        self,
        *,
        threads: int | None = None,
        limit_bytes: int | None = None,
        scratch: Path | None = None,
        modules: Sequence[str] = (),
        python: str = sys.executable,
    ) -> None:
        variables = {name: str(threads) for name in _THREAD_VARIABLES} if threads else {}
        variables |= {name: str(scratch) for name in _SCRATCH_VARIABLES} if scratch else {}
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115, closed with the worker
        self._process = subprocess.Popen(
            # -P: the user's folder may have a package of this name
            [python, "-P", "-m", "latency.worker", *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, **variables},
            start_new_session=True,  # Ctrl-C in a terminal interrupts the parent only
        )
        try:
            if limit_bytes is not None:
                self.ask("limit", limit_bytes=limit_bytes)
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def ask(self, verb: str, **arguments: object) -> Any:
        """Send a command and wait for the reply, a value of :mod:`latency.messages`.

        Raises:
            OutOfMemory: The worker's memory ran out, or the system killed it.
            WrongOutput: The output differs from the model's.
            NotOnThisHost: The host lacks the device.
            WorkerFailed: The command failed in another way.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # it has died, so that the line below is empty
            self._process.stdin.write(json.dumps({"verb": verb, **arguments}) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise self._death()
        reply: dict[str, Any] = json.loads(line)
        if "failure" in reply:
            raise FAILURES[FailureKind(reply["failure"])](reply["message"])
        return reply

    def kill(self) -> None:
        """Kill the worker and its children; a caller that waits for a reply gets :class:`WorkerFailed`."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Kill the worker and release its files."""
        self.kill()
        with suppress(BrokenPipeError):
            self._process.communicate()
        self._errors.close()

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _death(self) -> WorkerFailed:
        """The failure of a worker that has died, with the last line of its stderr."""
        code = self._process.wait()
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - _STDERR_BYTES))
        text = self._errors.read().decode(errors="replace").strip()
        if code == -signal.SIGKILL:  # only the kernel kills it, when memory runs out
            return OutOfMemory("the system killed it because memory ran out")
        cause = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        last_line = next(reversed(text.splitlines()), "no message")
        return (OutOfMemory if mentions_out_of_memory(text) else WorkerFailed)(f"it died ({cause}): {last_line}"[:500])
