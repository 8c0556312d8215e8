"""Everything known of an artifact once its file is written: the source of its manifest and of its descriptions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from evim_deploy.artifact.parity import Parity
from evim_deploy.artifact.signature import Signature
from evim_deploy.artifact.target import Target, Weights
from evim_deploy.catalog.model import Model

if TYPE_CHECKING:
    from evim_deploy.images.preprocessing import Preprocessing


@dataclass(frozen=True)
class Structure:
    """The operations in an artifact's file.

    Attributes:
        operations: Number of operations by the format's own type names.
        transposes: Number of transposes among them.
        batch_norms: Number of BatchNorms among them.
    """

    operations: Counter[str]
    transposes: int
    batch_norms: int

    @staticmethod
    def of(operations: Counter[str]) -> Structure:
        """Count transposes and BatchNorms by their names, as any of the formats spells them."""

        def count(word: str) -> int:
            return sum(number for op, number in operations.items() if op.replace("_", "").lower().startswith(word))

        return Structure(operations, count("transpose"), count("batchnorm"))


@dataclass(frozen=True, kw_only=True)
class ArtifactInfo:
    """An artifact before its file has a size and a hash.

    Attributes:
        model: The model that was exported.
        target: The requested artifact.
        weights: Source of its weights.
        preprocessing: Preprocessing that the published evaluation of the network uses.
        signature: Its inputs and outputs.
        structure: The operations in its file.
        parity: Its proof; of an artifact with several functions the verdict of all of them.
        rewrites: The rewrites that were tried, as plain JSON values.
        tools: Versions of the packages that made it, by name.
        functions: The proof of each function by its name; empty where the artifact has a single function.
    """

    model: Model
    target: Target
    weights: Weights
    preprocessing: Preprocessing
    signature: Signature
    structure: Structure
    parity: Parity
    rewrites: tuple[Mapping[str, object], ...]
    tools: Mapping[str, str]
    functions: Mapping[str, Parity] = field(default_factory=dict)
