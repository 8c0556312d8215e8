"""What moves blocks of pixels into channels or into the batch, and back; maps are (B, C, H, W)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from runtimes.mil.arithmetic import Exact
from runtimes.mil.operations.padding import padded
from runtimes.mil.values import integers


def depth_to_space(m: Exact, x: Tensor, block_size: int) -> Tensor:
    """Blocks from channels, a block's place before the channel: (B, n n C, H, W) -> (B, C, H n, W n)."""
    blocks = x.unflatten(1, (block_size, block_size, -1))  # (B, n, n, C, H, W)
    return blocks.permute(0, 3, 4, 1, 5, 2).flatten(2, 3).flatten(3, 4)


def space_to_depth(m: Exact, x: Tensor, block_size: int) -> Tensor:
    """The inverse of ``depth_to_space``: (B, C, H n, W n) -> (B, n n C, H, W)."""
    blocks = x.unflatten(3, (-1, block_size)).unflatten(2, (-1, block_size))  # (B, C, H, n, W, n)
    return blocks.permute(0, 3, 5, 1, 2, 4).flatten(1, 3)


def space_to_batch(m: Exact, x: Tensor, block_shape: Tensor, paddings: Tensor) -> Tensor:
    """Blocks of the padded x, a block's place before the image: (B, C, H h, W w) -> (h w B, C, H, W)."""
    high, wide = integers(block_shape, [])
    top, bottom, left, right = integers(paddings, [])
    x = padded(x, [(top, bottom), (left, right)])
    blocks = x.unflatten(3, (-1, wide)).unflatten(2, (-1, high))  # (B, C, H, h, W, w)
    return blocks.permute(3, 5, 0, 1, 2, 4).flatten(0, 2)


def batch_to_space(m: Exact, x: Tensor, block_shape: Tensor, crops: Tensor) -> Tensor:
    """The inverse of ``space_to_batch``: (h w B, C, H, W) -> (B, C, H h, W w), cropped."""
    high, wide = integers(block_shape, [])
    top, bottom, left, right = integers(crops, [])
    blocks = x.unflatten(0, (high, wide, -1))  # (h, w, B, C, H, W)
    y = blocks.permute(2, 3, 4, 0, 5, 1).flatten(4, 5).flatten(2, 3)
    return y.narrow(2, top, y.shape[2] - top - bottom).narrow(3, left, y.shape[3] - left - right)


HANDLERS: Mapping[str, Callable[..., Any]] = {
    "batch_to_space": batch_to_space,
    "depth_to_space": depth_to_space,
    "pixel_shuffle": lambda m, x, upscale_factor: F.pixel_shuffle(x, upscale_factor),
    "pixel_unshuffle": lambda m, x, downscale_factor: F.pixel_unshuffle(x, downscale_factor),
    "space_to_batch": space_to_batch,
    "space_to_depth": space_to_depth,
}
