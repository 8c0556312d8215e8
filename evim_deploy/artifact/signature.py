"""The inputs and outputs of an artifact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """One input or output.

    Attributes:
        name: Its name in the file.
        shape: Lengths of its axes; a dynamic axis has a name instead of a length.
        dtype: Element type, or ``image``, ``string`` or ``dictionary``.
        layout: Meaning of the axes, for example ``NCHW``.
        range: Smallest and largest value; None where the values are not bounded.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: str
    layout: str
    range: tuple[float, float] | None


@dataclass(frozen=True)
class Signature:
    """All inputs and outputs of an artifact.

    Attributes:
        inputs: Inputs of the default function.
        outputs: Outputs of the default function.
        functions: The signature of each function by its name; empty where the artifact has a single function.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    functions: Mapping[str, Signature] = field(default_factory=dict)
