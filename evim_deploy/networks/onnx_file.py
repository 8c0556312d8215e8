"""A classifier in an ONNX file: read without executing anything in it, refused where it is no such network.

ONNX Runtime runs the file as it was published, from its input to its output. The converted network is the same graph as
a torch module, cut before its last activation: the user chooses whether an artifact gives logits or probabilities. A
file does not say how its images are normalised: without ``--mean`` and ``--std`` an artifact takes what the file takes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from evim_deploy import contents
from evim_deploy.arrays import ACTIVATIONS
from evim_deploy.errors import BadInput, first_line
from evim_deploy.networks.name import NetworkName

if TYPE_CHECKING:
    from torch import nn

    from evim_deploy.network import Array
    from evim_deploy.networks.onnx_ending import Ending
    from evim_deploy.networks.opened import Opened
    from evim_deploy.preprocessing import Preprocessing

USUAL_SIZE = (224, 224)
"""Of the images of a file that leaves it open, pixels."""

_OTHER = "Export a classifier with one input of images (B, 3, H, W) and one output (B, classes)."
_QUANTISED = ("quantize", "integer")
"""In the names of operations on quantised numbers."""

_SAME_PROBABILITIES = 1e-5
"""Most that probabilities computed from a file's logits may be from its own: float32's rounding."""


def find_onnx(path: str, preprocessing: Preprocessing | None = None) -> NetworkName:
    """The network in a file, as far as its input and output tell.

    Args:
        path: Of the file.
        preprocessing: How its images are normalised; None where nobody says.

    Raises:
        BadInput: There is no such file, it is damaged, or what it takes and gives is not an image and classes.
        NotInstalled: onnx is missing.
    """
    found = contents.read(Path(path))
    if len(found.inputs) != 1:
        raise BadInput(f"{path} has {len(found.inputs)} inputs: {_names(found.inputs)}.", _OTHER)
    if len(found.outputs) != 1:
        raise BadInput(f"{path} has {len(found.outputs)} outputs: {_names(found.outputs)}.", _OTHER)
    (image,) = found.inputs
    shape = image.shape or ()
    is_image = len(shape) == 4 and (shape[1] == 3 or isinstance(shape[1], str))
    if image.dtype != "float32" or not is_image:
        raise BadInput(f"{path} takes {image.name}, {image.dtype} {_shape(image.shape)}, and no image.", _OTHER)
    if isinstance(shape[0], int) and shape[0] != 1:
        raise BadInput(f"{path} takes {shape[0]} images at a time.", "Export it with a batch of 1, or an open one.")
    height, width = (side if isinstance(side, int) else None for side in shape[2:])
    size = height or width or USUAL_SIZE[0], width or height or USUAL_SIZE[1]
    return NetworkName("onnx", path, size, height is not None and width is not None, preprocessing)


def open_onnx(name: NetworkName, notify: Callable[[str], None]) -> Opened:
    """A file's network.

    Where nobody says how its images are normalised, it is compared on images normalised as ImageNet's are.

    Args:
        name: As :func:`find_onnx` gives it.
        notify: Told in one line of what is assumed.

    Raises:
        BadInput: Something in it cannot be converted.
        NotInstalled: onnx or ONNX Runtime is missing.
    """
    import torch

    from evim_deploy.artifact import Weights
    from evim_deploy.networks.onnx_ending import find_ending
    from evim_deploy.networks.onnx_module import OnnxModule
    from evim_deploy.networks.opened import Opened
    from evim_deploy.networks.seeding import sample_images
    from evim_deploy.preprocessing import PAPER

    path = Path(name.source)
    model, opset = _model(path)
    images = sample_images(*name.size).numpy()
    (output,) = (each.name for each in model.graph.output)

    def compute(values: Sequence[str]) -> list[Array]:
        return _session(path, model, values)(images)

    ending = find_ending(model.graph, compute, str(path))
    module = OnnxModule(ending.cut(model.graph), opset, torch.from_numpy(images[:1]))
    if not _takes_several(module, images[:1]):
        module.only_batch = 1
    preprocessing = name.preprocessing or replace(PAPER, assumed=True)
    if ending.note:
        notify(f"{path.name} {ending.note}")
    if not name.is_normalisation_known:
        notify(f"{path.name} does not say how its images are normalised: the artifact takes what the file takes")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Opened(
        original=_Original(path, model, output, ending),
        module=module,
        gives=ending.gives,
        activation=ending.activation,
        preprocessing=preprocessing,
        num_classes=ending.num_classes,
        weights=Weights(f"onnx:{path.name}", True, digest),
    )


def _model(path: Path) -> tuple[Any, int]:
    """The file's model with its weights, and its opset."""
    import onnx
    from onnx import AttributeProto

    contents.read(path)  # refuses what is damaged, or has its weights elsewhere
    try:
        model = onnx.load(path)
    except (onnx.checker.ValidationError, OSError, ValueError) as error:
        raise BadInput(f"{path} cannot be read: {error}.", contents.REMEDY) from None
    for node in model.graph.node:
        title = f"the operation {node.op_type} ({node.name or next(iter(node.output), '')})"
        if node.domain not in ("", "ai.onnx"):
            raise BadInput(f"{path} has {title} of {node.domain}, which is not ONNX's own.", "Export it without.")
        if any(each.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for each in node.attribute):
            raise BadInput(f"{path} has {title}, control flow, which cannot be converted.", "Export it without.")
        if any(word in node.op_type.lower() for word in _QUANTISED):
            raise BadInput(f"{path} has {title}: it is quantised.", "Name the file that it was made from.")
    opset = max((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), default=0)
    return model, opset


class _Original:
    """The file as it was published, in ONNX Runtime, to the output that is asked for.

    The file itself is run, from its input to its output. Probabilities of a file that ends in logits are computed from
    these in float64; logits of a file that ends in probabilities are a value inside of it, and have to give its output.
    """

    def __init__(self, path: Path, model: Any, output: str, ending: Ending) -> None:
        self._path, self._ending = path, ending
        self._run = _session(path, model, [output])
        self._run_logits = (
            _session(path, model, [output, ending.value]) if ending.is_applied and ending.gives == "logits" else None
        )

    def __call__(self, output: str, images: Array) -> Array:
        """Logits or probabilities (N, classes) of normalised images (N, 3, H, W)."""
        import numpy as np

        activate = ACTIVATIONS[self._ending.activation]
        if self._ending.is_applied == (output == "probabilities"):
            return self._run(images)[0].reshape(len(images), -1)
        if not self._ending.is_applied:
            return activate(self._run(images)[0].reshape(len(images), -1)).astype(np.float32)
        assert self._run_logits, "an output that the reference does not have"
        answers, logits = (each.reshape(len(images), -1) for each in self._run_logits(images))
        if not np.allclose(activate(logits), answers, rtol=0, atol=_SAME_PROBABILITIES):
            raise BadInput(
                f"The last {self._ending.activation} of {self._path} gives other probabilities than the file.",
                "Give `--output probabilities`: the file's own output is then kept as it is.",
            )
        return logits


def _session(path: Path, model: Any, values: Sequence[str]) -> Callable[[Array], list[Array]]:
    """Computes values of a file, in float32, for images (N, 3, H, W), one image at a time.

    The file is run as it is. Only for a value that is no output of it a copy is run that gives this one, too.
    """
    import numpy as np
    import onnx
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    failures = _failures(state)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    inner = [name for name in values if name not in {each.name for each in model.graph.output}]
    source: str | bytes = str(path)
    try:
        if inner:
            copied = onnx.ModelProto()
            copied.CopyFrom(model)
            copied.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inner)
            source = copied.SerializeToString()
        session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except failures as error:
        raise BadInput(f"ONNX Runtime does not take {path}: {first_line(error)}.", "Export it again.") from None
    input_name = session.get_inputs()[0].name

    def compute(images: Array) -> list[Array]:
        try:
            each = [session.run(list(values), {input_name: images[i : i + 1]}) for i in range(len(images))]
        except failures as error:
            size = "x".join(map(str, images.shape[2:]))
            raise BadInput(f"{path} does not take images of {size}: {first_line(error)}.", "Choose `-r`.") from None
        return [
            np.concatenate([np.atleast_1d(one) for one in column]).astype(np.float32)
            for column in zip(*each, strict=True)
        ]

    return compute


def _failures(module: ModuleType) -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises, and protobuf where a model is too large for one message."""
    own = [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    return (*own, ValueError)


def _takes_several(module: nn.Module, image: Array) -> bool:
    """Whether two images give what each gives alone."""
    import numpy as np
    import torch

    pair = torch.from_numpy(np.concatenate([image, image[..., ::-1]]))
    try:
        with torch.no_grad():
            together, alone = module(pair), torch.cat([module(pair[:1]), module(pair[1:])])
    except RuntimeError:  # a shape that is written for one image
        return False
    return together.shape == alone.shape and torch.allclose(
        together, alone, rtol=1e-3, atol=1e-4 * float(alone.abs().max())
    )


def _names(values: tuple[contents.Value, ...]) -> str:
    return ", ".join(value.name for value in values) or "none"


def _shape(shape: tuple[contents.Axis, ...] | None) -> str:
    return "of no known shape" if shape is None else f"({', '.join(map(str, shape))})"
