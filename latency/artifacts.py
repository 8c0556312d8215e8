"""Make a file ready to be timed: what it takes, and what the model that it was made from answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evim_deploy import formats
from evim_deploy.artifact.manifest import Manifest, embedded_manifest
from evim_deploy.commands.verify import Verifier
from evim_deploy.common.errors import BadInput, EvimError
from evim_deploy.formats import Contents, Value
from evim_deploy.images.preprocessing import normalise
from latency.engines import Array, first_image
from latency.memory import was_refused
from latency.subjects import Prepared, Subject

_FORM = "as it stands in the file"
_AXES = {"tflite": (0, 3, 1, 2)}
"""Where batch, channels, height and width stand in the input of a format that is not channels-first."""


@dataclass(frozen=True)
class _Input:
    """What a file takes: axes (B, C, H, W), an open one as a word."""

    axes: tuple[int | str, ...]
    manifest: Manifest | None
    is_image: bool

    @property
    def pixels(self) -> bool:
        """Whether 0 to 255."""
        return self.is_image or (self.manifest is not None and self.manifest.target.preprocess)

    @property
    def stored(self) -> str | None:
        """The precision that it was made in, where it says so."""
        return self.manifest.target.precision if self.manifest else None


def prepare_artifact(subject: Subject, takes: str, height: int, width: int, folder: Path) -> Prepared:
    """A file as it stands, and the answer of the model that its metadata names.

    Args:
        subject: Whose source is the file.
        takes: Suffix of the files that the engine loads.
        height: Of the images in pixels; 0 takes the file's own, or its model's where the file leaves it open.
        width: Likewise.
        folder: For the answer.

    Raises:
        BadInput: The file is damaged, of another kind, or does not take such images.
        NotInstalled: What reads it is missing.
    """
    path = Path(subject.source)
    if path.suffix.lower() != takes:
        raise BadInput(f"{path} is no {takes} file, which this engine takes.", "Choose the engine that its kind needs.")
    found = formats.read(path)
    takes_in = _input(found, path)
    shape = _shape(takes_in, height, width, path)
    expected, against, weights = None, "", "unknown: the file does not say"
    if takes_in.manifest is None:
        against = "nothing: the file does not say which model it was made from"
    else:
        source = takes_in.manifest.weights
        weights = f"{source.source}, {'trained' if source.trained else 'untrained'}"
        image = first_image(shape, takes_in.pixels)
        try:
            engine, answer = _answer(takes_in.manifest, path, image)
        except EvimError as error:
            against = f"nothing: {error.cause}"
        except (MemoryError, RuntimeError) as error:
            if not was_refused(error):
                raise
            against = "nothing: the model as published needs more memory than there is"
        else:
            expected, against = str(folder / "expected.npy"), f"{engine} fp32, the model that it was made from"
            np.save(expected, answer)
    stored = takes_in.stored or "fp32"
    return Prepared(str(path), shape, expected, against, weights, _FORM, None, stored=stored, pixels=takes_in.pixels)


@dataclass(frozen=True)
class Fixed:
    """What a file fixes; None for what it leaves open, or does not say.

    Attributes:
        batch: Images in one prediction.
        size: Height and width, pixels.
        precision: That it was made in.
    """

    batch: int | None
    size: tuple[int, int] | None
    precision: str | None


def read_fixed(path: Path) -> Fixed:
    """What a file fixes of how it can be timed.

    Raises:
        BadInput: The file is damaged, or does not take images.
        NotInstalled: What reads it is missing.
    """
    found = _input(formats.read(path), path)
    batch, _, height, width = found.axes
    size = (height, width) if isinstance(height, int) and isinstance(width, int) else None
    return Fixed(batch if isinstance(batch, int) else None, size, found.stored)


def _input(found: Contents, path: Path) -> _Input:
    values = found.inputs
    if len(values) != 1 or not _is_images(values[0]):
        raise BadInput(f"{path} does not take images alone.", "Time a file whose one input is images.")
    (value,) = values
    assert value.shape is not None
    axes = tuple(value.shape[axis] for axis in _AXES.get(found.format, (0, 1, 2, 3)))
    try:
        manifest = embedded_manifest(found.metadata, path)
    except BadInput:
        manifest = None
    return _Input(axes, manifest, value.dtype == "image")


def _is_images(value: Value) -> bool:
    return (
        value.dtype in ("float32", "float16", "uint8", "int8", "image")
        and value.shape is not None
        and len(value.shape) == 4
    )


def _shape(takes: _Input, height: int, width: int, path: Path) -> tuple[int, int, int]:
    """Of one image, where the file agrees with what is asked for."""
    native = 0 if takes.manifest is None else takes.manifest.model.resolution
    channels = _settled(takes.axes[1], 3, "channels", path)
    sides = zip(takes.axes[2:], (height, width), ("height", "width"), strict=True)
    rows, columns = (
        _settled(axis, asked or (native if isinstance(axis, str) else axis), what, path) for axis, asked, what in sides
    )
    return channels, rows, columns


def _settled(axis: int | str, asked: int, what: str, path: Path) -> int:
    """An axis of the file, or what is asked for where the file leaves it open."""
    if isinstance(axis, int) and axis != asked:
        raise BadInput(f"{path} has the {what} {axis}, not {asked}.", "Leave out what the file fixes.")
    if asked < 1:
        raise BadInput(f"{path} leaves its {what} open.", "Say the size with --resolution.")
    return asked


def _answer(manifest: Manifest, path: Path, image: Array) -> tuple[str, Array]:
    """What computes the model that a file was made from, and that model's first output.

    Raises:
        BadInput: Its weights cannot be had, or are others now.
    """
    target = manifest.target
    reference = Verifier().checker(manifest, path).reference
    taken = normalise(image, reference.preprocessing) if target.preprocess else image
    outputs = reference.outputs(target.task, taken)
    answer = outputs[target.output] if target.task == "classify" else next(iter(outputs.values()))
    return reference.engine, answer
