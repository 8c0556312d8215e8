"""``evim-deploy models``."""

from __future__ import annotations

from evim_deploy.artifact import SCHEMA_VERSION
from evim_deploy.cli import options
from evim_deploy.cli.console import out, print_json


def models(json: options.Json = False, verbose: options.Verbose = False) -> None:
    """The models, their names, sizes and published weights."""
    from evim_deploy.hub import published
    from evim_deploy.variants import MODELS, PARAMETERS

    rows = [
        {
            "model": name,
            "aliases": list(model.aliases),
            "parameters": PARAMETERS[name],
            "resolution": model.variant.resolution,
            "distilled": model.distilled,
            "weights": published(model)[0],
        }
        for name, model in MODELS.items()
    ]
    if json:
        print_json({"schema_version": SCHEMA_VERSION, "models": rows})
        return

    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("model", "parameters", "native", "published weights"):
        table.add_column(column, justify="right" if column in ("parameters", "native") else "left", no_wrap=True)
    for name, model in MODELS.items():
        side = model.variant.resolution
        parameters = f"{PARAMETERS[name] / 1e6:.2f} M"
        table.add_row(model.short, parameters, f"{side}x{side}", published(model)[0])
    console = out()
    console.print(table)
    console.print("\nEach goes by two more names: m4 is efficientvim_m4 and EfficientViM-M4 too.")
    console.print("Other classifiers are exported as timm:NAME or by the path of an .onnx file.")
