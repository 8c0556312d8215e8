"""Random variants of the network with their export targets."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from simulated import target_of

import exporters
from evim_deploy.artifact.target import Target
from evim_deploy.catalog.terms import UNQUANTISED
from evim_deploy.catalog.variants import Variant

VARIANTS = 60
NATIVE = 64


@dataclass(frozen=True)
class Asked:
    """A variant with its export options."""

    variant: Variant
    classes: int
    distilled: bool
    size: tuple[int, int]
    batch: int
    output: str
    preprocess: bool

    def targets(self) -> Iterator[Target]:
        for format_ in exporters.FORMATS:
            for precision in UNQUANTISED:
                yield target_of(format_, precision, self.output, self.size, self.batch, self.preprocess, self.classes)


def drawn(seed: int) -> Asked:
    """Draw a random case: odd and even widths and sides, rarely square images, one or two blocks per stage."""
    draw = random.Random(seed)
    variant = Variant(
        name=f"random{seed}",
        depths=(draw.choice((1, 1, 1, 2)), draw.choice((1, 1, 1, 2)), draw.choice((1, 1, 1, 2))),
        channels=(draw.choice((16, 24, 32, 40)), draw.randint(12, 48), draw.randint(12, 48)),
        states=(draw.randint(2, 12), draw.randint(2, 9), draw.randint(2, 7)),
        resolution=NATIVE,
    )
    return Asked(
        variant,
        classes=draw.choice((2, 3, draw.randint(4, 50), draw.randint(4, 50))),
        distilled=draw.random() < 0.3,
        size=(draw.randint(32, 112), draw.randint(32, 112)),
        batch=draw.choice((1, 1, 1, 2)),
        output=draw.choice(("logits", "probabilities", "probabilities", "features")),
        preprocess=draw.random() < 0.8,
    )
