"""The grammar of ``--weights``, and of the origin of weights in a manifest.

PATH   hf:OWNER/NAME[/FILE]   timm:NAME[.TAG]   package:digits   random[:SEED]   onnx:FILE
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from evim_deploy.common.errors import BadInput
from evim_deploy.images import digits

DEFAULT_FILE = "model.safetensors"
"""The file of a repository on the hub unless another is named."""

_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)
_MAX_SEED = 2**32


class WeightsKind(StrEnum):
    """The kind of a source of weights, by the word before its colon."""

    FILE = "file"
    HUB = "hf"
    TIMM = "timm"
    PACKAGED = "package"
    SEEDED = "random"
    ONNX = "onnx"


@dataclass(frozen=True)
class WeightsSpec:
    """A parsed source of weights.

    Attributes:
        kind: Its kind.
        text: The source as the user wrote it.
    """

    kind: WeightsKind
    text: str

    @property
    def name(self) -> str:
        """The text after the colon."""
        return self.text.partition(":")[2]

    @property
    def path(self) -> Path:
        """The path of a file: the text itself, or the name of an ONNX file."""
        return Path(self.name if self.kind is WeightsKind.ONNX else self.text)

    def seed(self) -> int:
        """The seed of ``random[:SEED]``.

        Raises:
            BadInput: It is not a whole number from 0 to 2**32 - 1.
        """
        text = self.name if ":" in self.text else "0"
        if not (text.isascii() and text.isdigit()) or len(text) > len(str(_MAX_SEED)) or int(text) >= _MAX_SEED:
            raise BadInput(
                f"Invalid seed {text!r}.", f"Write random:SEED with a whole number from 0 to {_MAX_SEED - 1}."
            )
        return int(text)

    def repository(self) -> tuple[str, str]:
        """Repository and file on the hub of ``hf:OWNER/NAME[/FILE]`` or ``timm:NAME[.TAG]``.

        Raises:
            BadInput: The text is neither.
        """
        if self.kind is WeightsKind.TIMM and _NAME.fullmatch(self.name):
            tag = ".in1k" if self.name.endswith("_dist") else ".e300_in1k"  # timm's own default for a bare name
            return f"timm/{self.name}{'' if '.' in self.name else tag}", DEFAULT_FILE
        owner, _, rest = self.name.partition("/")
        name, *folders = rest.split("/")
        repo, filename = f"{owner}/{name}", "/".join(folders) or DEFAULT_FILE
        is_repo = self.kind is WeightsKind.HUB and _REPO.fullmatch(repo)
        if not is_repo or {"", ".", ".."} & set(filename.split("/")):
            raise BadInput(
                f"Invalid source of weights on the hub: {self.text!r}.",
                "Write hf:OWNER/NAME, hf:OWNER/NAME/FILE or timm:NAME, for example timm:efficientvim_m4.e450_in1k.",
            )
        return repo, filename


def parse_weights(text: str) -> WeightsSpec:
    """The source of weights in a text; a text without a known prefix is a path."""
    prefix, colon, _ = text.partition(":")
    if text == digits.SOURCE:
        return WeightsSpec(WeightsKind.PACKAGED, text)
    if prefix == WeightsKind.SEEDED:
        return WeightsSpec(WeightsKind.SEEDED, text)
    if colon and prefix in (WeightsKind.HUB, WeightsKind.TIMM, WeightsKind.ONNX):
        return WeightsSpec(WeightsKind(prefix), text)
    return WeightsSpec(WeightsKind.FILE, text)
