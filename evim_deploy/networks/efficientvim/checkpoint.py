"""From a weights file of any provenance to a loaded :class:`~evim_deploy.networks.efficientvim.model.EfficientViM`.

Two steps. :func:`read_checkpoint` finds the state dict in the file, gives it the canonical names and
shapes, and recognises the model from them. :func:`load_model` holds it against the model that the
user asked for. Nothing in a file is ever run (see :mod:`evim_deploy.weights.checkpoint.safe_pickle`).
"""

from __future__ import annotations

import functools
import hashlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from evim_deploy.catalog.variants import MIN_CLASSES, VARIANTS, ModelName, Variant
from evim_deploy.common.errors import BadInput
from evim_deploy.networks.efficientvim.model import EfficientViM
from evim_deploy.networks.efficientvim.state_dict import canonical, plain, recognise, shorten
from evim_deploy.weights import shards
from evim_deploy.weights.checkpoint import file_kind, torch_file
from evim_deploy.weights.checkpoint.entries import Place, find_state
from evim_deploy.weights.checkpoint.safe_pickle import TensorRef
from evim_deploy.weights.checkpoint.torch_file import AGAIN, UnreadableError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from io import BufferedReader
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The weights of one EfficientViM.

    Attributes:
        state: Tensors by canonical name, in canonical shapes, fp32; without ``num_batches_tracked``.
        model: The model that these shapes make.
        num_classes: Rows of each head.
        sha256: Of the file's bytes, in hex; of several files over their names and bytes.
        entry: The entry of the file that held them, dotted where nested; "" for a bare state dict.
        note: Where in the file they are and how they were chosen, for people; "" for a bare state dict.
        source: What to call it in messages.
    """

    state: dict[str, Tensor]
    model: ModelName
    num_classes: int
    sha256: str
    entry: str
    note: str = ""
    source: str = "the checkpoint"


@dataclass(frozen=True)
class StateDict:
    """The state dict of any network.

    Attributes:
        state: Tensors by name, without the prefixes of wrappers; floats in fp32.
        sha256: As a :class:`Checkpoint` has it.
        note: Likewise.
        source: What to call it in messages.
    """

    state: dict[str, Tensor]
    sha256: str
    note: str
    source: str


def read_checkpoint(path: Path) -> Checkpoint:
    """The weights in a file of ``torch.save`` (zip or older) or safetensors, told apart by content.

    Args:
        path: Of the file, of the index of several, or of a folder that holds one of these.

    Raises:
        BadInput: The file cannot be opened, is damaged, of another kind, or holds no published EfficientViM.
    """
    with _opened(path, _own_networks()) as (sha256, place, read):
        tensors = canonical(place.state, read)
        model, num_classes = recognise(tensors)
        return Checkpoint(
            state=tensors,
            model=model,
            num_classes=num_classes,
            sha256=sha256,
            entry=place.entry,
            note=place.note,
            source=str(path),
        )


def read_state_dict(path: Path, expected: Mapping[str, Tensor]) -> StateDict:
    """The weights of any network, from the same kinds of files.

    Args:
        path: As :func:`read_checkpoint` takes it.
        expected: The network's own parameters and buffers by name, of which no values are used.

    Raises:
        BadInput: The file cannot be opened, is damaged, of another kind, or holds no state dict.
    """
    with _opened(path, [expected]) as (sha256, place, read):
        return StateDict(plain(place.state, read, expected), sha256, place.note, str(path))


def _own_networks() -> list[Collection[str]]:
    """The names of all parameters and buffers of each variant, distilled."""
    return [_names_of(variant) for variant in VARIANTS.values()]


@functools.cache
def _names_of(variant: Variant) -> Collection[str]:
    with torch.device("meta"):
        return EfficientViM(variant, MIN_CLASSES, distilled=True).state_dict().keys()


@contextmanager
def _opened(path: Path, networks: Sequence[Collection[str]]) -> Iterator[tuple[str, Place, Callable[[Any], Tensor]]]:
    """The SHA-256 of weights, where they are, and what turns a tensor of them into a real one."""
    try:
        file = shards.weights_in(path) if path.is_dir() else path
        if file.exists() and not file.is_file():  # opening a pipe would wait for a writer
            raise BadInput(f"{path} is not a file.", "Give the path of a weights file.")
        if (parts := shards.parts_with(file)) > 1:
            raise UnreadableError(
                f"is one of {parts} files that make up the weights", "Give the index file beside it, or the folder."
            )
        with file.open("rb") as handle:
            is_index = file_kind.is_json(handle.read(file_kind.HEAD_BYTES))
            handle.seek(0)
            sha256, content, read = _read_parts(file) if is_index else _read_file(handle)
            place = find_state(content, networks, read)
            torch_file.refuse_repetition(each for each in place.state.values() if isinstance(each, TensorRef))
            yield sha256, place, read
    except OSError as error:
        raise BadInput(
            f"{path} cannot be read: {error.strerror or error}.", "Give the path of a weights file."
        ) from error
    except UnreadableError as error:
        raise BadInput(f"{path} {error}.", error.remedy) from error


def _read_parts(index: Path) -> tuple[str, Any, Callable[[Any], Tensor]]:
    """The tensors of several files, which an index tells; their SHA-256 is over the files' names and bytes."""
    content: dict[str, Tensor] = {}
    digest = hashlib.sha256()
    files = shards.weight_map(index)
    for name in sorted(set(files.values())):
        if not (index.parent / name).is_file():
            raise UnreadableError(f"is incomplete: {name} is not beside it", "Put all its files into one folder.")
        with (index.parent / name).open("rb") as file:
            part, tensors, read = _read_file(file)
            own = [key for key, where in files.items() if where == name]
            lacking = own if not isinstance(tensors, dict) else [key for key in own if key not in tensors]
            if lacking:
                raise UnreadableError(f"is of other files: {name} beside it lacks {shorten(lacking)}")
            content |= {key: read(tensors[key]) for key in own if isinstance(tensors[key], Tensor | TensorRef)}
        digest.update(f"{name}\0{part}\n".encode())
    return digest.hexdigest(), content, lambda tensor: tensor


def _read_file(file: BufferedReader) -> tuple[str, Any, Callable[[Any], Tensor]]:
    """A file's SHA-256, its content, and what turns a tensor of it into a real one."""
    sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    file.seek(0)
    return sha256, *_open(file)


def _open(file: BufferedReader) -> tuple[Any, Callable[[Any], Tensor]]:
    """The file's content, and what turns a tensor of it into a real one."""
    head = file.read(file_kind.HEAD_BYTES)
    file.seek(0)
    if file_kind.is_safetensors(head):
        try:
            return safetensors.torch.load(file.read()), lambda tensor: tensor
        except SafetensorError as error:
            raise UnreadableError(f"is cut off or damaged: {error}") from error
        except KeyError as error:  # a type of number that safetensors knows and torch does not
            raise UnreadableError(f"holds numbers of the type {error}", "Give fp32, fp16 or bf16 weights.") from error
    if file_kind.is_zip(head):
        opened = torch_file.read_zip(file)
    elif file_kind.is_pickle(head):
        opened = torch_file.read_stream(file)
    else:
        again = f" {AGAIN}" if file_kind.is_failed_download(head) else ""
        remedy = f"Give a file that torch.save wrote, or a .safetensors file.{again}"
        raise UnreadableError(f"is {file_kind.describe(head)}", remedy)
    return opened.content, opened.tensor


def load_model(checkpoint: Checkpoint, wanted: ModelName, num_classes: int | None) -> EfficientViM:
    """The model with the checkpoint's weights, in eval mode and without gradients.

    Args:
        checkpoint: What :func:`read_checkpoint` gave.
        wanted: The model that the user asked for.
        num_classes: The number of classes asked for; None takes the checkpoint's.

    Raises:
        BadInput: The checkpoint is of another model or number of classes, its names or shapes differ from the
            model's, or it holds numbers that no trained network has.
    """
    source, found = checkpoint.source, checkpoint.model
    if found != wanted:
        raise BadInput(f"{source} holds {found.name}, not {wanted.name}.", f"Use {found.short} for the model.")
    if checkpoint.num_classes < MIN_CLASSES:
        raise BadInput(f"{source} tells {checkpoint.num_classes} class apart.", "Give a classifier's weights.")
    if num_classes not in (None, checkpoint.num_classes):
        raise BadInput(
            f"{source} has {checkpoint.num_classes} classes, not {num_classes}.",
            f"Ask for {checkpoint.num_classes} classes, or leave the number out.",
        )
    # On the meta device nothing is initialised only to be overwritten.
    with torch.device("meta"):
        model = EfficientViM(found.variant, checkpoint.num_classes, found.distilled)
    counters = {name for name in model.state_dict() if name.endswith("num_batches_tracked")}
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items() if name not in counters}
    _check_names(checkpoint, shapes)
    check_numbers(checkpoint.state, source)
    state = {name: tensor.clone() for name, tensor in checkpoint.state.items()}
    state |= {name: torch.zeros((), dtype=torch.int64) for name in counters}
    model.load_state_dict(state, assign=True)
    return model.eval().requires_grad_(False)


def _check_names(checkpoint: Checkpoint, shapes: Mapping[str, torch.Size]) -> None:
    """Raise BadInput unless the checkpoint has these names and shapes."""
    state = checkpoint.state
    differing = {name: (shape, state[name].shape) for name, shape in shapes.items() if name in state}
    refuse_misfit(
        checkpoint.source,
        checkpoint.model.name,
        [name for name in shapes if name not in state],
        [name for name in state if name not in shapes],
        {name: pair for name, pair in differing.items() if pair[0] != pair[1]},
    )


def refuse_misfit(
    source: str,
    network: str,
    missing: Collection[str],
    unexpected: Collection[str],
    differing: Mapping[str, tuple[Sequence[int], Sequence[int]]],
) -> None:
    """Raise BadInput if any weight is missing, unexpected, or of another shape than expected, which come first."""
    shapes = [f"{name} (expected {tuple(want)}, found {tuple(is_)})" for name, (want, is_) in differing.items()]
    lists = {"missing": missing, "unexpected": unexpected, "of a wrong shape": shapes}
    if problems := [f"{len(names)} {what}: {shorten(names)}" for what, names in lists.items() if names]:
        raise BadInput(
            f"The weights in {source} do not fit {network}; " + "; ".join(problems) + ".",
            "Give a complete state dict of the unmodified network.",
        )


def check_numbers(state: Mapping[str, Tensor], source: str) -> None:
    """Raise BadInput if a weight is not finite or a variance is negative."""
    broken = [name for name, tensor in state.items() if not tensor.isfinite().all()]
    negative = [name for name, tensor in state.items() if name.endswith("running_var") and (tensor < 0).any()]
    for names, what in ((broken, "NaN or infinity"), (negative, "a negative variance")):
        if names:
            raise BadInput(
                f"{source} holds {what} in {shorten(names)}.",
                f"Its training diverged or the file is damaged. {AGAIN}",
            )
