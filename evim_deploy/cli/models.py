"""``evim-deploy models``."""

from __future__ import annotations

from evim_deploy.artifact.metadata import SCHEMA_VERSION
from evim_deploy.cli import options
from evim_deploy.cli.console import out, print_json


def models(json: options.Json = False, verbose: options.Verbose = False) -> None:
    """List the models with their names, sizes and default weights."""
    from evim_deploy.catalog.variants import MODELS, PARAMETERS
    from evim_deploy.networks.efficientvim.weights import default_source

    rows = [
        {
            "model": name,
            "aliases": list(model.aliases),
            "parameters": PARAMETERS[name],
            "resolution": model.variant.resolution,
            "num_classes": model.variant.num_classes,
            "distilled": model.distilled,
            "weights": default_source(model),
        }
        for name, model in MODELS.items()
    ]
    if json:
        print_json({"schema_version": SCHEMA_VERSION, "models": rows})
        return

    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    numbers = ("parameters", "native", "classes")
    for column in ("model", *numbers, "weights"):
        table.add_column(column, justify="right" if column in numbers else "left", no_wrap=True)
    for name, model in MODELS.items():
        side = model.variant.resolution
        parameters = f"{PARAMETERS[name] / 1e6:.2f} M"
        classes = str(model.variant.num_classes)
        table.add_row(model.short, parameters, f"{side}x{side}", classes, default_source(model))
    console = out()
    console.print(table)
    console.print("\nEach model has two aliases: m4 is also efficientvim_m4 and EfficientViM-M4.")
    console.print("The weights of digits ship with the package; the others are downloaded from the Hugging Face hub.")
    console.print("Other classifiers: timm:NAME, or the path of an .onnx file.")
