"""The parent's side of a worker: start it, ask it, end it."""

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

from latency.memory import says_no_memory

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_SCRATCH_VARIABLES = ("TMPDIR", "TORCHINDUCTOR_CACHE_DIR")
_LAST_WORDS = 4000  # bytes of a dead worker's stderr that are looked at


class WorkerFailed(Exception):
    """The worker could not do what it was asked; says why."""


class OutOfMemory(WorkerFailed):
    """The worker was refused memory, or died for want of it."""


class Different(WorkerFailed):
    """What the worker was asked to time does not compute what its model does."""


class Absent(WorkerFailed):
    """This host has not what the worker needs."""


_FAILURES = {"memory": OutOfMemory, "different": Different, "absent": Absent, "other": WorkerFailed}


class WorkerProcess:
    """One worker; ended with the block that it is used in.

    Args:
        threads: Of whatever it computes with; None leaves them to the libraries.
        limit_bytes: Memory that it may use; None for no limit.
        scratch: Folder for what libraries leave behind, compiled code among it; None for the usual ones.
        modules: That it imports at once, before it is asked for anything.
        python: Interpreter that runs it.
    """

    def __init__(
        self,
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
            # -P: a package of this name in the user's folder is not ours
            [python, "-P", "-m", "latency.worker", *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, **variables},
            start_new_session=True,  # a terminal's Ctrl-C is the parent's to deal with
        )
        try:
            if limit_bytes is not None:
                self.ask("limit", limit_bytes=limit_bytes)
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, verb: str, **arguments: Any) -> dict[str, Any]:
        """The worker's answer.

        Raises:
            OutOfMemory: It was refused memory, or was killed.
            Different: It computes something else than its model.
            WorkerFailed: It failed in another way.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # it has died, which the empty line below tells
            self._process.stdin.write(json.dumps({"verb": verb, **arguments}) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise self._death()
        answer: dict[str, Any] = json.loads(line)
        if "failure" in answer:
            raise _FAILURES[answer["failure"]](answer["message"])
        return answer

    def kill(self) -> None:
        """Stop it and what it started, whatever they are doing; whoever waits for an answer is told that it died."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Stop it, and release what it held here."""
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
        code = self._process.wait()
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - _LAST_WORDS))
        words = self._errors.read().decode(errors="replace").strip()
        if code == -signal.SIGKILL:  # nobody else kills it: the kernel ran out of memory
            return OutOfMemory("the system killed it for want of memory")
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        last = next(reversed(words.splitlines()), "no word")
        return (OutOfMemory if says_no_memory(words) else WorkerFailed)(f"it died ({how}): {last}"[:500])
