"""Serialise a TFLite model from flatbuffers' object API."""

from __future__ import annotations

from typing import Protocol

import flatbuffers
import numpy as np
import numpy.typing as npt

_FILE_IDENTIFIER = b"TFL3"
_BUFFER_ALIGNMENT = 16  # bytes: force_align of Buffer.data in TFLite's schema


class _Packable(Protocol):
    def Pack(self, builder: flatbuffers.Builder) -> int: ...  # noqa: N802, the object API's name


def pack(model: _Packable) -> bytes:
    """Return a model (``ModelT``) as a flatbuffer."""
    builder = _AlignedBuilder(1 << 20)
    builder.Finish(model.Pack(builder), _FILE_IDENTIFIER)
    return bytes(builder.Output())


class _AlignedBuilder(flatbuffers.Builder):  # type: ignore[misc]
    """A builder that aligns each buffer to 16 bytes, as the schema requires and the object API omits."""

    def CreateNumpyVector(self, x: npt.NDArray[np.generic]) -> int:  # noqa: N802, the base class's name
        self.Prep(_BUFFER_ALIGNMENT, x.nbytes)
        return int(super().CreateNumpyVector(x))
