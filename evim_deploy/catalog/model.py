"""The protocol of a model that a user names."""

from __future__ import annotations

from typing import Protocol

from evim_deploy.catalog.terms import ModelKind


class Model(Protocol):
    """A model that can be exported."""

    @property
    def name(self) -> str:
        """Canonical name, as in manifests."""

    @property
    def stem(self) -> str:
        """First part of the names of its files."""

    @property
    def resolution(self) -> int:
        """Native side of its images, pixels."""

    @property
    def is_normalisation_known(self) -> bool:
        """Whether the normalisation of its images is known, so that an artifact can take pixels."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of its classes that come with it; empty where it has none."""

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """Height and width, in pixels, of a model that takes a single size; else None."""

    @property
    def kind(self) -> ModelKind:
        """Its inference form: the exporters have a module for each kind."""
