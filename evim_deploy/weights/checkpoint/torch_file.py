"""Files written by ``torch.save``: zip archives, and the streams from before torch 1.6.

``torch.load`` is not used, not even with ``weights_only=True``: it does not check the CRC of weights, and a small
hostile file crashes the process (a deeply nested key) or makes it hang. Reading a state dict needs little: unpickle a
description, then read the storages that it names.

    zip:     <root>/data.pkl, <root>/byteorder, <root>/data/<key> for each storage
    stream:  five pickles (magic number, version, system, content, keys), then for each key the
             number of elements (int64) and the elements
"""

from __future__ import annotations

import functools
import io
import math
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

import torch
from torch import Tensor

from evim_deploy.weights.checkpoint import safe_pickle
from evim_deploy.weights.checkpoint.safe_pickle import StorageRef, TensorRef

if TYPE_CHECKING:
    from collections.abc import Iterable

Read = Callable[[Tensor | TensorRef], Tensor]
"""Reads a described tensor; a real tensor is returned unchanged."""

AGAIN = "Download it again, or copy it again from where it came."
SAVE_STATE = "Save the model's state_dict() with torch.save, or as safetensors, and give that file."

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_STREAM_VERSION = 1001
_MOST_COPIES = 32  # layers that share their weights, of which the largest networks have 24

# Errors of zipfile for damaged archives, from random damage to files; few of them are documented.
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    RuntimeError,
    OverflowError,
    MemoryError,
)


class UnreadableError(Exception):
    """A file cannot be read.

    Args:
        reason: The problem, as the rest of a sentence that begins with the file's name.
        remedy: The user's next step.
    """

    def __init__(self, reason: str, remedy: str = AGAIN) -> None:
        super().__init__(reason)
        self.remedy = remedy


@dataclass(frozen=True)
class TorchFile:
    """An opened file: the saved object, and the bytes of each storage on request.

    Attributes:
        content: The saved object, with :class:`TensorRef` for its tensors and ``Inert`` for foreign objects.
        storage: The bytes of a storage.
    """

    content: object
    storage: Callable[[StorageRef], bytearray]

    def tensor(self, ref: Tensor | TensorRef) -> Tensor:
        """The described tensor, as a copy in its own dtype.

        Raises:
            UnreadableError: Its bytes are damaged, or their number contradicts the description.
        """
        assert isinstance(ref, TensorRef)
        raw = self.storage(ref.storage)
        if len(raw) != ref.storage.elements * ref.storage.dtype.itemsize:
            raise UnreadableError("holds a storage of another size than it says")
        if not isinstance(ref.size, tuple) or not isinstance(ref.stride, tuple):
            raise UnreadableError("describes a tensor that has no size")
        size, stride = ref.size, ref.stride
        offset = ref.offset if type(ref.offset) is int else -1
        # A view with more elements than its storage repeats some: torch.save never writes it, and its copy could
        # fill the memory.
        if not _are_counts(offset, *size, *stride) or math.prod(size) > ref.storage.elements:
            raise UnreadableError("describes a tensor that its storage cannot hold")
        flat = torch.frombuffer(raw, dtype=ref.storage.dtype) if raw else torch.empty(0)
        try:
            return flat.as_strided(size, stride, offset).clone()
        except RuntimeError as error:
            raise UnreadableError("describes a tensor that its storage cannot hold") from error


def _are_counts(*numbers: object) -> bool:
    return all(type(n) is int and n >= 0 for n in numbers)


def refuse_repetition(tensors: Iterable[TensorRef]) -> None:
    """Reject a small file that would fill the memory: each tensor is copied, and any number may share a storage.

    Raises:
        UnreadableError: The tensors hold many times the numbers that the file has.
    """
    sized = [
        (each.storage, math.prod(each.size))
        for each in tensors
        if isinstance(each.size, tuple) and all(type(n) is int for n in each.size)
    ]
    stored = sum({storage.key: storage.elements for storage, _ in sized}.values())
    if sum(count for _, count in sized) > _MOST_COPIES * stored:
        raise UnreadableError(
            f"describes tensors of more than {_MOST_COPIES} times the numbers that it holds", SAVE_STATE
        )


def _unpickle(file: IO[bytes]) -> tuple[object, dict[str, StorageRef]]:
    try:
        return safe_pickle.load(file)
    except pickle.UnpicklingError as error:
        raise UnreadableError(f"is damaged: {error}") from error


def read_zip(file: IO[bytes]) -> TorchFile:
    """Open a zip archive.

    Raises:
        UnreadableError: It is damaged, or ``torch.save`` did not write it.
    """
    try:
        archive = zipfile.ZipFile(file)
    except _ZIP_ERRORS as error:
        raise UnreadableError("is cut off or damaged: its zip directory cannot be read") from error
    entries = {info.filename: info for info in archive.infolist()}
    if any(name.rpartition("/")[2] == "constants.pkl" for name in entries):
        raise UnreadableError("is a TorchScript archive, which is a program; its weights are not read", SAVE_STATE)
    pickles = [name for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise UnreadableError("is a zip archive, but not one that torch.save wrote", SAVE_STATE)
    root = pickles[0].removesuffix("data.pkl")

    def read(name: str) -> bytes:
        info = entries.get(root + name)
        if info is None:
            raise UnreadableError(f"is damaged: {root}{name} is missing")
        # torch.save never compresses; a compressed entry could fill the memory.
        if info.compress_type != zipfile.ZIP_STORED:
            raise UnreadableError(f"holds {root}{name} compressed, which torch.save never does", SAVE_STATE)
        try:
            return archive.read(info)  # checks the CRC
        except _ZIP_ERRORS as error:
            raise UnreadableError(f"is damaged: {root}{name} does not match its checksum or is cut off") from error

    if root + "byteorder" in entries and read("byteorder") != b"little":
        raise UnreadableError("holds big-endian numbers", SAVE_STATE)
    content, _ = _unpickle(io.BytesIO(read("data.pkl")))
    return TorchFile(content, _remembering(lambda ref: read(f"data/{ref.key}")))


def read_stream(file: IO[bytes]) -> TorchFile:
    """Open a stream from before torch 1.6 (``_use_new_zipfile_serialization=False``).

    Raises:
        UnreadableError: It is damaged, or ``torch.save`` did not write it.
    """
    # One after the other: a foreign pickle ends after the first.
    if _unpickle(file)[0] != _MAGIC_NUMBER or _unpickle(file)[0] != _STREAM_VERSION:
        raise UnreadableError("is a pickle, but not one that torch.save wrote", SAVE_STATE)
    system, _ = _unpickle(file)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise UnreadableError("holds big-endian numbers", SAVE_STATE)
    content, storages = _unpickle(file)
    keys, _ = _unpickle(file)
    extents = _storage_extents(file, keys, storages)

    def read(ref: StorageRef) -> bytes:
        if ref.key not in extents:
            raise UnreadableError(f"is cut off or damaged: storage {ref.key} is missing")
        start, length = extents[ref.key]
        file.seek(start)
        return file.read(length)

    return TorchFile(content, _remembering(read))


def _remembering(read: Callable[[StorageRef], bytes]) -> Callable[[StorageRef], bytearray]:
    """Cache the last storage: where all tensors are views of one storage, it is read once."""
    return functools.lru_cache(maxsize=1)(lambda ref: bytearray(read(ref)))


def _storage_extents(file: IO[bytes], keys: object, storages: dict[str, StorageRef]) -> dict[str, tuple[int, int]]:
    """The extent of each storage, (start, length) in bytes, after the file's position.

    Only the description states the size of an element. The list ends at the first storage that the description does
    not name, or that extends beyond the end of the file.
    """
    extents: dict[str, tuple[int, int]] = {}
    start = file.tell()
    size = file.seek(0, os.SEEK_END)
    for key in keys if isinstance(keys, list) else []:
        file.seek(start)
        header = file.read(8)
        if not isinstance(key, str) or key not in storages or len(header) < 8:
            break
        length = struct.unpack("<q", header)[0] * storages[key].dtype.itemsize
        start += 8
        if not 0 <= length <= size - start:
            break
        extents[key] = (start, length)
        start += length
    return extents
