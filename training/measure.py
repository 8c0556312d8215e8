"""Measure the digits model on the held-out images: `python -m training.measure` prints the table of the model card."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from evim_deploy.catalog.variants import parse_model
from evim_deploy.images import digits
from evim_deploy.images.preprocessing import Pixels
from evim_deploy.networks.efficientvim.weights import resolve
from training.fit import accuracy, as_an_app_feeds_it

_NORMAL_95 = 1.959964


def wilson(right: int, count: int) -> tuple[float, float]:
    """The 95 % Wilson interval of a share with ``right`` successes in ``count`` draws."""
    share, z2 = right / count, _NORMAL_95**2
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    reach = _NORMAL_95 / (1 + z2 / count) * (share * (1 - share) / count + z2 / (4 * count**2)) ** 0.5
    return centre - reach, centre + reach


def views(pictures: Pixels) -> Iterator[tuple[str, Pixels]]:
    """Variants of the images (N, H, W, 3) uint8, with their names in the table."""
    yield "held out, as an app feeds them", as_an_app_feeds_it(pictures)
    yield "the same, uncropped", pictures
    yield "the same, white on black", as_an_app_feeds_it(255 - pictures)


def main() -> None:
    """Print the table of accuracies."""
    model, _ = resolve(parse_model("digits"), None, None, sys.stdout.write)
    pictures, labels = digits.held_out()
    for name, pixels in views(pictures):
        share = accuracy(model, pixels, labels)
        low, high = wilson(round(share * len(labels)), len(labels))
        sys.stdout.write(f"| {name} | {share:.2%} of {len(labels)} | {low:.1%} to {high:.1%} |\n")


if __name__ == "__main__":
    main()
