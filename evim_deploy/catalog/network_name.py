"""Names of networks besides EfficientViM: a network of timm, or an ONNX file."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from evim_deploy.catalog.terms import ModelFamily, ModelKind
from evim_deploy.common.errors import NotInstalled

if TYPE_CHECKING:
    from evim_deploy.images.preprocessing import Preprocessing

PACKAGES = {
    ModelFamily.TIMM: ("torch", "safetensors", "huggingface_hub", "timm"),
    ModelFamily.ONNX: ("torch", "timm", "onnx", "onnxruntime"),
}
"""Packages that opening a network of each family needs."""

ONNX_SUFFIX = ".onnx"


@dataclass(frozen=True, kw_only=True)
class NetworkName:
    """A network of timm, or in an ONNX file, before its weights are loaded.

    Attributes:
        family: ``timm`` or ``onnx``; the name begins with it.
        source: The network's name in timm, or the file's path.
        size: Native height and width of its input images, pixels.
        fixed: Whether no other size is possible.
        preprocessing: Preprocessing of an ONNX file's images, from the user or the file's manifest; None if unknown.
        labels: Class names in the file's own manifest.
    """

    family: ModelFamily
    source: str
    size: tuple[int, int]
    fixed: bool = False
    preprocessing: Preprocessing | None = None
    labels: tuple[str, ...] = ()

    kind: ClassVar[ModelKind] = ModelKind.TORCH_MODULE

    @property
    def name(self) -> str:
        """Its name in manifests: ``timm:shvit_s1``, ``onnx:classifier.onnx``."""
        return f"{self.family}:{Path(self.source).name}"

    @property
    def stem(self) -> str:
        """Beginning of the names of its files."""
        return Path(self.source).name.removesuffix(ONNX_SUFFIX)

    @property
    def resolution(self) -> int:
        """The longer side of its input images, pixels."""
        return max(self.size)

    @property
    def is_normalisation_known(self) -> bool:
        """Whether an artifact can normalise pixels itself: an ONNX file alone does not state its normalisation."""
        return self.family != ModelFamily.ONNX or (self.preprocessing is not None and not self.preprocessing.assumed)

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """The only size of its input images, pixels; None where others are possible."""
        return self.size if self.fixed else None


def parse_network_name(name: str, size: tuple[int, int], preprocessing: Preprocessing) -> NetworkName | None:
    """The network of a manifest's name, size and preprocessing; None where the name has no known family."""
    prefix, _, source = name.partition(":")
    family = next((family for family in PACKAGES if family == prefix), None)
    if family is None or not source:
        return None
    is_file = family is ModelFamily.ONNX
    return NetworkName(family=family, source=source, size=size, preprocessing=preprocessing if is_file else None)


def require(family: ModelFamily) -> None:
    """Check, without importing them, that the packages of a family are installed.

    Raises:
        NotInstalled: A package is missing.
    """
    for package in PACKAGES[family]:
        if importlib.util.find_spec(package) is None:
            raise NotInstalled(
                f"Networks of the kind {family} need {package}, which is not installed.",
                'pip install "evim-deploy[networks]"',
            )
