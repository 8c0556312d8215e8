"""The sizes of EfficientViM, four of the paper (Table 2) and a small one, and their names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from evim_deploy.catalog.terms import ModelFamily, ModelKind
from evim_deploy.common.errors import UsageProblem

MIN_RESOLUTION = 32
"""Smallest image side, pixels: below it the stem leaves fewer than two tokens a side."""

MAX_RESOLUTION = 4096
"""Largest image side, pixels: the largest that the paper measures (Figure 5)."""

MAX_BATCH = 1024
"""Most images in one prediction; the paper's largest is 256."""

MIN_CLASSES = 2
"""Smallest number of classes: the probability of a single class is always 1."""

IMAGENET_CLASSES = 1000


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One size of the network: three stages of blocks, their widths and their state counts.

    Attributes:
        name: Short name, ``m1`` to ``m4`` for the published sizes, ``digits`` for the one that ships with its weights.
        depths: Blocks in each stage.
        channels: Channels D of each stage; the first must be a multiple of 8 (the stem's D/8).
        states: Hidden states N of each stage.
        resolution: Native input side in pixels.
        num_classes: Number of classes of its weights.
    """

    name: str
    depths: tuple[int, int, int]
    channels: tuple[int, int, int]
    states: tuple[int, int, int]
    resolution: int
    num_classes: int = IMAGENET_CLASSES


PUBLISHED = {
    variant.name: variant
    for variant in (
        Variant(name="m1", depths=(2, 2, 2), channels=(128, 192, 320), states=(49, 25, 9), resolution=224),
        Variant(name="m2", depths=(2, 2, 2), channels=(128, 256, 512), states=(49, 25, 9), resolution=224),
        Variant(name="m3", depths=(2, 2, 2), channels=(224, 320, 512), states=(49, 25, 9), resolution=224),
        Variant(name="m4", depths=(3, 4, 2), channels=(224, 320, 512), states=(64, 32, 16), resolution=256),
    )
}
"""The paper's sizes."""

DIGITS = Variant(
    name="digits", depths=(1, 2, 1), channels=(32, 64, 96), states=(16, 8, 4), resolution=64, num_classes=10
)
"""The small variant that ships with its weights (:mod:`evim_deploy.images.digits`)."""

VARIANTS = {**PUBLISHED, DIGITS.name: DIGITS}

PARAMETERS = {
    "efficientvim_m1": 6_679_458,
    "efficientvim_m1_dist": 7_643_462,
    "efficientvim_m2": 13_903_842,
    "efficientvim_m2_dist": 15_315_846,
    "efficientvim_m3": 16_604_174,
    "efficientvim_m3_dist": 18_176_178,
    "efficientvim_m4": 19_606_505,
    "efficientvim_m4_dist": 21_178_509,
    "efficientvim_digits": 433_796,
}
"""Trainable parameters of each model with its own number of classes: 1000, of digits 10."""


@dataclass(frozen=True)
class ModelName:
    """A variant, plain or distilled (with the second set of heads that distillation adds)."""

    variant: Variant
    distilled: bool = False

    family: ClassVar[ModelFamily] = ModelFamily.EFFICIENTVIM
    kind: ClassVar[ModelKind] = ModelKind.GRAPH
    fixed_size: ClassVar[None] = None
    is_normalisation_known: ClassVar[bool] = True
    labels: ClassVar[tuple[str, ...]] = ()

    @property
    def name(self) -> str:
        """Canonical name, as timm spells it: ``efficientvim_m4`` or ``efficientvim_m4_dist``."""
        return f"efficientvim_{self.short}"

    @property
    def stem(self) -> str:
        """Beginning of the names of its files."""
        return self.name

    @property
    def resolution(self) -> int:
        """Side of the images that it is trained on, pixels."""
        return self.variant.resolution

    @property
    def short(self) -> str:
        """Name on the command line: ``m4`` or ``m4_dist``."""
        return f"{self.variant.name}_dist" if self.distilled else self.variant.name

    @property
    def aliases(self) -> tuple[str, ...]:
        """Every spelling that :func:`parse_model` takes, besides differences in case."""
        suffix = "_dist" if self.distilled else ""
        return (self.short, self.name, f"EfficientViM-{self.variant.name.upper()}{suffix}")


PUBLISHED_MODELS = {
    model.name: model
    for distilled in (False, True)
    for model in (ModelName(variant, distilled) for variant in PUBLISHED.values())
}

MODELS = {**PUBLISHED_MODELS, ModelName(DIGITS).name: ModelName(DIGITS)}


def parse_model(text: str) -> ModelName:
    """The model that a user names, in any of its aliases and any case.

    Raises:
        UsageProblem: There is no such model; the message lists the models.
    """
    spelling = text.strip().lower().replace("-", "_")
    for model in MODELS.values():
        if spelling in (alias.lower().replace("-", "_") for alias in model.aliases):
            return model
    raise UsageProblem(
        f"Unknown model {text!r}.",
        "Use one of "
        + ", ".join(model.short for model in MODELS.values())
        + " (`evim-deploy models` says what each is).",
    )
