"""Images from disk as an artifact takes them, a batch at a time, the next one decoded meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from evim_deploy.accuracy.data import DataSet
from evim_deploy.errors import BadInput
from evim_deploy.preprocessing import Pixels, Preprocessing, resize_and_crop

T = TypeVar("T")


@dataclass(frozen=True)
class Batch:
    """Images that are classified together.

    Attributes:
        images: Their places in the data, (B,); none in a last batch that nothing of could be read.
        unreadable: The places of images that were passed over on the way.
        pixels: RGB 0-255, (B, H, W, 3).
    """

    images: tuple[int, ...]
    unreadable: tuple[int, ...]
    pixels: Pixels


def stream(
    data: DataSet, places: Iterable[int], batch: int, size: tuple[int, int], how: Preprocessing
) -> Iterator[Batch]:
    """The images at some places, in full batches but for the last; at most two batches are in memory.

    Args:
        data: Where they are.
        places: In the order in which they come.
        batch: Images in one.
        size: Height and width that the artifact takes, pixels.
        how: Its network is evaluated.
    """
    return _ahead(_decoded(data, places, batch, size, how))


def _decoded(
    data: DataSet, places: Iterable[int], batch: int, size: tuple[int, int], how: Preprocessing
) -> Iterator[Batch]:
    images: list[int] = []
    unreadable: list[int] = []
    pixels: list[Pixels] = []

    def taken() -> Batch:
        found = Batch(tuple(images), tuple(unreadable), np.array(pixels, np.uint8).reshape(-1, *size, 3))
        for each in (images, unreadable, pixels):
            each.clear()
        return found

    for place in places:
        try:
            pixels.append(resize_and_crop(data.open(place), *size, how))
        except BadInput:
            unreadable.append(place)
            continue
        images.append(place)
        if len(images) == batch:
            yield taken()
    if images or unreadable:
        yield taken()


def _ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, the next of them made in a thread while one is worked on."""
    with ThreadPoolExecutor(1) as worker:
        coming = worker.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = worker.submit(next, items, None)
            yield item
