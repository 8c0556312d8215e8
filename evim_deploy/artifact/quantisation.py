"""What was found on images, and is needed to make the same quantised network again: a part of the manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import inf
from typing import Any

from evim_deploy.common.json_documents import finite
from evim_deploy.graph.quantised import QuantParams


@dataclass(frozen=True)
class Calibration:
    """The images that grids were found on.

    Attributes:
        source: The name of a folder or file without the folders above it, or what ships with the package.
        images: How many were used.
        skipped: Names of files that are no images, or damaged.
    """

    source: str
    images: int
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Quantisation:
    """How a network was quantised.

    Attributes:
        calibration: None where no images were needed.
        exponents: By the name of a convolution the powers of two that its output channels were divided by, so that one
            grid fits all of them.
        grids: By name what each value is rounded to.
        sensitivity: Signal to noise of the outputs, dB, where a layer alone is quantised, by the layer's name; the one
            that costs most first.
        kept: Layers in floating point, likewise.
        allowed_loss: What --keep-accuracy asked for, percent of the calibration images; None where it was not given.
        loss: Percent of the calibration images that are then answered otherwise than in float32; None likewise.
    """

    calibration: Calibration | None = None
    exponents: tuple[tuple[str, tuple[int, ...]], ...] = ()
    qparams: tuple[tuple[str, QuantParams], ...] = ()
    sensitivity: tuple[tuple[str, float], ...] = ()
    kept: tuple[str, ...] = ()
    allowed_loss: float | None = None
    loss: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values: a grid as [scale, zero point, least, most]; infinite decibels are null."""
        qparams = {name: [grid.scale, grid.zero_point, grid.least, grid.most] for name, grid in self.qparams}
        tables = {"exponents": dict(self.exponents), "grids": qparams, "sensitivity": dict(self.sensitivity)}
        return finite({**asdict(self), **tables})

    @staticmethod
    def parse(document: Mapping[str, Any]) -> Quantisation:
        """From what :meth:`to_dict` gives.

        Raises:
            ValueError, KeyError, TypeError: It is none.
        """
        calibration = document["calibration"]
        return Quantisation(
            calibration=None
            if calibration is None
            else Calibration(
                str(calibration["source"]), int(calibration["images"]), tuple(map(str, calibration["skipped"]))
            ),
            exponents=tuple((str(name), tuple(map(int, powers))) for name, powers in document["exponents"].items()),
            qparams=tuple((str(name), _grid(*values)) for name, values in document["grids"].items()),
            sensitivity=tuple(
                (str(name), inf if snr is None else float(snr)) for name, snr in document["sensitivity"].items()
            ),
            kept=tuple(map(str, document["kept"])),
            allowed_loss=_optional(document["allowed_loss"]),
            loss=_optional(document["loss"]),
        )


def _grid(scale: Any, zero_point: Any, least: Any, most: Any) -> QuantParams:
    grid = QuantParams(float(scale), int(zero_point), int(least), int(most))
    if not 0 < grid.scale < float("inf") or not grid.least <= grid.zero_point <= grid.most:
        raise ValueError(f"{grid} is no grid")
    return grid


def _optional(value: Any) -> float | None:
    return None if value is None else float(value)
