"""The protocol of a model that a user names."""

from __future__ import annotations

from typing import Protocol

from evim_deploy.catalog.terms import ModelFamily, ModelKind


class Model(Protocol):
    """A model that can be exported."""

    @property
    def family(self) -> ModelFamily:
        """The origin of its definition."""

    @property
    def kind(self) -> ModelKind:
        """Its inference form: our graph, or a torch module."""

    @property
    def name(self) -> str:
        """Its name in manifests."""

    @property
    def stem(self) -> str:
        """Beginning of the names of its files."""

    @property
    def resolution(self) -> int:
        """Native side of its input images, pixels."""

    @property
    def is_normalisation_known(self) -> bool:
        """Whether the mean and deviation of its input images are known."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names that the model carries; empty without any."""

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """Height and width of its input images where only one size is possible, pixels; otherwise None."""
