"""LiteRT in a child process, because a damaged file may crash it: the parent's side.

The child runs :mod:`runtimes.litert.server`. Either side writes pickled messages to a pipe: the name of a method and
its arguments, then its result or the text of an error.
"""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from runtimes.delegation import PlannedOperation

_SECONDS_TO_END = 10.0


class Crashed(Exception):
    """The child process died; the message is the signal or the exit code."""


class Refused(Exception):
    """LiteRT raised an exception; the message is the text of that exception."""


class LitertProcess:
    """A TFLite file in LiteRT in a child process, which ends with this object.

    Args:
        content: The file.
        threads: Number of threads.
        preserves_all: Whether to run LiteRT's own kernels, operation by operation, and to preserve the values of all
            tensors; otherwise XNNPACK runs the operations.

    Attributes:
        id: Process id of the child.
        bytes: Size of all tensors as float32.

    Raises:
        Crashed: The child died. Every method raises it.
        Refused: LiteRT cannot read the file. Every method raises it.
    """

    def __init__(self, content: bytes, threads: int, preserves_all: bool = False) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "runtimes.litert.server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.id = self._process.pid
        self.close = weakref.finalize(self, _end, self._process)
        self.bytes: int = self._call("open", content, threads, preserves_all)

    def allocate(self) -> None:
        """Allocate the tensors."""
        self._call("allocate")

    def plan(self) -> list[PlannedOperation]:
        """Return LiteRT's execution plan, with one operation for each partition of a delegate.

        It replaces :meth:`allocate` and does not need a signature.
        """
        return [PlannedOperation(*operation) for operation in self._call("plan")]

    def run(self, image: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
        """Return the outputs of the signature by name for images (B, H, W, 3), float32.

        The input is quantised and the outputs are dequantised if the file declares them as integers.
        """
        outputs: dict[str, npt.NDArray[np.float32]] = self._call("run", image)
        return outputs

    def trace(self, image: npt.NDArray[np.float32], tensors: Sequence[int]) -> list[npt.NDArray[np.float32]]:
        """Return the values of tensors, by their indices in the file, for images (B, H, W, 3), float32."""
        values: list[npt.NDArray[np.float32]] = self._call("trace", image, [int(index) for index in tensors])
        return values

    def _call(self, method: str, *arguments: object) -> Any:
        """Return the result of a method of the server."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            pickle.dump((method, arguments), self._process.stdin, pickle.HIGHEST_PROTOCOL)
            self._process.stdin.flush()
            error, result = pickle.load(self._process.stdout)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):  # the child died, maybe in the middle of a reply
            code = self._process.wait()
            raise Crashed(signal.Signals(-code).name if code < 0 else f"exit code {code}") from None
        if error:
            raise Refused(error)
        return result


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the child, which stops at the end of its input unless it is still computing."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.close()
        process.wait(_SECONDS_TO_END)
    except (OSError, subprocess.TimeoutExpired):
        process.kill()
        process.wait()
    process.stdout.close()
