"""The quantisation in a manifest: its keys, and rejected parameters."""

from __future__ import annotations

import json

import pytest

from evim_deploy.artifact.quantisation import Calibration, Quantisation
from evim_deploy.graph.quantised import QuantParams

QUANTISATION = Quantisation(
    calibration=Calibration("photos", 3, ("bad.jpg",)),
    equalisation_exponents=(("first", (1, -2, 0)),),
    qparams=(("a", QuantParams(0.5, 3, 0, 255)),),
    sensitivity=(("conv", 12.5), ("free", float("inf"))),
    float_layers=("conv",),
    allowed_loss=0.5,
    loss=0.25,
)
KEYS = ["calibration", "exponents", "grids", "sensitivity", "kept", "allowed_loss", "loss"]


def test_a_written_quantisation_is_parsed_to_the_same() -> None:
    assert Quantisation.parse(json.loads(json.dumps(QUANTISATION.to_dict()))) == QUANTISATION
    assert Quantisation.parse(json.loads(json.dumps(Quantisation().to_dict()))) == Quantisation()


def test_the_keys_of_the_manifest_do_not_change() -> None:
    assert list(QUANTISATION.to_dict()) == list(Quantisation().to_dict()) == KEYS


@pytest.mark.parametrize("qparams", [[0.0, 0, 0, 255], [1.0, 300, 0, 255], [float("inf"), 0, 0, 255], [1.0, 0]])
def test_invalid_quantisation_parameters_are_rejected(qparams: list[float]) -> None:
    document = QUANTISATION.to_dict() | {"grids": {"a": qparams}}
    with pytest.raises((ValueError, TypeError)):
        Quantisation.parse(document)
