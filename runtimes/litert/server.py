"""LiteRT in a child process: the child's side, run as ``python -m runtimes.litert.server``.

It reads the calls of :mod:`runtimes.litert.process` from its standard input and replies on its standard output.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from runtimes.litert.quantised import Quantised, dequantise, quantise

_Plan = list[tuple[str, tuple[int, ...], tuple[int, ...]]]


class Server:
    """The methods that the parent can call; :class:`runtimes.litert.process.LitertProcess` documents them."""

    def open(self, content: bytes, threads: int, preserves_all: bool) -> int:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        self._interpreter = Interpreter(
            model_content=content,
            num_threads=threads,
            experimental_op_resolver_type=(
                OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES if preserves_all else OpResolverType.AUTO
            ),
            experimental_preserve_all_tensors=preserves_all,
        )
        return sum(int(np.prod(tensor["shape"])) * 4 for tensor in self._interpreter.get_tensor_details())

    def allocate(self) -> None:
        self._interpreter.allocate_tensors()
        self._interpreter.get_signature_runner()  # refuses a file without a signature

    def plan(self) -> _Plan:
        self._interpreter.allocate_tensors()  # delegates claim their partitions here
        return [
            (op["op_name"], tuple(map(int, op["inputs"])), tuple(map(int, op["outputs"])))
            for op in self._interpreter._get_ops_details()
        ]

    def run(self, image: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
        runner = self._interpreter.get_signature_runner()
        ((name, tensor),) = runner.get_input_details().items()
        outputs = runner(**{name: quantise(image, tensor["dtype"], tensor["quantization"])})
        tensors = runner.get_output_details()
        return {output: dequantise(array, tensors[output]["quantization"]) for output, array in outputs.items()}

    def trace(self, image: npt.NDArray[np.float32], tensors: Sequence[int]) -> list[npt.NDArray[np.float32]]:
        (tensor,) = self._interpreter.get_input_details()
        self._interpreter.set_tensor(tensor["index"], quantise(image, tensor["dtype"], tensor["quantization"]))
        self._interpreter.invoke()
        parameters: dict[int, Quantised] = {
            tensor["index"]: tensor["quantization"] for tensor in self._interpreter.get_tensor_details()
        }
        return [dequantise(self._interpreter.get_tensor(index), parameters[index]) for index in tensors]


def main() -> None:
    """Serve until the standard input ends."""
    server = Server()
    while True:
        try:
            method, arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            reply = "", getattr(server, method)(*arguments)
        except Exception as error:  # the parent reports it, whatever it is
            reply = str(error).strip() or type(error).__name__, None
        pickle.dump(reply, sys.stdout.buffer, pickle.HIGHEST_PROTOCOL)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
