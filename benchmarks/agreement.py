"""The agreement of untrained M4 with float32, in every precision of every format.

    python benchmarks/agreement.py benchmarks/agreement.json

The images are crops of the package's photographs, plain and mirrored, and seeded noise; the engine is the first that
runs the file here. The weights are untrained: the classes are meaningless, and their logits are closer together than in
a trained network. The output is a Markdown table for docs/quantisation.md.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

import runtimes
from evim_deploy.catalog.variants import parse_model
from evim_deploy.commands.export import export
from evim_deploy.commands.request import Request
from evim_deploy.images import photographs
from evim_deploy.images.preprocessing import normalise
from evim_deploy.networks.open import open_reference
from exporters import FORMATS

Images = npt.NDArray[np.float32]

MODEL, WEIGHTS = "m4", "random:0"
CROP, NOISE = 224, 8
_EDGES = (slice(None, CROP), slice(-CROP, None))


def images(side: int) -> dict[str, Images]:
    """Images of each kind, pixels 0-255, (N, 3, side, side)."""
    whole = [photographs.load(name) for name in photographs.NAMES]
    parts = [photo[rows, columns] for photo in whole for rows in _EDGES for columns in _EDGES]
    padded = [np.pad(part, ((0, side - CROP), (0, side - CROP), (0, 0)), mode="reflect") for part in parts]
    noise = np.random.RandomState(0).randint(0, 256, (NOISE, side, side, 3))
    kinds = {"photographs": np.stack([*padded, *(part[:, ::-1] for part in padded)]), "noise": noise}
    return {kind: pixels.transpose(0, 3, 1, 2).astype(np.float32) for kind, pixels in kinds.items()}


def main(output: Path) -> None:
    model = parse_model(MODEL)
    reference = open_reference(model, WEIGHTS, None, print)
    kinds = images(model.resolution)
    expected = {
        kind: reference.outputs("classify", normalise(pixels, reference.preprocessing))["logits"]
        for kind, pixels in kinds.items()
    }
    found = []
    for row in sorted(FORMATS.values(), key=lambda row: row.name == "coreml"):  # Core ML last, because it takes longest
        for precision in row.precisions:
            with tempfile.TemporaryDirectory() as folder:
                request = Request(
                    model=model, formats=(row.name,), precisions=(precision,), weights=WEIGHTS, output_dir=Path(folder)
                )
                (made,) = export(request)
                engine = runtimes.first_available(runtimes.engines_of(row.suffix))
                entry = {"format": row.name, "precision": precision, "engine": engine.name}
                entry |= {"megabytes": made["size_bytes"] / 1e6, "parity": made["parity"]["status"]}
                with runtimes.open_artifact(Path(made["path"]), engine) as session:
                    for kind, pixels in kinds.items():
                        outputs = [next(iter(session.run(image[None]).values()))[0] for image in pixels]
                        right = np.argmax(outputs, axis=1) == expected[kind].argmax(axis=1)
                        entry[f"{kind}_percent"] = 100 * float(right.mean())
            found.append(entry)
            cells = [entry[key] for key in ("format", "precision", "engine", "parity")]
            figures = [f"{entry['megabytes']:.1f}", *(f"{entry[f'{kind}_percent']:.0f} %" for kind in kinds)]
            sys.stdout.write("| " + " | ".join([*cells, *figures]) + " |\n")
            sys.stdout.flush()
    counts = {kind: len(pixels) for kind, pixels in kinds.items()}
    document = {"model": model.name, "weights": WEIGHTS, "trained": False, "images": counts, "results": found}
    output.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
