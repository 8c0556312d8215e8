"""The figures of the paper's Tables 3, 7 and E, for comparison with own measurements.

The paper's authors measured them on their machines. The accuracy is only quoted, never measured here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_FILE = Path(__file__).parent / "data" / "paper.json"

USUAL_EPOCHS = 300
"""Epochs of most methods in Table 3, which lists EfficientViM with 300 and with 450."""

MOVEMENT_SHARES = {"single-head": 0.051, "multi-head": 0.252}
"""Figure 3: share of copies and reshapes in the time of EfficientViM-M2's HSM-SSD layer on the GPU."""

MACHINES = {"cpu": "AMD EPYC 7742", "gpu": "NVIDIA RTX 3090", "iphone": "iPhone 16"}
"""The paper's hardware by the names of :data:`latency.settings.SETTINGS`."""


@dataclass(frozen=True, kw_only=True)
class Table3Row:
    """A row of Table 3: classification of ImageNet-1k.

    Attributes:
        method: Name of the network.
        resolution: Side of the images, pixels.
        epochs: Epochs of training.
        images_per_s: Throughput on the GPU, images per second.
        gpu_ms: Time of an image on the GPU, milliseconds.
        top1: Top-1 accuracy, percent.
        parameters_m: Number of weights, millions.
    """

    method: str
    resolution: int
    epochs: int
    images_per_s: int
    gpu_ms: float
    top1: float
    parameters_m: float


@dataclass(frozen=True, kw_only=True)
class TableERow:
    """A row of Table E: milliseconds per image in the three settings, and top-1 accuracy in percent."""

    method: str
    gpu_ms: float
    cpu_ms: float
    iphone_ms: float
    top1: float


@cache
def table_3() -> tuple[Table3Row, ...]:
    """The rows of Table 3 in its order, by accuracy. EfficientViM has two, trained for 300 and for 450 epochs."""
    return tuple(Table3Row(**row) for row in _tables()["table_3"])


@cache
def table_e() -> tuple[TableERow, ...]:
    """The rows of Table E in its order."""
    return tuple(TableERow(**row) for row in _tables()["table_e"])


def table_3_row(method: str | None) -> Table3Row | None:
    """A method's row of Table 3, with 300 epochs if there are several; None if it is not listed."""
    rows = [row for row in table_3() if row.method == method]
    return min(rows, key=lambda row: row.epochs != USUAL_EPOCHS, default=None)


def table_e_row(method: str | None) -> TableERow | None:
    """A method's row of Table E; None if it is not listed."""
    return next((row for row in table_e() if row.method == method), None)


def peak_bytes(method: str | None, setting: str | None) -> int | None:
    """Peak memory on the GPU of Table 7 in bytes, with M read as MiB; None if it is not listed."""
    peaks: dict[str, int] = {row["method"]: row["peak_mib"] for row in _tables()["table_7"]}
    return peaks[method] << 20 if method in peaks and setting == "gpu" else None


def paper_milliseconds(method: str | None, setting: str | None, height: int, width: int) -> float | None:
    """The paper's time of an image, milliseconds; None if it is not listed, as for another resolution.

    GPU times are those of Table 3, which has one more digit than Table E and more methods.
    """
    listed, compared = table_3_row(method), table_e_row(method)
    if listed is None or not height == width == listed.resolution:
        return None
    if setting == "gpu":
        return listed.gpu_ms
    figures = {"cpu": compared.cpu_ms, "iphone": compared.iphone_ms} if compared else {}
    return figures.get(setting or "")


@cache
def _tables() -> dict[str, Any]:
    tables: dict[str, Any] = json.loads(_FILE.read_text("utf-8"))
    return tables
