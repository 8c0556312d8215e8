"""The quantisation of an artifact: the part of its manifest from which the same quantised graph can be made again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import inf
from typing import Any

from evim_deploy.common.json_documents import finite
from evim_deploy.graph.quantised import QuantParams


@dataclass(frozen=True)
class Calibration:
    """The images of a calibration.

    Attributes:
        source: The name of a folder or file without the folders above it, or a description of images that ship.
        images: Number of images used.
        skipped: Names of files that are not images, or damaged.
    """

    source: str
    images: int
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Quantisation:
    """The quantisation of a network.

    Attributes:
        calibration: None where no images were needed.
        equalisation_exponents: Binary logarithms of the scales that divide a convolution's output channels
            (cross-layer equalisation), by its name.
        qparams: Quantisation parameters of each quantised value, by name.
        sensitivity: Signal-to-noise ratio of the outputs, dB, where a single layer is quantised, by the layer's name;
            the lowest first.
        float_layers: Layers in floating point, the most sensitive first.
        allowed_loss: Percent of the predictions on calibration images that --keep-accuracy allows to change; None
            without the option.
        loss: Percent of these predictions that differ from those in float32; None likewise.
    """

    calibration: Calibration | None = None
    equalisation_exponents: tuple[tuple[str, tuple[int, ...]], ...] = ()
    qparams: tuple[tuple[str, QuantParams], ...] = ()
    sensitivity: tuple[tuple[str, float], ...] = ()
    float_layers: tuple[str, ...] = ()
    allowed_loss: float | None = None
    loss: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values: parameters as [scale, zero point, qmin, qmax]; infinite decibels are null."""
        return finite(
            {
                "calibration": asdict(self.calibration) if self.calibration else None,
                "exponents": dict(self.equalisation_exponents),
                "grids": {name: [each.scale, each.zero_point, each.qmin, each.qmax] for name, each in self.qparams},
                "sensitivity": dict(self.sensitivity),
                "kept": self.float_layers,
                "allowed_loss": self.allowed_loss,
                "loss": self.loss,
            }
        )

    @staticmethod
    def parse(document: Mapping[str, Any]) -> Quantisation:
        """Parse the result of :meth:`to_dict`.

        Raises:
            ValueError, KeyError, TypeError: The document is invalid.
        """
        calibration = document["calibration"]
        return Quantisation(
            calibration=None
            if calibration is None
            else Calibration(
                str(calibration["source"]), int(calibration["images"]), tuple(map(str, calibration["skipped"]))
            ),
            equalisation_exponents=tuple(
                (str(name), tuple(map(int, powers))) for name, powers in document["exponents"].items()
            ),
            qparams=tuple((str(name), _qparams(*values)) for name, values in document["grids"].items()),
            sensitivity=tuple(
                (str(name), inf if snr is None else float(snr)) for name, snr in document["sensitivity"].items()
            ),
            float_layers=tuple(map(str, document["kept"])),
            allowed_loss=_optional(document["allowed_loss"]),
            loss=_optional(document["loss"]),
        )


def _qparams(scale: float, zero_point: int, qmin: int, qmax: int) -> QuantParams:
    qparams = QuantParams(float(scale), int(zero_point), int(qmin), int(qmax))
    if not 0 < qparams.scale < inf or not qparams.qmin <= qparams.zero_point <= qparams.qmax:
        raise ValueError(f"Invalid quantisation parameters: {qparams}")
    return qparams


def _optional(value: float | None) -> float | None:
    return None if value is None else float(value)
