"""Names of networks other than EfficientViM: a network of timm, or an ONNX file."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from evim_deploy.catalog.terms import ModelKind, SourceScheme
from evim_deploy.common.errors import NotInstalled

if TYPE_CHECKING:
    from evim_deploy.images.preprocessing import Preprocessing

REQUIRES = {
    SourceScheme.TIMM: ("torch", "safetensors", "huggingface_hub", "timm"),
    SourceScheme.ONNX: ("torch", "timm", "onnx", "onnxruntime"),
}
"""The packages that opening a network needs."""

ONNX_SUFFIX = ".onnx"


@dataclass(frozen=True, kw_only=True)
class NetworkName:
    """A network of timm or an ONNX file.

    Attributes:
        scheme: The prefix of its name.
        source: timm's name, or the file's path.
        size: Native height and width of its images, pixels.
        fixed: Whether it takes images of no other size.
        preprocessing: The preprocessing of an ONNX file, from the user or from the file's own manifest; else None.
        labels: Names of its classes, where its file has them.
    """

    scheme: SourceScheme
    source: str
    size: tuple[int, int]
    fixed: bool = False
    preprocessing: Preprocessing | None = None
    labels: tuple[str, ...] = ()

    kind: ClassVar[ModelKind] = ModelKind.TORCH_MODULE

    @property
    def name(self) -> str:
        """Canonical name, as in manifests: ``timm:shvit_s1``, ``onnx:classifier.onnx``."""
        return f"{self.scheme}:{Path(self.source).name}"

    @property
    def stem(self) -> str:
        """First part of the names of its files."""
        return Path(self.source).name.removesuffix(ONNX_SUFFIX)

    @property
    def resolution(self) -> int:
        """The longer side of its images, pixels."""
        return max(self.size)

    @property
    def is_normalisation_known(self) -> bool:
        """Whether an artifact can take pixels; an ONNX file needs the user to state the normalisation."""
        return self.scheme != SourceScheme.ONNX or (self.preprocessing is not None and not self.preprocessing.assumed)

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """Height and width, in pixels, of a network that takes a single size; else None."""
        return self.size if self.fixed else None


def parse_network_name(name: str, size: tuple[int, int], preprocessing: Preprocessing) -> NetworkName | None:
    """The network that a manifest names; None where the name has no known prefix.

    Args:
        name: Canonical name.
        size: Height and width of the artifact's images, pixels.
        preprocessing: Preprocessing in the manifest.
    """
    prefix, _, source = name.partition(":")
    if prefix not in tuple(SourceScheme) or not source:
        return None
    scheme = SourceScheme(prefix)
    own = preprocessing if scheme == SourceScheme.ONNX else None
    return NetworkName(scheme=scheme, source=source, size=size, preprocessing=own)


def require(scheme: SourceScheme) -> None:
    """Check, without importing them, that the packages for opening a network are installed.

    Raises:
        NotInstalled: A package is missing.
    """
    for package in REQUIRES[scheme]:
        if importlib.util.find_spec(package) is None:
            raise NotInstalled(
                f"Networks of the kind {scheme} need {package}, which is not installed.",
                'pip install "evim-deploy[networks]"',
            )
