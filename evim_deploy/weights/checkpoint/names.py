"""Names of tensors: the suffix of counters, and a list of names in a message."""

from __future__ import annotations

from collections.abc import Collection

_SHOWN = 10
_LONGEST = 150

COUNTER = "num_batches_tracked"
"""Suffix of the name of a BatchNorm's count of training steps, which inference does not use."""


def shorten(names: Collection[str]) -> str:
    """The first names of a list, with unprintable characters escaped, and the number of the others."""
    first = [name[:_LONGEST] for name in list(names)[:_SHOWN]]
    shown = ", ".join(name if name.isprintable() else ascii(name) for name in first)
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
