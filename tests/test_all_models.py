"""All eight models in the three formats and both precisions, at their native resolutions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evim_deploy.export import export
from evim_deploy.publish import sha256
from evim_deploy.request import Request
from evim_deploy.variants import MODELS
from exporters import FORMATS, PRECISIONS


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_a_model_exports_in_every_format_and_precision(name: str, tmp_path: Path) -> None:
    request = Request(MODELS[name], tuple(FORMATS), PRECISIONS, weights="random:0", output_dir=tmp_path)
    artifacts = export(request)
    assert {(made["format"], made["precision"]) for made in artifacts} == {(f, p) for f in FORMATS for p in PRECISIONS}
    for made in artifacts:
        manifest = json.loads(Path(made["path"] + ".json").read_text())
        assert manifest["sha256"] == sha256(Path(made["path"]))
        assert (made["structure"]["transposes"], made["structure"]["batch_norms"]) == (0, 0)
        assert (made["parity"]["status"], made["parity"]["reason"]) == ("pass", "")
        assert len(made["parity"]["comparisons"]) == (1 if made["precision"] == "fp32" else 3)
