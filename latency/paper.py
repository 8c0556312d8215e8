"""The paper's figures, as its Tables 3, 7 and E print them: what own measurements are put beside.

They were taken on the paper's machines by the paper's authors. Accuracy is theirs alone: nothing here measures it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_FILE = Path(__file__).parent / "data" / "paper.json"

USUAL_EPOCHS = 300
"""Of the two trainings that Table 3 lists for EfficientViM, the one that most others have too."""

MOVEMENT_SHARES = {"single-head": 0.051, "multi-head": 0.252}
"""Figure 3: share of the HSM-SSD layer's time on the GPU that goes to copies and reshapes, EfficientViM-M2."""


MACHINES = {"cpu": "AMD EPYC 7742", "gpu": "NVIDIA RTX 3090", "iphone": "iPhone 16"}
"""What the paper timed on, by the names of :data:`latency.settings.SETTINGS`."""


@dataclass(frozen=True)
class Table3:
    """A row of Table 3: classification of ImageNet-1k.

    Attributes:
        resolution: Side of the images in pixels.
        images_per_s: On the GPU.
        gpu_ms: Milliseconds an image on the GPU.
        top1: Accuracy in percent.
        parameters_m: Millions of weights.
    """

    method: str
    resolution: int
    epochs: int
    images_per_s: int
    gpu_ms: float
    top1: float
    parameters_m: float


@dataclass(frozen=True)
class TableE:
    """A row of Table E: milliseconds an image in the three settings, and accuracy in percent."""

    method: str
    gpu_ms: float
    cpu_ms: float
    iphone_ms: float
    top1: float


@cache
def table_3() -> tuple[Table3, ...]:
    """Table 3 in its order, by accuracy; EfficientViM is in it twice, trained for 300 and for 450 epochs."""
    return tuple(Table3(**row) for row in _tables()["table_3"])


@cache
def table_e() -> tuple[TableE, ...]:
    """Table E in its order."""
    return tuple(TableE(**row) for row in _tables()["table_e"])


def of_table_3(method: str | None) -> Table3 | None:
    """A method's row of Table 3, of 300 epochs where it has several; None where it has none."""
    rows = [row for row in table_3() if row.method == method]
    return min(rows, key=lambda row: row.epochs != USUAL_EPOCHS, default=None)


def of_table_e(method: str | None) -> TableE | None:
    """A method's row of Table E; None where it has none."""
    return next((row for row in table_e() if row.method == method), None)


def peak_bytes(method: str | None, setting: str | None) -> int | None:
    """Peak memory on the GPU by Table 7, whose M is read as MiB; None where it does not say."""
    peaks: dict[str, int] = {row["method"]: row["peak_mib"] for row in _tables()["table_7"]}
    return peaks[method] << 20 if method in peaks and setting == "gpu" else None


def milliseconds(method: str | None, setting: str | None, height: int, width: int) -> float | None:
    """What one image took the paper, in milliseconds; None where it does not say, as for another resolution.

    The GPU's are Table 3's, which has one digit more than Table E and more methods.
    """
    listed, compared = of_table_3(method), of_table_e(method)
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
