"""Images from disk as a classifier takes them, a batch at a time, the next one decoded meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from evim_deploy.accuracy.data import DataSet
from evim_deploy.common.errors import BadInput

if TYPE_CHECKING:
    from PIL import Image

T = TypeVar("T")
Prepare = Callable[["Image.Image"], npt.NDArray[Any]]


@dataclass(frozen=True)
class Batch:
    """Images that are classified together.

    Attributes:
        images: Their places in the data, (B,); none in a last batch that nothing of could be read.
        unreadable: The places of images that were passed over on the way.
        inputs: Each image as the classifier takes it, (B, ...).
    """

    images: tuple[int, ...]
    unreadable: tuple[int, ...]
    inputs: npt.NDArray[Any]


def stream(data: DataSet, places: Iterable[int], batch: int, prepare: Prepare) -> Iterator[Batch]:
    """The images at some places, in full batches but for the last; at most two batches are in memory.

    Args:
        data: Where they are.
        places: In the order in which they come.
        batch: Images in one.
        prepare: Makes what the classifier takes of an RGB image; it raises BadInput where it cannot.
    """
    return _ahead(_decoded(data, places, batch, prepare))


def _decoded(data: DataSet, places: Iterable[int], batch: int, prepare: Prepare) -> Iterator[Batch]:
    images: list[int] = []
    unreadable: list[int] = []
    inputs: list[npt.NDArray[Any]] = []

    def taken() -> Batch:
        found = Batch(tuple(images), tuple(unreadable), np.array(inputs))
        for each in (images, unreadable, inputs):
            each.clear()
        return found

    for place in places:
        try:
            inputs.append(prepare(data.open(place)))
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
