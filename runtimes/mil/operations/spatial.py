"""Operations that move blocks of pixels into channels or into the batch, and back; feature maps are (B, C, H, W)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from runtimes.mil.arithmetic import Float32
from runtimes.mil.operations.padding import padded
from runtimes.mil.values import Handlers, integers


def depth_to_space(m: Float32, x: Tensor, block_size: int) -> Tensor:
    """Move channels into blocks, the position in the block before the channel: (B, n n C, H, W) -> (B, C, H n, W n)."""
    blocks = x.unflatten(1, (block_size, block_size, -1))  # (B, n, n, C, H, W)
    return blocks.permute(0, 3, 4, 1, 5, 2).flatten(2, 3).flatten(3, 4)


def space_to_depth(m: Float32, x: Tensor, block_size: int) -> Tensor:
    """Inverse of ``depth_to_space``: (B, C, H n, W n) -> (B, n n C, H, W)."""
    blocks = x.unflatten(3, (-1, block_size)).unflatten(2, (-1, block_size))  # (B, C, H, n, W, n)
    return blocks.permute(0, 3, 5, 1, 2, 4).flatten(1, 3)


def space_to_batch(m: Float32, x: Tensor, block_shape: Tensor, paddings: Tensor) -> Tensor:
    """Move blocks of the padded x into the batch, position in the block first: (B, C, H h, W w) -> (h w B, C, H, W)."""
    high, wide = integers(block_shape, [])
    top, bottom, left, right = integers(paddings, [])
    x = padded(x, [(top, bottom), (left, right)])
    blocks = x.unflatten(3, (-1, wide)).unflatten(2, (-1, high))  # (B, C, H, h, W, w)
    return blocks.permute(3, 5, 0, 1, 2, 4).flatten(0, 2)


def batch_to_space(m: Float32, x: Tensor, block_shape: Tensor, crops: Tensor) -> Tensor:
    """Inverse of ``space_to_batch``, cropped: (h w B, C, H, W) -> (B, C, H h, W w)."""
    high, wide = integers(block_shape, [])
    top, bottom, left, right = integers(crops, [])
    blocks = x.unflatten(0, (high, wide, -1))  # (h, w, B, C, H, W)
    y = blocks.permute(2, 3, 4, 0, 5, 1).flatten(4, 5).flatten(2, 3)
    return y.narrow(2, top, y.shape[2] - top - bottom).narrow(3, left, y.shape[3] - left - right)


HANDLERS: Handlers = {
    "batch_to_space": batch_to_space,
    "depth_to_space": depth_to_space,
    "pixel_shuffle": lambda m, x, upscale_factor: F.pixel_shuffle(x, upscale_factor),
    "pixel_unshuffle": lambda m, x, downscale_factor: F.pixel_unshuffle(x, downscale_factor),
    "space_to_batch": space_to_batch,
    "space_to_depth": space_to_depth,
}
