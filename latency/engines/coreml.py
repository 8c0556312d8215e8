"""Core ML on macOS, which chooses between CPU, GPU and Neural Engine itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latency.engines import Array, Job, ProfiledOperation
from runtimes.coreml_interface import probabilities

if TYPE_CHECKING:
    from PIL import Image


def version() -> str:
    """The versions of coremltools and of macOS, of which Core ML is a part."""
    import platform

    import coremltools

    return f"coremltools {coremltools.__version__}, macOS {platform.mac_ver()[0]}"


class CoremlRunner:
    """A loaded package and its images. Precision and shapes are those of the package."""

    mode = ""

    def __init__(self, job: Job) -> None:
        import coremltools

        self._path = Path(job.source)
        self._model = coremltools.models.MLModel(job.source, compute_units=coremltools.ComputeUnit.ALL)
        self._description = self._model.get_spec().description
        image = self._description.input[0]
        is_image = image.type.WhichOneof("Type") == "imageType"
        self._feed = {image.name: _picture(job.images()) if is_image else job.images()}
        self._outputs: dict[str, Any] = {}

    def predict(self) -> None:
        self._outputs = self._model.predict(self._feed)

    def outputs(self) -> Array:
        """A classifier's probabilities in the order of its labels, or the first output of another model."""
        by_class = self._description.predictedProbabilitiesName
        if by_class:
            return probabilities(self._outputs[by_class], self._description.metadata.userDefined, self._path)
        return np.asarray(self._outputs[self._description.output[0].name], dtype=np.float32)

    def profile(self, count: int) -> list[ProfiledOperation]:
        """Empty: Core ML reports times of operations to Xcode's Instruments only."""
        return []


open_runner = CoremlRunner


def _picture(images: Array) -> Image.Image:
    """Convert pixels 0-255 (1, 3, H, W) to the picture that an image input expects."""
    from PIL import Image

    return Image.fromarray(images[0].transpose(1, 2, 0).astype(np.uint8))  # (H, W, 3)
