"""LiteRT in a process of its own: where a file claims what it does not hold, LiteRT ends the process that reads it.

The other side of :class:`LitertProcess` is this file, run as a program. A message is a line of JSON, with the
elements of the arrays that it describes after it.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import weakref
from collections.abc import Mapping, Sequence
from math import prod
from typing import IO, Any

import numpy as np
import numpy.typing as npt

Arrays = dict[str, npt.NDArray[Any]]

_SECONDS_TO_END = 10.0


class Crashed(Exception):
    """LiteRT has ended its process; says how."""


class Refused(Exception):
    """LiteRT has raised an exception; says which."""


class LitertProcess:
    """A TFLite file in LiteRT in another process, which ends with this object.

    Args:
        content: The file.
        threads: How many threads compute.
        keeps_all: Whether to compute in LiteRT's own kernels, one by one, and to keep the values of all tensors;
            otherwise in XNNPACK's.

    Attributes:
        id: The process's number.
        bytes: What all of its tensors take as float32.

    Raises:
        Crashed: LiteRT does not survive the file; all methods raise it too.
        Refused: LiteRT cannot read it; likewise.
    """

    def __init__(self, content: bytes, threads: int, keeps_all: bool = False) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.id = self._process.pid
        self.close = weakref.finalize(self, _end, self._process)
        options = {"threads": threads, "keeps_all": keeps_all}
        reply, _ = self._call("open", options, {"content": np.frombuffer(content, np.uint8)})
        self.bytes: int = reply["bytes"]

    def allocate(self) -> None:
        """Get the memory that its tensors take."""
        self._call("allocate", {}, {})

    def plan(self) -> list[tuple[str, list[int], list[int]]]:
        """Its operations in LiteRT's list, partitions of delegates among them: type, tensors taken, tensors given.

        In place of :meth:`allocate`, and without a signature too.
        """
        operations: list[tuple[str, list[int], list[int]]] = self._call("plan", {}, {})[0]["operations"]
        return operations

    def run(self, image: npt.NDArray[np.float32]) -> Arrays:
        """The outputs of its signature by name, of an image (B, H, W, 3).

        An input of integers gets the nearest codes by its scale, and outputs of integers are what these stand for.
        """
        return self._call("run", {}, {"image": image})[1]

    def trace(self, image: npt.NDArray[np.float32], tensors: Sequence[int]) -> list[npt.NDArray[Any]]:
        """The values of some tensors by their indices in the file, of an image, likewise."""
        return list(self._call("trace", {"tensors": [int(index) for index in tensors]}, {"image": image})[1].values())

    def _call(self, method: str, options: Mapping[str, Any], arrays: Arrays) -> tuple[dict[str, Any], Arrays]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            _send(self._process.stdin, {"method": method, **options}, arrays)
            reply, found = _receive(self._process.stdout)
        except (EOFError, BrokenPipeError):
            code = self._process.wait()
            raise Crashed(signal.Signals(-code).name if code < 0 else f"exit code {code}") from None
        if "error" in reply:
            raise Refused(reply["error"])
        return reply, found


def _end(process: subprocess.Popen[bytes]) -> None:
    """It ends at the end of its input, unless it still computes."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.close()
        process.wait(_SECONDS_TO_END)
    except (OSError, subprocess.TimeoutExpired):
        process.kill()
        process.wait()
    process.stdout.close()


def _send(stream: IO[bytes], message: Mapping[str, Any], arrays: Arrays) -> None:
    described = [(name, array.dtype.str, array.shape) for name, array in arrays.items()]
    stream.write(json.dumps({**message, "arrays": described}).encode() + b"\n")
    for array in arrays.values():
        stream.write(np.ascontiguousarray(array).tobytes())
    stream.flush()


def _receive(stream: IO[bytes]) -> tuple[dict[str, Any], Arrays]:
    """A message and its arrays.

    Raises:
        EOFError: The other side has ended, between messages or in one.
    """
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    message: dict[str, Any] = json.loads(line)
    arrays: Arrays = {}
    for name, dtype, shape in message.pop("arrays"):
        size = np.dtype(dtype).itemsize * prod(shape)
        content = stream.read(size)
        if len(content) < size:
            raise EOFError
        arrays[name] = np.frombuffer(bytearray(content), dtype).reshape(shape)  # one that can be written to
    return message, arrays


class _Server:
    """The methods that can be called, in the process that may end."""

    def open(self, content: npt.NDArray[np.uint8], threads: int, keeps_all: bool) -> tuple[dict[str, Any], Arrays]:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        self._interpreter = Interpreter(
            model_content=content.tobytes(),
            num_threads=threads,
            experimental_op_resolver_type=(
                OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES if keeps_all else OpResolverType.AUTO
            ),
            experimental_preserve_all_tensors=keeps_all,
        )
        return {"bytes": sum(int(np.prod(each["shape"])) * 4 for each in self._interpreter.get_tensor_details())}, {}

    def allocate(self) -> tuple[dict[str, Any], Arrays]:
        self._interpreter.allocate_tensors()
        self._interpreter.get_signature_runner()  # refuses a file without a signature
        return {}, {}

    def plan(self) -> tuple[dict[str, Any], Arrays]:
        self._interpreter.allocate_tensors()  # delegates take their partitions
        listed = self._interpreter._get_ops_details()
        return {
            "operations": [
                (each["op_name"], *([int(index) for index in each[side]] for side in ("inputs", "outputs")))
                for each in listed
            ]
        }, {}

    def run(self, image: npt.NDArray[np.float32]) -> tuple[dict[str, Any], Arrays]:
        runner = self._interpreter.get_signature_runner()
        ((name, taken),) = runner.get_input_details().items()
        given = runner.get_output_details()
        outputs = runner(**{name: _encoded(image, taken)})
        return {}, {output: _decoded(array, given[output]) for output, array in outputs.items()}

    def trace(self, image: npt.NDArray[np.float32], tensors: Sequence[int]) -> tuple[dict[str, Any], Arrays]:
        (taken,) = self._interpreter.get_input_details()
        self._interpreter.set_tensor(taken["index"], _encoded(image, taken))
        self._interpreter.invoke()
        details = {each["index"]: each for each in self._interpreter.get_tensor_details()}
        found = {index: self._interpreter.get_tensor(index) for index in tensors}
        return {}, {str(index): _decoded(array, details[index]) for index, array in found.items()}


def _encoded(image: npt.NDArray[np.float32], details: Mapping[str, Any]) -> npt.NDArray[Any]:
    """An image in what a tensor stores."""
    scale, zero_point = details["quantization"]  # a scale of 0 where there is none
    if not np.issubdtype(details["dtype"], np.integer) or not scale:
        return image
    ends = np.iinfo(details["dtype"])
    return np.clip(np.rint(image / scale) + zero_point, ends.min, ends.max).astype(details["dtype"])


def _decoded(array: npt.NDArray[Any], details: Mapping[str, Any]) -> npt.NDArray[Any]:
    """What a tensor's codes stand for, float32."""
    scale, zero_point = details["quantization"]
    if not np.issubdtype(array.dtype, np.integer) or not scale:
        return array
    return (array.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)


def _serve(source: IO[bytes], sink: IO[bytes]) -> None:
    server = _Server()
    while True:
        try:
            message, arrays = _receive(source)
        except EOFError:
            return
        try:
            reply, found = getattr(server, message.pop("method"))(**message, **arrays)
        except Exception as error:  # whatever it is, it is told on the other side
            reply, found = {"error": next(iter(str(error).splitlines()), type(error).__name__)}, {}
        _send(sink, reply, found)


if __name__ == "__main__":
    _serve(sys.stdin.buffer, sys.stdout.buffer)
