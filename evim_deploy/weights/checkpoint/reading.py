"""Read the state dict of any network from a weights file. Nothing in a file is executed.

A file of ``torch.save`` (zip or older) or safetensors is recognised by its content, and so is the index of several
files. :mod:`evim_deploy.weights.checkpoint.entries` finds the state dict in a training file.
"""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from evim_deploy.common.errors import BadInput
from evim_deploy.weights import shards
from evim_deploy.weights.checkpoint import file_kind, torch_file
from evim_deploy.weights.checkpoint.entries import StateLocation, find_state
from evim_deploy.weights.checkpoint.names import shorten
from evim_deploy.weights.checkpoint.plain import plain
from evim_deploy.weights.checkpoint.safe_pickle import TensorRef
from evim_deploy.weights.checkpoint.torch_file import AGAIN, Read, UnreadableError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from io import BufferedReader
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class StateDict:
    """The state dict of any network.

    Attributes:
        state: Tensors by name, without the prefixes of wrappers; floats in fp32.
        sha256: SHA-256 of the file's bytes, in hex; of several files over their names and bytes.
        note: Its place in the file and how it was chosen, for users; "" for a bare state dict.
        source: Its name in messages.
    """

    state: dict[str, Tensor]
    sha256: str
    note: str
    source: str


def read_state_dict(path: Path, expected: Mapping[str, Tensor]) -> StateDict:
    """The weights of a network.

    Args:
        path: Path of the file, of the index of several files, or of a folder with one of these.
        expected: The network's own parameters and buffers by name; their values are not used.

    Raises:
        BadInput: The file cannot be opened, is damaged, of another kind, or holds no state dict.
    """
    with open_checkpoint(path, [expected]) as (sha256, location, read):
        state = plain(location.state, read, expected)
        return StateDict(state=state, sha256=sha256, note=location.note, source=str(path))


@contextmanager
def open_checkpoint(path: Path, networks: Sequence[Collection[str]]) -> Iterator[tuple[str, StateLocation, Read]]:
    """The SHA-256 of weights, their location in the file, and a function that reads a described tensor.

    Raises:
        BadInput: The file cannot be opened, is damaged, of another kind, or holds no state dict.
    """
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
            location = find_state(content, networks, read)
            torch_file.refuse_repetition(each for each in location.state.values() if isinstance(each, TensorRef))
            yield sha256, location, read
    except OSError as error:
        raise BadInput(
            f"{path} cannot be read: {error.strerror or error}.", "Give the path of a weights file."
        ) from error
    except UnreadableError as error:
        raise BadInput(f"{path} {error}.", error.remedy) from error


def _read_parts(index: Path) -> tuple[str, object, Read]:
    """The tensors of the files of an index; their SHA-256 is over the files' names and bytes."""
    content: dict[str, Tensor] = {}
    digest = hashlib.sha256()
    files = shards.weight_map(index)
    for name in sorted(set(files.values())):
        if not (index.parent / name).is_file():
            raise UnreadableError(f"is incomplete: {name} is not beside it", "Put all its files into one folder.")
        with (index.parent / name).open("rb") as file:
            part, tensors, read = _read_file(file)
            own = [key for key, part_name in files.items() if part_name == name]
            tensors = tensors if isinstance(tensors, dict) else {}
            if lacking := [key for key in own if key not in tensors]:
                raise UnreadableError(f"is of other files: {name} beside it lacks {shorten(lacking)}")
            content |= {key: read(tensors[key]) for key in own if isinstance(tensors[key], Tensor | TensorRef)}
        digest.update(f"{name}\0{part}\n".encode())
    return digest.hexdigest(), content, _as_it_is


def _read_file(file: BufferedReader) -> tuple[str, object, Read]:
    """A file's SHA-256, its content, and a function that reads a described tensor."""
    sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    file.seek(0)
    return sha256, *_open(file)


def _open(file: BufferedReader) -> tuple[object, Read]:
    """The file's content, and a function that reads a described tensor."""
    head = file.read(file_kind.HEAD_BYTES)
    file.seek(0)
    if file_kind.is_safetensors(head):
        try:
            return safetensors.torch.load(file.read()), _as_it_is
        except SafetensorError as error:
            raise UnreadableError(f"is cut off or damaged: {error}") from error
        except KeyError as error:  # a dtype of safetensors that torch does not have
            raise UnreadableError(f"holds numbers of the type {error}", "Give fp32, fp16 or bf16 weights.") from error
    if file_kind.is_zip(head):
        saved = torch_file.read_zip(file)
    elif file_kind.is_pickle(head):
        saved = torch_file.read_stream(file)
    else:
        again = f" {AGAIN}" if file_kind.is_failed_download(head) else ""
        remedy = f"Give a file that torch.save wrote, or a .safetensors file.{again}"
        raise UnreadableError(f"is {file_kind.describe(head)}", remedy)
    return saved.content, saved.tensor


def _as_it_is(tensor: Tensor | TensorRef) -> Tensor:
    assert isinstance(tensor, Tensor)
    return tensor


def refuse_misfit(
    source: str,
    network: str,
    *,
    missing: Collection[str],
    unexpected: Collection[str],
    differing: Mapping[str, tuple[Sequence[int], Sequence[int]]],
) -> None:
    """Raise BadInput if any weight is missing, unexpected, or of a wrong shape.

    Args:
        source: Name of the weights in messages.
        network: Name of the network in messages.
        missing: Names of the network's weights that the file lacks.
        unexpected: Names of weights that the network lacks.
        differing: The expected and the actual shape by name, where they differ.
    """
    shapes = [
        f"{name} (expected {tuple(expected)}, found {tuple(actual)})" for name, (expected, actual) in differing.items()
    ]
    lists = {"missing": missing, "unexpected": unexpected, "of a wrong shape": shapes}
    if problems := [f"{len(names)} {kind}: {shorten(names)}" for kind, names in lists.items() if names]:
        raise BadInput(
            f"The weights in {source} do not fit {network}; " + "; ".join(problems) + ".",
            "Give a complete state dict of the unmodified network.",
        )


def check_numbers(state: Mapping[str, Tensor], source: str) -> None:
    """Raise BadInput if a weight is not finite or a variance is negative."""
    broken = [name for name, tensor in state.items() if not tensor.isfinite().all()]
    negative = [name for name, tensor in state.items() if name.endswith("running_var") and (tensor < 0).any()]
    for names, problem in ((broken, "NaN or infinity"), (negative, "a negative variance")):
        if names:
            raise BadInput(
                f"{source} holds {problem} in {shorten(names)}.",
                f"Its training diverged or the file is damaged. {AGAIN}",
            )
