"""Write a torch module as TFLite: ONNX with opset 20 (which has Gelu), then onnx2tf, then corrections of its output.

onnx2tf compares each operation with ONNX Runtime to choose its channels-last layout. Its option ``-dsm`` skips the
comparison, and then some networks are converted wrongly.
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
from evim_deploy.catalog.terms import Precision
from evim_deploy.common.errors import BadInput
from evim_deploy.common.system_errors import problem_in, temporary_folder
from evim_deploy.formats.tflite_writer import pack
from exporters.onnx.torch_module import write_onnx
from exporters.tflite import depthwise, half_weights, onnx2tf_environment, onnx_ranks
from exporters.tflite import file as tflite_file
from exporters.tflite.graph import annotate, complete

__all__ = ["annotate", "build"]

_OPSET = 20
"""The first operator set with Gelu; in older ones it contains Erf, which TFLite lacks."""

_INPUT = "image"
_PROGRAM = Path(__file__).with_name("onnx2tf_process.py")
_PATIENCE = 3600  # seconds; the slowest tested network took two minutes on one core
_REMEDY = "Export it to ONNX or Core ML, or choose another network."
_MISREAD = frozenset([("Resize", "coordinate_transformation_mode", "align_corners")])
"""Attributes that onnx2tf 1.29 and 2.6 ignore (onnx2tf/ops/Resize.py)."""

_MAX_LENGTH = 300
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_EXCEPTION = re.compile(r"[A-Za-z_.]*(Error|Exception): ")


def build(module: nn.Module, target: Target, path: Path) -> Signature:
    """Write an export wrapper as a .tflite file with one named signature.

    fp16 stores the weights in half precision, as for our own graph; the module's weights are float16 values.

    Raises:
        BadInput: onnx2tf cannot convert the network, or the network needs operations that TFLite lacks.
        NotInstalled: onnx2tf is not installed.
        ValueError: The target's batch, height or width is dynamic.
    """
    if target.batch is None or target.height is None or target.width is None:
        raise ValueError("a TFLite file needs fixed shapes")
    with tempfile.TemporaryDirectory(prefix="evim-onnx2tf-") as name:
        folder = Path(name)
        _write_source(module, target, folder / "model.onnx")
        model = tflite_file.parse(converted(folder))
    if missing := sorted({each.customCode.decode() for each in model.operatorCodes if each.customCode}):
        raise BadInput(f"TFLite has no operation for {', '.join(missing)}, which the network needs.", _REMEDY)
    depthwise.replace_grouped(model)
    if target.precision == Precision.FP16:
        half_weights.store(model)
    return complete(pack(model), [_INPUT], [target.output], target, path)


def _write_source(module: nn.Module, target: Target, path: Path) -> None:
    """Write an export wrapper as the ONNX file for onnx2tf.

    Raises:
        BadInput: PyTorch's exporter cannot write it, or onnx2tf would misread it.
    """
    write_onnx(_with_plain_sigmoids(module), target, path, _OPSET)
    for node in onnx.load(path).graph.node:
        for attribute in node.attribute:
            if (node.op_type, attribute.name, attribute.s.decode()) in _MISREAD:
                cause = f"onnx2tf misreads {node.op_type} with {attribute.name} {attribute.s.decode()} ({node.name})."
                raise BadInput(cause, _REMEDY)
    onnx_ranks.add_batch_axis(path)


def _with_plain_sigmoids(module: nn.Module) -> nn.Module:
    """Return a copy whose hard sigmoids consist of operations that XNNPACK and the GPU delegate support."""
    copied = deepcopy(module)
    for name in [name for name, each in copied.named_modules() if isinstance(each, nn.Hardsigmoid)]:
        copied.set_submodule(name, _HardSigmoid())
    return copied


class _HardSigmoid(nn.Module):
    """``(clip(x, -3, 3) + 3) / 6``: no factor or term is folded into weights before they are rounded.

    A sixth is the sum of two float16 values: a single one has an error of 2e-4.
    """

    def forward(self, x: Tensor) -> Tensor:
        sixths = x.clamp(-3, 3) + 3
        return sixths * _MOST_OF_A_SIXTH + sixths * (1 / 6 - _MOST_OF_A_SIXTH)


_MOST_OF_A_SIXTH = float(np.float16(1 / 6))


def converted(folder: Path) -> bytes:
    """Run onnx2tf in its own environment on the model in a folder, and return the .tflite file.

    Raises:
        BadInput: onnx2tf fails; the message ends with its last line.
        NotInstalled: onnx2tf is not installed.
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
            start_new_session=True,  # Ctrl-C in a terminal is raised here, and ends the process below
        )
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            raise BadInput(f"onnx2tf did not finish within {_PATIENCE} s.", _REMEDY) from None
        finally:
            _end(process)
            sys.stderr.write(log.read_text(errors="replace"))
    if process.returncode == 0 and (folder / "model.tflite").is_file():
        return (folder / "model.tflite").read_bytes()
    raise problem_in(log.read_text(errors="replace"), temporary_folder()) or BadInput(
        f"onnx2tf cannot convert the network: {_last_line(log)}", _REMEDY
    )


def _environment() -> dict[str, str]:
    """Return our environment without variables of Python and TensorFlow, and with little logging."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "TF_"))}
    return {**inherited, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and its children, if they still run."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _last_line(log: Path) -> str:
    """Return the last line of a log with text, preferably that of an exception or of onnx2tf's error."""
    lines = [_COLOURS.sub("", line).strip() for line in log.read_text(errors="replace").splitlines()]
    texts = [line for line in lines if any(character.isalpha() for character in line)]
    errors = [line for line in texts if line.startswith("ERROR") or _EXCEPTION.match(line)]
    return (errors or texts or ["it printed nothing"])[-1][:_MAX_LENGTH]
