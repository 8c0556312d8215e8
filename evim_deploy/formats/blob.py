"""The weights file of an .mlpackage: arrays after small records, each aligned to 64 bytes.

A record is 64 bytes, little-endian: sentinel, type code, size in bytes, offset of the data, bits of padding after the
last element. Source: coremltools, mlmodel/src/MILBlob/Blob/StorageFormat.hpp.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from evim_deploy.formats.model_file import Unsupported

_RECORD = struct.Struct("<IIQQQ")
_RECORD_BYTES = 64
_SENTINEL = 0xDEADBEEF
_CODES: Mapping[int, str] = {
    1: "float16",
    2: "float32",
    3: "uint8",
    4: "int8",
    5: "bfloat16",
    6: "int16",
    7: "uint16",
    8: "int4",
    9: "uint1",
    10: "uint2",
    11: "uint4",
    12: "uint3",
    13: "uint6",
    14: "int32",
    15: "uint32",
}


def read_blob(content: bytes, offset: int, dtype: str, count: int) -> npt.NDArray[np.generic]:
    """The elements of one record, flat, in the smallest numpy type that holds them.

    Args:
        content: The whole file.
        offset: Start of the record, bytes.
        dtype: Element type, from the program.
        count: Number of elements, from the program.

    Raises:
        NotKnown: The element type is unknown.
        ValueError: The record is damaged, or contradicts the program.
    """
    if offset + _RECORD_BYTES > len(content):
        raise ValueError(f"the weights end at byte {len(content)}, before a record at {offset}")
    sentinel, code, size, start, padding_bits = _RECORD.unpack_from(content, offset)
    if sentinel != _SENTINEL:
        raise ValueError(f"byte {offset} has no weight record")
    if code not in _CODES:
        element_bits(dtype)  # raises if the type is unknown; else the record is wrong
    if _CODES.get(code) != dtype:
        raise ValueError(f"the weights at byte {offset} are {_CODES.get(code, f'of type {code}')}, not {dtype}")
    if start + size > len(content):
        raise ValueError(f"the weights end at byte {len(content)}, before those of byte {start} to {start + size}")
    bits = element_bits(dtype)
    if 8 * size - padding_bits != bits * count:
        raise ValueError(f"the weights at byte {offset} have {size} bytes, not {count} elements of {bits} bits")
    return unpack(memoryview(content)[start : start + size], dtype, count)


def element_bits(dtype: str) -> int:
    """Number of bits of one element of a type such as ``float16`` or ``int4``.

    Raises:
        NotKnown: The type is unknown.
    """
    if dtype not in _CODES.values():
        raise Unsupported(f"an array of {dtype}")
    return int(dtype.lstrip("abcdefghijklmnopqrstuvwxyz"))


def packed_bytes(dtype: str, count: int) -> int:
    """Number of bytes of packed elements."""
    return (element_bits(dtype) * count + 7) // 8


def unpack(content: bytes | memoryview, dtype: str, count: int) -> npt.NDArray[np.generic]:
    """Unpack elements from bytes; types smaller than a byte are packed from the lowest bit.

    Raises:
        NotKnown: The type is unknown.
        ValueError: The number of bytes does not match the number of elements.
    """
    bits = element_bits(dtype)
    if len(content) != packed_bytes(dtype, count):
        raise ValueError(f"{len(content)} bytes, not {count} elements of {bits} bits")
    if dtype == "bfloat16":
        return (np.frombuffer(content, "<u2", count).astype(np.uint32) << 16).view(np.float32)
    if bits >= 8:
        return np.frombuffer(content, np.dtype(dtype).newbyteorder("<"), count)
    flat = np.unpackbits(np.frombuffer(content, np.uint8), bitorder="little")[: bits * count]
    values = (flat.reshape(count, bits) << np.arange(bits, dtype=np.uint8)).sum(1, dtype=np.uint8)
    if dtype.startswith("int"):
        return ((values ^ (1 << (bits - 1))).astype(np.int8) - (1 << (bits - 1))).astype(np.int8)
    return values
