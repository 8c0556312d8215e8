"""A classifier in an ONNX file: read without executing anything in it, refused where it is no such network.

ONNX Runtime runs the file as it was published, from its input to its output. The converted network is the same graph as
a torch module, cut before its last activation: the user chooses whether an artifact gives logits or probabilities. A
file does not say how its images are normalised: without ``--mean`` and ``--std`` an artifact takes what the file takes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from evim_deploy import formats
from evim_deploy.catalog.network_name import NetworkName
from evim_deploy.catalog.terms import SourceScheme
from evim_deploy.common import threads
from evim_deploy.common.errors import BadInput, Damaged, UsageProblem, first_line
from evim_deploy.common.numerics import ACTIVATIONS, with_probabilities
from evim_deploy.networks.onnx.ending import LOGITS, PROBABILITIES, SAME, Ending, find_ending
from evim_deploy.networks.onnx.own_file import read_own

if TYPE_CHECKING:
    from torch import nn

    from evim_deploy.images.preprocessing import Preprocessing
    from evim_deploy.networks.protocols import Array
    from evim_deploy.networks.torch_module.loaded import LoadedModel

USUAL_SIZE = (224, 224)
"""Of the images of a file that leaves it open, pixels."""

_OTHER = "Export a classifier with one input of images (B, 3, H, W) and one output (B, classes)."
_COUNT = "Export it with axes that count from the first one."
_QUANTISED = ("quantize", "integer")
"""In the names of operations on quantised numbers."""


def find_onnx(path: str, preprocessing: Preprocessing | None = None) -> NetworkName:
    """The network in a file, as far as its input and output tell.

    Args:
        path: Of the file.
        preprocessing: How its images are normalised; None where nobody says.

    Raises:
        BadInput: There is no such file, it is damaged, or what it takes and gives is not an image and classes.
        UsageProblem: It says itself how its images are normalised.
        NotInstalled: onnx is missing.
    """
    found = formats.read(Path(path))
    own = read_own(found, Path(path))
    if own and not own.preprocessing.assumed:
        if preprocessing:
            raise UsageProblem(f"{path} has a normalisation of its own.", "Leave out --mean and --std.")
        preprocessing = own.preprocessing
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
    usual = own.size if own else USUAL_SIZE
    size = height or width or usual[0], width or height or usual[1]
    is_fixed = height is not None and width is not None
    return NetworkName(
        scheme=SourceScheme.ONNX,
        source=path,
        size=size,
        fixed=is_fixed,
        preprocessing=preprocessing,
        labels=own.labels if own else (),
    )


def open_onnx(name: NetworkName, notify: Callable[[str], None]) -> LoadedModel:
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

    from evim_deploy.artifact.target import Weights
    from evim_deploy.images.preprocessing import PAPER, denormalise, normalise
    from evim_deploy.networks.onnx.module import OnnxModule
    from evim_deploy.networks.torch_module.loaded import LoadedModel
    from evim_deploy.networks.torch_module.seeding import sample_images

    path = Path(name.source)
    model, opset = _model(path)
    preprocessing = name.preprocessing or replace(PAPER, assumed=True)
    images = normalise(denormalise(sample_images(*name.size).numpy()), preprocessing)

    def compute(values: Sequence[str]) -> list[Array]:
        return _session(path, model, values)(images)

    ending = find_ending(model.graph, compute, str(path))
    module = OnnxModule(ending.cut(model.graph), opset, torch.from_numpy(images[:1]))
    if not _takes_several(module, images[:1]):
        module.only_batch = 1
    if ending.note:
        notify(f"{path.name} {ending.note}")
    if not name.is_normalisation_known:
        notify(f"{path.name} does not say how its images are normalised: the artifact takes what the file takes")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    own = read_own(formats.read(path), path)
    return LoadedModel(
        original=_original(path, model, ending),
        module=module,
        gives=ending.gives,
        activation=ending.activation,
        preprocessing=preprocessing,
        num_classes=ending.num_classes,
        weights=Weights(f"onnx:{path.name}", own is None or own.trained, digest),
        engine="ONNX Runtime",
    )


def _model(path: Path) -> tuple[Any, int]:
    """The file's model with its weights, and its opset."""
    import onnx
    from onnx import AttributeProto, inliner

    formats.read(path)  # refuses what is damaged, or has its weights elsewhere
    try:
        model = onnx.load(path)
    except (onnx.checker.ValidationError, OSError, ValueError) as error:
        raise Damaged(f"{path} cannot be read: {error}.") from None
    if model.functions:
        model = inliner.inline_local_functions(model)
    for node in model.graph.node:
        title = f"the operation {node.op_type} ({node.name or next(iter(node.output), '')})"
        if node.domain not in ("", "ai.onnx"):
            raise BadInput(f"{path} has {title} of {node.domain}, which is not ONNX's own.", "Export it without.")
        if any(each.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for each in node.attribute):
            raise BadInput(f"{path} has {title}, control flow, which cannot be converted.", "Export it without.")
        if any(word in node.op_type.lower() for word in _QUANTISED):
            raise BadInput(f"{path} has {title}: it is quantised.", "Name the file that it was made from.")
        if node.op_type == "Resize" and any(min(each.ints, default=0) < 0 for each in node.attribute):
            raise BadInput(f"{path} has {title} with a negative axis, on which ONNX Runtime crashes.", _COUNT)
    opset = max((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), default=0)
    return model, opset


def _original(path: Path, model: Any, ending: Ending) -> Callable[[Array], Mapping[str, Array]]:
    """The file as it was published, in ONNX Runtime: probabilities, and logits where they are known, (N, classes).

    The file itself is run, from its input to its output. The logits of a file that ends in probabilities are a value
    inside of it, and have to give its output.
    """
    import numpy as np

    (output,) = (each.name for each in model.graph.output)
    run = _session(path, model, [output])
    run_to_logits = _session(path, model, [ending.value]) if ending.is_applied and ending.gives == LOGITS else None

    def compute(images: Array) -> Mapping[str, Array]:
        answers = run(images)[0].reshape(len(images), -1)
        if not ending.is_applied:
            return with_probabilities(answers, ending.activation)
        if run_to_logits is None:
            return {PROBABILITIES: answers}
        logits = run_to_logits(images)[0].reshape(len(images), -1)
        if not np.allclose(ACTIVATIONS[ending.activation](logits), answers, rtol=0, atol=SAME):
            raise BadInput(
                f"The last {ending.activation} of {path} gives other probabilities than the file.",
                "Export the network with its logits as the output.",
            )
        return {LOGITS: logits, PROBABILITIES: answers}

    return compute


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
    options.intra_op_num_threads = threads.count()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
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
    except (RuntimeError, ValueError, IndexError, BadInput):  # a shape that is written for one image
        return False
    return together.shape == alone.shape and torch.allclose(
        together, alone, rtol=1e-3, atol=1e-4 * float(alone.abs().max())
    )


def _names(values: tuple[formats.Value, ...]) -> str:
    return ", ".join(value.name for value in values) or "none"


def _shape(shape: tuple[formats.Axis, ...] | None) -> str:
    return "of no known shape" if shape is None else f"({', '.join(map(str, shape))})"
