"""Preparation of an artifact: read its input from the file, and compute the output of its source model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evim_deploy import formats
from evim_deploy.artifact.reading import Manifest, embedded_manifest
from evim_deploy.catalog.terms import Task
from evim_deploy.common.errors import BadInput, EvimError
from evim_deploy.common.progress import Silent
from evim_deploy.formats import ModelFile, Value
from evim_deploy.images.preprocessing import normalise
from evim_deploy.proof.origin import open_origin
from latency.engines import Array, first_image
from latency.memory import is_out_of_memory
from latency.subjects import PreparedSubject, Subject

_FORM = "as it stands in the file"
_AXES = {"tflite": (0, 3, 1, 2)}
"""Positions of batch, channels, height and width in the input of a format that is not channels-first."""


@dataclass(frozen=True)
class _Input:
    """The image input of a file.

    Attributes:
        axes: Lengths of the axes (B, C, H, W); the name of a dynamic axis.
        manifest: The manifest in the file, if any.
        is_image: Whether the input is a picture rather than a tensor.
    """

    axes: tuple[int | str, ...]
    manifest: Manifest | None
    is_image: bool

    @property
    def pixels(self) -> bool:
        """Whether the values are pixels 0-255."""
        return self.is_image or (self.manifest is not None and self.manifest.target.preprocess)

    @property
    def precision(self) -> str | None:
        """The precision of the file, if its manifest states it."""
        return self.manifest.target.precision if self.manifest else None


def prepare_artifact(subject: Subject, file_suffix: str, *, height: int, width: int, folder: Path) -> PreparedSubject:
    """Prepare an artifact for timing, with the output of the model that its manifest names.

    Args:
        subject: The artifact, by path.
        file_suffix: Suffix of the files that the engine loads.
        height: Height of the images, pixels; 0 for the file's own, or its model's if the file leaves it open.
        width: Width of the images, pixels; likewise.
        folder: Folder for the expected output.

    Raises:
        BadInput: The file is damaged, has another suffix, or does not support images of this size.
        NotInstalled: A package that reads the file is missing.
    """
    path = Path(subject.source)
    if path.suffix.lower() != file_suffix:
        raise BadInput(
            f"{path} is not a {file_suffix} file, which this engine loads.", "Choose an engine that loads it."
        )
    image_input = _read_input(formats.read(path), path)
    manifest, shape = image_input.manifest, _image_shape(image_input, height, width, path)
    expected, weights = None, "unknown: the file does not say"
    reference = "nothing: the file does not say which model it was made from"
    if manifest is not None:
        weights = f"{manifest.weights.source}, {'trained' if manifest.weights.trained else 'untrained'}"
        try:
            engine, output = _reference_output(manifest, path, first_image(shape, image_input.pixels))
        except EvimError as error:
            reference = f"nothing: {error.cause}"
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            reference = "nothing: the model as published needs more memory than there is"
        else:
            expected, reference = str(folder / "expected.npy"), f"{engine} fp32, the model that it was made from"
            np.save(expected, output)
    return PreparedSubject(
        source=str(path),
        shape=shape,
        expected=expected,
        reference=reference,
        weights=weights,
        form=_FORM,
        file_precision=image_input.precision or "fp32",
        pixels=image_input.pixels,
    )


@dataclass(frozen=True)
class FixedInput:
    """The properties that a file fixes; None for a property that it leaves open or does not state.

    Attributes:
        batch: Images in one prediction.
        size: Height and width, pixels.
        precision: Precision of the file.
    """

    batch: int | None
    size: tuple[int, int] | None
    precision: str | None


def read_fixed_input(path: Path) -> FixedInput:
    """Read the batch, image size and precision that a file fixes.

    Raises:
        BadInput: The file is damaged, or its input is not images alone.
        NotInstalled: A package that reads the file is missing.
    """
    image_input = _read_input(formats.read(path), path)
    batch, _, height, width = image_input.axes
    size = (height, width) if isinstance(height, int) and isinstance(width, int) else None
    return FixedInput(batch if isinstance(batch, int) else None, size, image_input.precision)


def _read_input(file: ModelFile, path: Path) -> _Input:
    if len(file.inputs) != 1 or not _is_images(file.inputs[0]):
        raise BadInput(f"{path} does not have images as its only input.", "Time a file whose one input is images.")
    (value,) = file.inputs
    assert value.shape is not None
    axes = tuple(value.shape[axis] for axis in _AXES.get(file.format, (0, 1, 2, 3)))
    try:
        manifest = embedded_manifest(file.metadata, path)
    except BadInput:
        manifest = None
    return _Input(axes, manifest, value.dtype == "image")


def _is_images(value: Value) -> bool:
    return (
        value.dtype in ("float32", "float16", "uint8", "int8", "image")
        and value.shape is not None
        and len(value.shape) == 4
    )


def _image_shape(image_input: _Input, height: int, width: int, path: Path) -> tuple[int, int, int]:
    """The shape (C, H, W) of one image.

    Raises:
        BadInput: The file fixes another size, or has a dynamic size that the request does not set.
    """
    native = 0 if image_input.manifest is None else image_input.manifest.model.resolution
    _, channels, *sides = image_input.axes
    rows, columns = (
        _length(axis, requested or (native if isinstance(axis, str) else axis), name, path)
        for axis, requested, name in zip(sides, (height, width), ("height", "width"), strict=True)
    )
    return _length(channels, 3, "channels", path), rows, columns


def _length(axis: int | str, requested: int, name: str, path: Path) -> int:
    """The length of an axis: the file's, or the requested one if the axis is dynamic."""
    if isinstance(axis, int) and axis != requested:
        raise BadInput(f"{path} has the {name} {axis}, not {requested}.", "Omit the option that the file fixes.")
    if requested < 1:
        raise BadInput(f"The {name} of {path} is dynamic.", "Set the size with --resolution.")
    return requested


def _reference_output(manifest: Manifest, path: Path, image: Array) -> tuple[str, Array]:
    """The engine that runs the source model, and the first output of that model.

    Raises:
        BadInput: The weights are missing, or differ from those that the file was made from.
    """
    target = manifest.target
    reference = open_origin(manifest, path, weights=None, notify=Silent().step)
    images = normalise(image, reference.preprocessing) if target.preprocess else image
    outputs = reference.outputs(target.task, images)
    output = outputs[target.output] if target.task == Task.CLASSIFY else next(iter(outputs.values()))
    return reference.engine, output
