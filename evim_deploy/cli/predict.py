"""``evim-deploy predict``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from evim_deploy.artifact.metadata import SCHEMA_VERSION
from evim_deploy.artifact.target import UNTRAINED_NOTICE
from evim_deploy.cli import options
from evim_deploy.cli.console import SETTINGS, out, print_json, reporting


def predict(
    artifact: Annotated[Path, typer.Argument(metavar="ARTIFACT", help="Made by `evim-deploy export`.")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files.")],
    top: Annotated[int, typer.Option(help="Number of classes to show for each image.")] = 5,
    json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Classify photographs with an artifact, by the artifact's own metadata."""
    from evim_deploy.commands.predict import predict as run

    with reporting(SETTINGS):
        predictions = run(artifact, images, top)
    weights = predictions.manifest["weights"]
    if json:
        print_json(
            {
                "schema_version": SCHEMA_VERSION,
                "artifact": str(artifact),
                "model": predictions.manifest["model"],
                "engine": predictions.engine,
                "weights": weights,
                "predictions": [asdict(prediction) for prediction in predictions.predictions],
            }
        )
        return
    console = out()
    if not weights["trained"]:
        console.print(f"{UNTRAINED_NOTICE} ({weights['source']})", style="bold yellow", soft_wrap=True, markup=False)
    for prediction in predictions.predictions:
        console.print(prediction.image, style="bold", soft_wrap=True, markup=False)
        for guess in prediction.top:
            console.print(f"  {guess.probability:7.2%}  {guess.label}", soft_wrap=True, markup=False)
