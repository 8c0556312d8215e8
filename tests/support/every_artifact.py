"""Export every format and precision once, in a process with a given user, host and date.

``python every_artifact.py FOLDER HOST DATE HOW_MANY`` reads the files that :func:`prepare` wrote into the folder, by
absolute paths, and writes ``all`` artifacts or a ``few`` of each format into its subfolder ``artifacts``.
"""

from __future__ import annotations

import datetime
import shutil
import socket
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evim_deploy.commands.request import Request

WEIGHTS, IMAGES, CLASSIFIER, ARTIFACTS = "weights.safetensors", "images", "classifier.onnx", "artifacts"
SIZES = ((64, 64), (64, 32))


def prepare(folder: Path) -> None:
    """Write weights, calibration images and a foreign ONNX file into a folder."""
    import tiny_module
    import torch
    from PIL import Image

    from evim_deploy.images import digits

    (folder / IMAGES).mkdir(parents=True)
    with digits.weights_file() as path:
        shutil.copy(path, folder / WEIGHTS)
    for index, picture in enumerate(digits.training()[0][:2]):
        Image.fromarray(picture).save(folder / IMAGES / f"{index}.png")
    torch.onnx.export(
        tiny_module.tiny_module(),
        (tiny_module.images(1),),
        folder / CLASSIFIER,
        input_names=["image"],
        output_names=["logits"],
        opset_version=18,
        dynamo=True,
        external_data=False,
        verbose=False,
    )


def requests(folder: Path) -> list[Request]:
    """Requests for every precision of every format, and for every other kind of artifact."""
    import tiny_timm

    from evim_deploy.catalog.terms import UNQUANTISED
    from evim_deploy.commands.request import Request
    from evim_deploy.networks.open import parse_source
    from exporters import FORMATS

    common = Request(model=parse_source("digits"), formats=(), output_dir=folder / ARTIFACTS, verify=False)
    digits = replace(common, weights=str(folder / WEIGHTS))
    networks = ((f"timm:{tiny_timm.NAME}", "random:1"), (str(folder / CLASSIFIER), None))
    return [
        *(replace(digits, formats=(row.name,), precisions=row.precisions) for row in FORMATS.values()),
        replace(digits, formats=("coreml",), sizes=SIZES, multifunction=True),
        replace(digits, formats=("onnx",), precisions=("fp16",), half_io=True, opset=17, batch=None, sizes=(None,)),
        replace(
            digits, formats=("tflite",), precisions=("int8",), calibration=folder / IMAGES, allowed_loss=0.0, batch=2
        ),
        replace(digits, formats=("tflite",), task="features", golden=True),
        replace(digits, formats=("onnx",), sizes=((32, 32),), verify=True),
        *(
            replace(common, model=parse_source(name), formats=(format_,), precisions=UNQUANTISED, weights=weights)
            for name, weights in networks
            for format_ in ("coreml", "onnx")
        ),
    ]


def few(folder: Path) -> list[Request]:
    """Requests for each format in its default and in a calibrated precision, and for a golden file."""
    from evim_deploy.quantise.schemes import SCHEMES

    of_formats = requests(folder)[:3]
    golden = next(each for each in requests(folder) if each.golden)
    calibrated = {
        format_: precision for (format_, precision), scheme in reversed(SCHEMES.items()) if scheme.is_calibrated
    }
    return [
        *(replace(each, precisions=(each.precisions[0], calibrated[each.formats[0]])) for each in of_formats),
        golden,
    ]


def pretend(host: str, day: datetime.date) -> None:
    """Set the host name and the date of this process."""
    shift = (day - datetime.date.today()).days * 86400
    now = time.time

    class Date(datetime.date):
        @classmethod
        def today(cls) -> Date:
            return cls(day.year, day.month, day.day)

    socket.gethostname = lambda: host
    time.time = lambda: now() + shift
    datetime.date = Date  # type: ignore[misc]


def main(folder: str, host: str, day: str, how_many: str) -> None:
    pretend(host, datetime.date.fromisoformat(day))

    from evim_deploy.commands.export import export

    for request in {"all": requests, "few": few}[how_many](Path(folder)):
        export(request)


if __name__ == "__main__":
    main(*sys.argv[1:])
