"""A classifier in an ONNX file. Nothing in the file is executed, and any other network is rejected.

ONNX Runtime runs the file as it was published, from its input to its output. The converted network is the same graph as
a torch module, cut before its last activation: the user chooses logits or probabilities. A file does not state its
normalisation: without ``--mean`` and ``--std`` the artifact has the file's own input.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from evim_deploy import formats
from evim_deploy.catalog.network_name import NetworkName
from evim_deploy.catalog.terms import ModelFamily
from evim_deploy.common import threads
from evim_deploy.common.errors import BadInput, Damaged, UsageProblem, first_line
from evim_deploy.common.numerics import ACTIVATIONS, with_probabilities
from evim_deploy.networks.onnx.ending import LOGITS, PROBABILITIES, SAME, Ending, find_ending
from evim_deploy.networks.onnx.own_file import read_own

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import nn

    from evim_deploy.images.preprocessing import Preprocessing
    from evim_deploy.networks.protocols import Array
    from evim_deploy.networks.torch_module.loaded import LoadedModel

USUAL_SIZE = (224, 224)
"""Height and width for a file with open axes, pixels."""

_OTHER = "Export a classifier with one input of images (B, 3, H, W) and one output (B, classes)."
_COUNT = "Export it with axes that count from the first one."
_QUANTISED = ("quantize", "integer")
"""Parts of the names of operations on quantised numbers."""


def find_onnx(path: str, preprocessing: Preprocessing | None = None) -> NetworkName:
    """The network in a file, from its input and output.

    Args:
        path: Path of the file.
        preprocessing: Normalisation of its images; None where it is not known.

    Raises:
        BadInput: The file does not exist or is damaged, or its input and output are not an image and classes.
        UsageProblem: The file's own manifest states its normalisation.
        NotInstalled: onnx is missing.
    """
    contents = formats.read(Path(path))
    own = read_own(contents, Path(path))
    if own and not own.preprocessing.assumed:
        if preprocessing:
            raise UsageProblem(f"{path} has a normalisation of its own.", "Leave out --mean and --std.")
        preprocessing = own.preprocessing
    if len(contents.inputs) != 1:
        raise BadInput(f"{path} has {len(contents.inputs)} inputs: {_names(contents.inputs)}.", _OTHER)
    if len(contents.outputs) != 1:
        raise BadInput(f"{path} has {len(contents.outputs)} outputs: {_names(contents.outputs)}.", _OTHER)
    (image,) = contents.inputs
    shape = image.shape or ()
    is_image = len(shape) == 4 and (shape[1] == 3 or isinstance(shape[1], str))
    if image.dtype != "float32" or not is_image:
        raise BadInput(
            f"The input of {path} is not an image: {image.name}, {image.dtype} {_shape(image.shape)}.", _OTHER
        )
    if isinstance(shape[0], int) and shape[0] != 1:
        raise BadInput(
            f"The input of {path} is a batch of {shape[0]} images.", "Export it with a batch of 1, or an open one."
        )
    height, width = (side if isinstance(side, int) else None for side in shape[2:])
    usual = own.size if own else USUAL_SIZE
    size = height or width or usual[0], width or height or usual[1]
    is_fixed = height is not None and width is not None
    return NetworkName(
        family=ModelFamily.ONNX,
        source=path,
        size=size,
        fixed=is_fixed,
        preprocessing=preprocessing,
        labels=own.labels if own else (),
    )


def open_onnx(name: NetworkName, notify: Callable[[str], None]) -> LoadedModel:
    """The network of a file.

    A file of unknown normalisation is compared on images with ImageNet's normalisation.

    Args:
        name: A result of :func:`find_onnx`.
        notify: Receives one line for each assumption.

    Raises:
        BadInput: An operation is not supported.
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
    if not _accepts_batches(module, images[:1]):
        module.only_batch = 1
    if ending.note:
        notify(f"{path.name} {ending.note}")
    if not name.is_normalisation_known:
        notify(f"{path.name} does not state how its images are normalised: the artifact has the same input")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    own = read_own(formats.read(path), path)
    return LoadedModel(
        original=_original(path, model, ending),
        module=module,
        output=ending.output,
        activation=ending.activation,
        preprocessing=preprocessing,
        num_classes=ending.num_classes,
        weights=Weights(f"onnx:{path.name}", own is None or own.trained, digest),
        engine="ONNX Runtime",
    )


def _model(path: Path) -> tuple[ModelProto, int]:
    """The file's model with its weights, and its opset."""
    import onnx
    from onnx import AttributeProto, inliner

    formats.read(path)  # rejects a damaged file, and weights in other files
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


def _original(path: Path, model: ModelProto, ending: Ending) -> Callable[[Array], Mapping[str, Array]]:
    """The file as it was published, in ONNX Runtime: probabilities, and logits where they are known, (N, classes).

    The file itself is run, from its input to its output. The logits of a file that ends in probabilities are an inner
    value, from which its activation must give the file's output.
    """
    import numpy as np

    (output,) = (each.name for each in model.graph.output)
    run = _session(path, model, [output])
    run_to_logits = _session(path, model, [ending.value]) if ending.is_applied and ending.output == LOGITS else None

    def compute(images: Array) -> Mapping[str, Array]:
        answers = run(images)[0].reshape(len(images), -1)
        if not ending.is_applied:
            return with_probabilities(answers, ending.activation)
        if run_to_logits is None:
            return {PROBABILITIES: answers}
        logits = run_to_logits(images)[0].reshape(len(images), -1)
        if not np.allclose(ACTIVATIONS[ending.activation](logits), answers, rtol=0, atol=SAME):
            raise BadInput(
                f"The probabilities of {path} differ from its last {ending.activation} of its logits.",
                "Export the network with its logits as the output.",
            )
        return {LOGITS: logits, PROBABILITIES: answers}

    return compute


def _session(path: Path, model: ModelProto, values: Sequence[str]) -> Callable[[Array], list[Array]]:
    """A function that computes values of a file, in float32, for images (N, 3, H, W), one image at a time.

    The file is run as it is, or for an inner value a copy with the value as an output.
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
        raise BadInput(f"ONNX Runtime rejects {path}: {first_line(error)}.", "Export it again.") from None
    input_name = session.get_inputs()[0].name

    def compute(images: Array) -> list[Array]:
        try:
            each = [session.run(list(values), {input_name: images[i : i + 1]}) for i in range(len(images))]
        except failures as error:
            size = "x".join(map(str, images.shape[2:]))
            raise BadInput(f"{path} does not accept images of {size}: {first_line(error)}.", "Choose `-r`.") from None
        return [
            np.concatenate([np.atleast_1d(one) for one in column]).astype(np.float32)
            for column in zip(*each, strict=True)
        ]

    return compute


def _failures(module: ModuleType) -> tuple[type[Exception], ...]:
    """Errors of ONNX Runtime, and of protobuf where a model is too large for one message."""
    own = [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    return (*own, ValueError)


def _accepts_batches(module: nn.Module, image: Array) -> bool:
    """Whether the outputs of two images are the same together and one by one."""
    import numpy as np
    import torch

    pair = torch.from_numpy(np.concatenate([image, image[..., ::-1]]))
    try:
        with torch.no_grad():
            together, alone = module(pair), torch.cat([module(pair[:1]), module(pair[1:])])
    except (RuntimeError, ValueError, IndexError, BadInput):  # a shape that is fixed for one image
        return False
    return together.shape == alone.shape and torch.allclose(
        together, alone, rtol=1e-3, atol=1e-4 * float(alone.abs().max())
    )


def _names(values: tuple[formats.Value, ...]) -> str:
    return ", ".join(value.name for value in values) or "none"


def _shape(shape: tuple[formats.Axis, ...] | None) -> str:
    return "of no known shape" if shape is None else f"({', '.join(map(str, shape))})"
