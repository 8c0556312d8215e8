"""The kind of a file by its first bytes; its extension is not used."""

from __future__ import annotations

HEAD_BYTES = 512
"""Bytes from the beginning of a file that the functions here need."""

_FOREIGN = (
    (0, b"version https://git-lfs", "a Git LFS pointer, not the file it stands for"),
    (0, b"<", "a web page or other XML"),
    (0, b"\x89HDF", "an HDF5 file"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"GGUF", "a GGUF file"),
    (0, b"\x93NUMPY", "an array of NumPy"),
    (0, b"\x08", "an ONNX model or another protobuf"),
    (4, b"TFL3", "a TFLite model"),
    (257, b"ustar", "a tar archive"),
)

_DOWNLOADS = (b"version https://git-lfs", b"<")
_UNKNOWN = "of a kind that is not known here"


def is_zip(head: bytes) -> bool:
    """Whether the file is a zip archive, as torch.save writes since torch 1.6."""
    return head.startswith(b"PK\x03\x04")


def is_pickle(head: bytes) -> bool:
    """Whether the file is a pickle of protocol 2 or later, as torch.save wrote before."""
    return head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5")


def is_safetensors(head: bytes) -> bool:
    """Whether the file has a JSON header after its length, 8 bytes; the format allows no more than 100 MB."""
    return head[4:9] == b"\0\0\0\0{"


def is_json(head: bytes) -> bool:
    """Whether the file is a JSON object, as the index of weights in several files is."""
    return head.lstrip().startswith(b"{")


def is_failed_download(head: bytes) -> bool:
    """Whether the file may be the rest of a failed download."""
    return describe(head) in ("empty", _UNKNOWN, *(name for _, magic, name in _FOREIGN if magic in _DOWNLOADS))


def describe(head: bytes) -> str:
    """A description of a file of any other kind, for a message."""
    if not head:
        return "empty"
    return next(
        (name for start, magic, name in _FOREIGN if head[start:].lstrip().startswith(magic)),
        _UNKNOWN,
    )
