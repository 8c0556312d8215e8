"""TFLite of a torch module: ONNX of opset 20, which has Gelu, then onnx2tf, then what onnx2tf leaves undone.

onnx2tf compares each operation with ONNX Runtime to find how to lay it out channels-last. Without that, which its
``-dsm`` leaves out, some networks come out wrong.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from copy import deepcopy
from pathlib import Path

import numpy as np
import onnx
from torch import Tensor, nn

from evim_deploy.artifact.signature import Signature
from evim_deploy.artifact.target import Target
from evim_deploy.common.errors import BadInput
from evim_deploy.common.system_errors import problem_in, temporary_folder
from exporters.onnx.torch_module import write_onnx
from exporters.tflite import depthwise, half_weights, onnx2tf_environment, onnx_ranks
from exporters.tflite import file as tflite_file
from exporters.tflite.graph import annotate, complete

__all__ = ["annotate", "build"]

_OPSET = 20
"""The first that has Gelu: made of Erf, it would be an operation that TFLite has not."""

_INPUT = "image"
_PROGRAM = Path(__file__).with_name("onnx2tf_process.py")
_PATIENCE = 3600  # seconds: two minutes of one core for the slowest network that was tried
_REMEDY = "Export it to ONNX or Core ML, or choose another network."
_MISREAD = frozenset([("Resize", "coordinate_transformation_mode", "align_corners")])
"""Operations with an attribute that onnx2tf 1.29 and 2.6 ignore (onnx2tf/ops/Resize.py)."""

_MOST_WORDS = 300
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_EXCEPTION = re.compile(r"[A-Za-z_.]*(Error|Exception): ")


def build(module: nn.Module, target: Target, path: Path) -> Signature:
    """Write a servable module as a .tflite file with one named signature.

    fp16 stores the weights in half precision, as for our own graph; the module's weights are values that float16 has.

    Raises:
        BadInput: onnx2tf cannot convert the network, or needs operations that TFLite has not.
        NotInstalled: There is no onnx2tf.
        ValueError: The target's batch, height or width is dynamic.
    """
    if target.batch is None or target.height is None or target.width is None:
        raise ValueError("a TFLite file has fixed shapes")
    with tempfile.TemporaryDirectory(prefix="evim-onnx2tf-") as name:
        folder = Path(name)
        _write_source(module, target, folder / "model.onnx")
        model = tflite_file.parse(converted(folder))
    if missing := sorted({each.customCode.decode() for each in model.operatorCodes if each.customCode}):
        raise BadInput(f"TFLite has no operation for {', '.join(missing)}, which the network needs.", _REMEDY)
    depthwise.mend(model)
    if target.precision == "fp16":
        half_weights.store(model)
    return complete(tflite_file.pack(model), [_INPUT], [target.output], target, path)


def _write_source(module: nn.Module, target: Target, path: Path) -> None:
    """A servable module as the ONNX file that onnx2tf takes.

    Raises:
        BadInput: PyTorch's exporter cannot write it, or onnx2tf would misread it.
    """
    write_onnx(_written_out(module), target, path, _OPSET)
    for node in onnx.load(path).graph.node:
        for attribute in node.attribute:
            if (node.op_type, attribute.name, attribute.s.decode()) in _MISREAD:
                cause = f"onnx2tf misreads {node.op_type} with {attribute.name} {attribute.s.decode()} ({node.name})."
                raise BadInput(cause, _REMEDY)
    onnx_ranks.write_out(path)


def _written_out(module: nn.Module) -> nn.Module:
    """A copy with hard sigmoids in operations that XNNPACK and the GPU delegate take."""
    copied = deepcopy(module)
    for name in [name for name, each in copied.named_modules() if isinstance(each, nn.Hardsigmoid)]:
        copied.set_submodule(name, _HardSigmoid())
    return copied


class _HardSigmoid(nn.Module):
    """``(clip(x, -3, 3) + 3) / 6``, so that nothing is multiplied into, or added to, weights before they are rounded.

    A sixth is the sum of two numbers that float16 has: one alone is off by 2e-4.
    """

    def forward(self, x: Tensor) -> Tensor:
        sixths = x.clamp(-3, 3) + 3
        return sixths * _MOST_OF_A_SIXTH + sixths * (1 / 6 - _MOST_OF_A_SIXTH)


_MOST_OF_A_SIXTH = float(np.float16(1 / 6))


def converted(folder: Path) -> bytes:
    """What onnx2tf, in its own environment, makes of the model in a folder.

    Raises:
        BadInput: It fails; the message ends in its last words.
        NotInstalled: There is no onnx2tf.
    """
    python = onnx2tf_environment.find().python
    log = folder / "log.txt"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [python, "-I", _PROGRAM, "model.onnx", "model.tflite"],
            cwd=folder,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a terminal's Ctrl-C comes here, and ends it below
        )
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            raise BadInput(f"onnx2tf was not done after {_PATIENCE} s.", _REMEDY) from None
        finally:
            _end(process)
            sys.stderr.write(log.read_text(errors="replace"))
    if process.returncode == 0 and (folder / "model.tflite").is_file():
        return (folder / "model.tflite").read_bytes()
    raise problem_in(log.read_text(errors="replace"), temporary_folder()) or BadInput(
        f"onnx2tf cannot convert the network: {_last_words(log)}", _REMEDY
    )


def _environment() -> dict[str, str]:
    """Ours, without what would change what Python or TensorFlow do, or be printed for each operation."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "TF_"))}
    return {**kept, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it and what it started, where they still run."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _last_words(log: Path) -> str:
    """The last line that tells something: an exception's, or that of onnx2tf's own error."""
    lines = [_COLOURS.sub("", line).strip() for line in log.read_text(errors="replace").splitlines()]
    told = [line for line in lines if any(character.isalpha() for character in line)]
    errors = [line for line in told if line.startswith("ERROR") or _EXCEPTION.match(line)]
    return (errors or told or ["it said nothing"])[-1][:_MOST_WORDS]
