"""The protocol of a model that a user names."""

from __future__ import annotations

from typing import Protocol


class Model(Protocol):
    """What a user names to export."""

    @property
    def name(self) -> str:
        """As manifests have it."""

    @property
    def stem(self) -> str:
        """How its files' names begin."""

    @property
    def resolution(self) -> int:
        """Side of the images that it is made for, pixels."""

    @property
    def is_normalisation_known(self) -> bool:
        """Whether it is known what makes images of pixels."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of its classes that come with it; empty where none do."""

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """Height and width of the only images that it takes, pixels; None where it takes others."""

    @property
    def form(self) -> str:
        """What its inference form is (:attr:`evim_deploy.networks.protocols.Reference.form`)."""
