"""What was found on images, and is needed to make the same quantised network again: a part of the manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from evim_deploy.codes import Grid


@dataclass(frozen=True)
class Calibration:
    """The images that grids were found on.

    Attributes:
        source: A folder or file as the user named it, or what ships with the package.
        images: How many were used.
        skipped: Names of files that are no images, or damaged.
    """

    source: str
    images: int
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kept:
    """A layer that stays in floating point.

    Attributes:
        layer: Its name.
        snr_db: Signal to noise of the outputs where it alone is quantised, dB: the less, the more it costs.
    """

    layer: str
    snr_db: float


@dataclass(frozen=True)
class Quantisation:
    """How a network was quantised.

    Attributes:
        calibration: None where no images were needed.
        grids: By name what each value is rounded to.
        kept: Layers in floating point, the one that costs most first.
        allowed_loss: What --keep-accuracy asked for, percent of the calibration images; None where it was not given.
        loss: Share of the calibration images, percent, that it answers otherwise than the network in float32.
    """

    calibration: Calibration | None = None
    grids: tuple[tuple[str, Grid], ...] = ()
    kept: tuple[Kept, ...] = ()
    allowed_loss: float | None = None
    loss: float | None = None

    @property
    def kept_names(self) -> frozenset[str]:
        return frozenset(kept.layer for kept in self.kept)

    def document(self) -> dict[str, Any]:
        """As plain JSON values: a grid as [scale, zero point, least, most]."""
        grids = {name: [grid.scale, grid.zero_point, grid.least, grid.most] for name, grid in self.grids}
        return {**asdict(self), "grids": grids}

    @staticmethod
    def parse(document: Mapping[str, Any]) -> Quantisation:
        """From what :meth:`document` gives.

        Raises:
            ValueError, KeyError, TypeError: It is none.
        """
        calibration = document["calibration"]
        return Quantisation(
            None
            if calibration is None
            else Calibration(
                str(calibration["source"]), int(calibration["images"]), tuple(map(str, calibration["skipped"]))
            ),
            tuple((str(name), _grid(*values)) for name, values in document["grids"].items()),
            tuple(Kept(str(kept["layer"]), float(kept["snr_db"])) for kept in document["kept"]),
            _optional(document["allowed_loss"]),
            _optional(document["loss"]),
        )


def _grid(scale: Any, zero_point: Any, least: Any, most: Any) -> Grid:
    grid = Grid(float(scale), int(zero_point), int(least), int(most))
    if not 0 < grid.scale < float("inf") or not grid.least <= grid.zero_point <= grid.most:
        raise ValueError(f"{grid} is no grid")
    return grid


def _optional(value: Any) -> float | None:
    return None if value is None else float(value)
