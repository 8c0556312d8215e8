"""What a user names besides EfficientViM: a network of timm, or an ONNX file."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from evim_deploy.common.errors import NotInstalled

if TYPE_CHECKING:
    from evim_deploy.images.preprocessing import Preprocessing

KINDS = {
    "timm": ("torch", "safetensors", "huggingface_hub", "timm"),
    "onnx": ("torch", "timm", "onnx", "onnxruntime"),
}
"""What a network of a kind may come from, and the packages that opening it needs."""

ONNX_SUFFIX = ".onnx"

_OF_FILES = "onnx"  # which do not say how their images are normalised


@dataclass(frozen=True, kw_only=True)
class NetworkName:
    """A network by the kind of its source.

    Attributes:
        kind: One of :data:`KINDS`, which is what its name begins with.
        source: timm's name, or the file's path.
        size: Height and width of the images that it is made for, pixels.
        fixed: Whether it takes images of no other size.
        preprocessing: How it is evaluated, as a user says of a file, or one of ours itself; None where nobody says.
        labels: Names of its classes, where its file has them.
    """

    kind: str
    source: str
    size: tuple[int, int]
    fixed: bool = False
    preprocessing: Preprocessing | None = None
    labels: tuple[str, ...] = ()

    form: ClassVar[str] = "torch_module"

    @property
    def name(self) -> str:
        """As manifests have it: ``timm:shvit_s1``, ``onnx:classifier.onnx``."""
        return f"{self.kind}:{Path(self.source).name}"

    @property
    def stem(self) -> str:
        """How its files' names begin."""
        return Path(self.source).name.removesuffix(ONNX_SUFFIX)

    @property
    def resolution(self) -> int:
        """The longer side of its images, pixels."""
        return max(self.size)

    @property
    def is_normalisation_known(self) -> bool:
        """Whether an artifact can take pixels: of an ONNX file somebody has to say how they are normalised."""
        return self.kind != _OF_FILES or (self.preprocessing is not None and not self.preprocessing.assumed)

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """The only size that it takes; None where it takes others."""
        return self.size if self.fixed else None


def parse_network_name(name: str, size: tuple[int, int], preprocessing: Preprocessing) -> NetworkName | None:
    """The network of a manifest's name, of an artifact's size and preprocessing; None where the name is of no kind."""
    kind, _, source = name.partition(":")
    if kind not in KINDS or not source:
        return None
    return NetworkName(kind=kind, source=source, size=size, preprocessing=preprocessing if kind == _OF_FILES else None)


def require(kind: str) -> None:
    """Check, without importing it, that what opening a network of a kind needs is installed.

    Raises:
        NotInstalled: A package is missing.
    """
    for package in KINDS[kind]:
        if importlib.util.find_spec(package) is None:
            raise NotInstalled(
                f"Networks of the kind {kind} need {package}, which is not installed.",
                'pip install "evim-deploy[networks]"',
            )
