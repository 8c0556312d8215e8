"""The published models in the three formats, at their native resolutions.

Every run has M1 and M4, each format in its usual precision. Other precisions and models are left to the exhaustive
run: tests/exporters/test_exporters.py holds the structure of all four, and that a distilled model has the same
operations as the plain one and other weights.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evim_deploy.catalog.terms import UNQUANTISED
from evim_deploy.catalog.variants import PUBLISHED_MODELS
from evim_deploy.commands.export import export
from evim_deploy.commands.request import Request
from evim_deploy.common.publish import sha256
from exporters import FORMATS

EVERY_RUN = ("efficientvim_m1", "efficientvim_m4")
CASES = [
    pytest.param(
        name, precisions, marks=pytest.mark.exhaustive if precisions or name not in EVERY_RUN else pytest.mark.slow
    )
    for name, model in PUBLISHED_MODELS.items()
    for precisions in ([()] if model.distilled else [(), UNQUANTISED])
]


@pytest.mark.parametrize(("name", "precisions"), CASES)
def test_a_model_exports_in_every_format(name: str, precisions: tuple[str, ...], tmp_path: Path) -> None:
    model = PUBLISHED_MODELS[name]
    artifacts = export(
        Request(model=model, formats=tuple(FORMATS), precisions=precisions, weights="random:0", output_dir=tmp_path)
    )
    assert {(made["format"], made["precision"]) for made in artifacts} == {
        (format_, precision) for format_, row in FORMATS.items() for precision in precisions or (row.precisions[0],)
    }
    for made in artifacts:
        manifest = json.loads(Path(made["path"] + ".json").read_text())
        assert manifest["sha256"] == sha256(Path(made["path"]))
        assert (made["structure"]["transposes"], made["structure"]["batch_norms"]) == (0, 0)
        assert (made["parity"]["status"], made["parity"]["reason"]) == ("pass", "")
        assert len(made["parity"]["comparisons"]) == (1 if made["precision"] == "fp32" else 3)
