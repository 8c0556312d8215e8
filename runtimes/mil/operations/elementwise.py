"""What is computed element by element."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from runtimes.mil.arithmetic import Exact


def silu(m: Exact, x: Tensor) -> Tensor:
    return x * m.round(torch.sigmoid(x))


def cast(m: Exact, x: Tensor, dtype: str) -> Tensor:
    """To another type; floats are truncated to integers."""
    kinds = {
        "int32": torch.int32,
        "int16": torch.int32,
        "uint16": torch.int32,
        "int8": torch.int8,
        "uint8": torch.uint8,
        "bool": torch.bool,
    }
    return x.to(kinds.get(dtype, torch.float32))


HANDLERS: Mapping[str, Callable[..., Any]] = {
    "add": lambda m, x, y: x + y,
    "sub": lambda m, x, y: x - y,
    "mul": lambda m, x, y: x * y,
    "relu": lambda m, x: F.relu(x),
    "sigmoid": lambda m, x: torch.sigmoid(x),
    "silu": silu,
    "cast": cast,
}
