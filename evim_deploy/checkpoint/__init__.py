"""From a weights file of any provenance to a loaded :class:`~evim_deploy.model.EfficientViM`.

Two steps. :func:`read_checkpoint` finds the state dict in the file, gives it the canonical names and
shapes, and recognises the model from them. :func:`load_model` holds it against the model that the
user asked for. Nothing in a file is ever run (see :mod:`evim_deploy.checkpoint.safe_pickle`).
"""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from evim_deploy.checkpoint import file_kind, torch_file
from evim_deploy.checkpoint.safe_pickle import Inert, TensorRef
from evim_deploy.checkpoint.state_dict import canonical, plain, recognise, shorten
from evim_deploy.checkpoint.torch_file import AGAIN, SAVE_STATE, UnreadableError
from evim_deploy.errors import BadInput
from evim_deploy.model import EfficientViM
from evim_deploy.variants import MIN_CLASSES, ModelName

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

ENTRIES = ("model_ema", "model", "state_dict_ema", "state_dict")
"""Where a training envelope keeps a state dict, the preferred first: the averaged weights are the more accurate."""


@dataclass(frozen=True)
class Checkpoint:
    """The weights of one EfficientViM.

    Attributes:
        state: Tensors by canonical name, in canonical shapes, fp32; without ``num_batches_tracked``.
        model: The model that these shapes make.
        num_classes: Rows of each head.
        sha256: Of the file's bytes, in hex.
        entry: The entry of the envelope that held them, dotted where nested; "" for a bare state dict.
        source: What to call it in messages.
    """

    state: dict[str, Tensor]
    model: ModelName
    num_classes: int
    sha256: str
    entry: str
    source: str = "the checkpoint"


@dataclass(frozen=True)
class StateDict:
    """The state dict of any network.

    Attributes:
        state: Tensors by name, without the prefixes of wrappers; floats in fp32.
        sha256: Of the file's bytes, in hex.
        entry: As a :class:`Checkpoint` has it.
        source: What to call it in messages.
    """

    state: dict[str, Tensor]
    sha256: str
    entry: str
    source: str


def read_checkpoint(path: Path) -> Checkpoint:
    """The weights in a file of ``torch.save`` (zip or older) or safetensors, told apart by content.

    Raises:
        BadInput: The file cannot be opened, is damaged, of another kind, or holds no published EfficientViM.
    """
    with _opened(path) as (sha256, entry, state, read):
        tensors = canonical(state, read)
        model, num_classes = recognise(tensors)
        return Checkpoint(tensors, model, num_classes, sha256, entry, str(path))


def read_state_dict(path: Path) -> StateDict:
    """Likewise, whatever network it is of.

    Raises:
        BadInput: The file cannot be opened, is damaged, of another kind, or holds no state dict.
    """
    with _opened(path) as (sha256, entry, state, read):
        return StateDict(plain(state, read), sha256, entry, str(path))


@contextmanager
def _opened(path: Path) -> Iterator[tuple[str, str, Mapping[str, Any], Callable[[Any], Tensor]]]:
    """A file's SHA-256, the entry of its state dict, that itself, and what turns a tensor of it into a real one."""
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for a writer
            raise BadInput(f"{path} is not a file.", "Give the path of a weights file.")
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            content, read = _open(file)
            yield sha256, *_find_state(content), read
    except OSError as error:
        raise BadInput(
            f"{path} cannot be read: {error.strerror or error}.", "Give the path of a weights file."
        ) from error
    except UnreadableError as error:
        raise BadInput(f"{path} {error}.", error.remedy) from error


def _open(file: IO[bytes]) -> tuple[Any, Callable[[Any], Tensor]]:
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
        what = file_kind.describe(head)
        raise UnreadableError(f"is {what}", f"Give a file that torch.save wrote, or a .safetensors file. {AGAIN}")
    return opened.content, opened.tensor


def _find_state(content: Any) -> tuple[str, Mapping[str, Any]]:
    """The state dict in an envelope, and the dotted path of its entry.

    Raises:
        UnreadableError: There is none.
    """
    found = _search(content, depth=2)
    if found is None:
        what = "a pickled object, not its weights (no object of a file is brought to life)"
        raise UnreadableError(f"holds {what if isinstance(content, Inert) else 'no state dict'}", SAVE_STATE)
    return found


def _search(content: Any, depth: int) -> tuple[str, Mapping[str, Any]] | None:
    """The same, from an envelope at most ``depth`` deep; None where there is none."""
    if not isinstance(content, dict):
        return None
    # An entry without tensors, such as an average that training did not keep, gives way to the next.
    for entry in ENTRIES if depth else ():
        if inner := _search(content.get(entry), depth - 1):
            path, state = inner
            return f"{entry}.{path}".rstrip("."), state
    return ("", content) if any(isinstance(value, Tensor | TensorRef) for value in content.values()) else None


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
    lists = {
        "missing": [name for name in shapes if name not in state],
        "unexpected": [name for name in state if name not in shapes],
        "of a wrong shape": [
            f"{name} (expected {tuple(shape)}, found {tuple(state[name].shape)})"
            for name, shape in shapes.items()
            if name in state and state[name].shape != shape
        ],
    }
    if problems := [f"{len(names)} {what}: {shorten(names)}" for what, names in lists.items() if names]:
        raise BadInput(
            f"The weights in {checkpoint.source} do not fit {checkpoint.model.name}; " + "; ".join(problems) + ".",
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
