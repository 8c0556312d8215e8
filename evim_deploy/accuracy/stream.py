"""Batches of images from disk, prepared for a classifier; the next batch is decoded in the background."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from evim_deploy.accuracy.data import DataSet
from evim_deploy.common.errors import BadInput

if TYPE_CHECKING:
    from PIL import Image

T = TypeVar("T")
Prepare = Callable[["Image.Image"], npt.NDArray[np.generic]]


@dataclass(frozen=True)
class Batch:
    """Images that are classified together.

    Attributes:
        images: Their indices in the data, (B,); empty in a last batch without a readable image.
        unreadable: Indices of images that could not be read.
        inputs: The prepared images, (B, ...).
    """

    images: tuple[int, ...]
    unreadable: tuple[int, ...]
    inputs: npt.NDArray[np.generic]


def stream(data: DataSet, indices: Iterable[int], batch: int, prepare: Prepare) -> Iterator[Batch]:
    """The images at some indices in batches, all full but the last; at most two batches are in memory.

    Args:
        data: The images.
        indices: Their indices, in order.
        batch: Number of images in a batch.
        prepare: Prepares an RGB image for the classifier; raises BadInput if it cannot.
    """
    return _ahead(_decoded(data, indices, batch, prepare))


def _decoded(data: DataSet, indices: Iterable[int], batch: int, prepare: Prepare) -> Iterator[Batch]:
    images: list[int] = []
    unreadable: list[int] = []
    inputs: list[npt.NDArray[np.generic]] = []

    def flush() -> Batch:
        full = Batch(tuple(images), tuple(unreadable), np.array(inputs))
        for each in (images, unreadable, inputs):
            each.clear()
        return full

    for index in indices:
        try:
            inputs.append(prepare(data.open(index)))
        except BadInput:
            unreadable.append(index)
            continue
        images.append(index)
        if len(images) == batch:
            yield flush()
    if images or unreadable:
        yield flush()


def _ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, each computed in a thread while the one before it is used."""
    with ThreadPoolExecutor(1) as worker:
        coming = worker.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = worker.submit(next, items, None)
            yield item
