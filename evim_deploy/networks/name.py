"""What a user names besides EfficientViM: a network of timm, or an ONNX file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

KINDS = ("timm", "onnx")


@dataclass(frozen=True)
class NetworkName:
    """A network by the kind of its source.

    Attributes:
        kind: One of :data:`KINDS`.
        source: timm's name, or the file's path.
        size: Height and width of the images that it is made for, pixels.
        fixed: Whether it takes images of no other size.
    """

    kind: str
    source: str
    size: tuple[int, int]
    fixed: bool = False

    @property
    def name(self) -> str:
        """As manifests have it: ``timm:shvit_s1``, ``onnx:classifier.onnx``."""
        return f"{self.kind}:{Path(self.source).name}"

    @property
    def stem(self) -> str:
        """How its files' names begin."""
        return Path(self.source).name.removesuffix(".onnx")

    @property
    def resolution(self) -> int:
        """The longer side of its images, pixels."""
        return max(self.size)

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """The only size that it takes; None where it takes others."""
        return self.size if self.fixed else None
