"""EfficientViM as the paper and the released checkpoints define it: the reference, without rewrites.

Parameter names and shapes are those of the released files. Every artifact is compared with this
module, so the code follows the equations: it folds and fuses nothing.

Notation: B images, D channels, N states, L = H * W tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evim_deploy.catalog.variants import IMAGENET_CLASSES, Variant
from evim_deploy.graph.ir import MANY_TOKENS

LAYER_NORM_EPS = 1e-5
FFN_RATIO = 4
DOWNSAMPLE_RATIO = 4
SQUEEZE_RATIO = 4
NUM_STAGES = 3


class ConvNorm(nn.Module):
    """A convolution without bias and its BatchNorm, on (B, D, H, W)."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class DepthwiseNorm(ConvNorm):
    """The 3x3 depthwise :class:`ConvNorm` that mixes each channel with its neighbourhood."""

    def __init__(self, channels: int, stride: int = 1) -> None:
        super().__init__(channels, channels, kernel=3, stride=stride, groups=channels)


class Projection(nn.Module):
    """A bare convolution over tokens, (B, D_in, L) to (B, D_out, L)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class BareDepthwise(nn.Module):
    """A bare 3x3 depthwise convolution, (B, D, H, W) to the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class ChannelNorm(nn.Module):
    """LayerNorm over axis 1 of a tensor of a given rank, with biased variance."""

    def __init__(self, channels: int, rank: int) -> None:
        super().__init__()
        shape = (1, channels) + (1,) * (rank - 2)
        self.weight = nn.Parameter(torch.ones(shape))
        self.bias = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(1, keepdim=True)
        variance = centred.square().mean(1, keepdim=True)
        return centred * torch.rsqrt(variance + LAYER_NORM_EPS) * self.weight + self.bias


class HSMSSD(nn.Module):
    """Hidden-state-mixer state space duality, single head (paper, Algorithm 1 and Equation 14)."""

    def __init__(self, channels: int, states: int) -> None:
        super().__init__()
        self.states = states
        self.BCdt_proj = Projection(channels, 3 * states)
        self.dw = BareDepthwise(3 * states)
        self.hz_proj = Projection(channels, 2 * channels)
        self.out_proj = Projection(channels, channels)
        self.A = nn.Parameter(torch.zeros(states))
        self.D = nn.Parameter(torch.ones(1))

    def forward(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """From the normalised map u (B, D, H, W) to y of the same shape and h (B, D, N)."""
        height, width = u.shape[2:]
        tokens = u.flatten(2)  # (B, D, L)
        bcdt = self.BCdt_proj(tokens).unflatten(2, (height, width))  # (B, 3N, H, W)
        b, c, dt = self.dw(bcdt).flatten(2).split(self.states, dim=1)  # each (B, N, L)
        # in float32 torch sums exponentials lane by lane, with an error of 6e-5 over 65536 equal tokens
        dtype = torch.float64 if dt.shape[-1] >= MANY_TOKENS else None
        importance = F.softmax(dt + self.A[:, None], dim=-1, dtype=dtype).to(dt.dtype)
        h_in = tokens @ (importance * b).mT  # (B, D, N)
        gate_input, z = self.hz_proj(h_in).chunk(2, dim=1)  # each (B, D, N)
        h = self.out_proj(gate_input * F.silu(z) + self.D * gate_input)
        y = h @ c  # (B, D, L)
        return y.unflatten(2, (height, width)), h  # (B, D, H, W), (B, D, N)


class FFN(nn.Module):
    """Two 1x1 convolutions with a ReLU between, four times as wide inside (paper, section 3.3)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = ConvNorm(channels, FFN_RATIO * channels)
        self.fc2 = ConvNorm(FFN_RATIO * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.relu(self.fc1(x)))


class Block(nn.Module):
    """Four residual steps x <- (1 - a_k) x + a_k f_k(x), a = sigmoid(alpha) (paper, section 3.3)."""

    def __init__(self, channels: int, states: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(4, channels))
        self.dwconv1 = DepthwiseNorm(channels)
        self.norm = ChannelNorm(channels, rank=3)
        self.mixer = HSMSSD(channels, states)
        self.dwconv2 = DepthwiseNorm(channels)
        self.ffn = FFN(channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """From x (B, D, H, W) to the same shape and the mixer's hidden state (B, D, N)."""
        a = torch.sigmoid(self.alpha)[:, :, None, None]  # (4, D, 1, 1)
        x = (1 - a[0]) * x + a[0] * self.dwconv1(x)
        normalised = self.norm(x.flatten(2)).view_as(x)
        mixed, h = self.mixer(normalised)
        x = (1 - a[1]) * x + a[1] * mixed
        x = (1 - a[2]) * x + a[2] * self.dwconv2(x)
        x = (1 - a[3]) * x + a[3] * self.ffn(x)
        return x, h


class SqueezeExcite(nn.Module):
    """Channel gating of a map (B, D, H, W) from its global mean, with D/4 channels inside."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // SQUEEZE_RATIO, 1)
        self.fc2 = nn.Conv2d(channels // SQUEEZE_RATIO, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((2, 3), keepdim=True)  # (B, D, 1, 1)
        return x * torch.sigmoid(self.fc2(F.relu(self.fc1(mean))))


class Downsample(nn.Module):
    """From (B, D, H, W) to (B, D_next, ceil(H/2), ceil(W/2)) by an inverted bottleneck (paper, section 3.3)."""

    def __init__(self, channels: int, next_channels: int) -> None:
        super().__init__()
        hidden = DOWNSAMPLE_RATIO * next_channels
        self.dwconv1 = DepthwiseNorm(channels)
        self.conv = nn.ModuleList(
            [
                ConvNorm(channels, hidden),
                DepthwiseNorm(hidden, stride=2),
                SqueezeExcite(hidden),
                ConvNorm(hidden, next_channels),
            ]
        )
        self.dwconv2 = DepthwiseNorm(next_channels)

    def forward(self, x: Tensor) -> Tensor:
        expand, shrink, squeeze, project = self.conv
        x = x + self.dwconv1(x)
        x = F.relu(expand(x))
        x = F.relu(shrink(x))  # (B, 4 D_next, ceil(H/2), ceil(W/2))
        x = project(squeeze(x))
        return x + self.dwconv2(x)


class Stage(nn.Module):
    """The blocks of one resolution, and the down-sampling to the next (none after the last)."""

    def __init__(self, depth: int, channels: int, states: int, next_channels: int | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(channels, states) for _ in range(depth))
        self.downsample = None if next_channels is None else Downsample(channels, next_channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The map before down-sampling (B, D, H, W) and the last block's hidden state (B, D, N)."""
        for block in self.blocks:
            x, h = block(x)
        return x, h


class Stem(nn.Module):
    """Four 3x3 convolutions of stride 2 (paper, section 3.3): (B, 3, H, W) to (B, D, H/16, W/16), rounded up."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = (3, channels // 8, channels // 4, channels // 2, channels)
        self.conv = nn.ModuleList(ConvNorm(before, after, kernel=3, stride=2) for before, after in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        *first, last = self.conv
        for conv in first:
            x = F.relu(conv(x))
        return last(x)


class EfficientViM(nn.Module):
    """The classifier, and the backbone under it.

    Args:
        variant: Widths, depths and states.
        num_classes: Rows of each head.
        distilled: Whether the model has the second set of heads that distillation trains.
    """

    def __init__(self, variant: Variant, num_classes: int = IMAGENET_CLASSES, distilled: bool = False) -> None:
        super().__init__()
        self.variant = variant
        self.num_classes = num_classes
        self.distilled = distilled
        channels = variant.channels
        self.patch_embed = Stem(channels[0])
        self.stages = nn.ModuleList(
            Stage(depth, width, states, following)
            for depth, width, states, following in zip(
                variant.depths, channels, variant.states, (*channels[1:], None), strict=True
            )
        )
        self.norm = nn.ModuleList([ChannelNorm(width, rank=3) for width in channels])
        self.norm.append(ChannelNorm(channels[-1], rank=4))
        self.heads, self.weights = self._heads()
        if distilled:
            self.heads_dist, self.weights_dist = self._heads()

    def _heads(self) -> tuple[nn.ModuleList, nn.Parameter]:
        widths = (*self.variant.channels, self.variant.channels[-1])
        return nn.ModuleList(nn.Linear(width, self.num_classes) for width in widths), nn.Parameter(
            torch.ones(len(widths))
        )

    def stage_outputs(self, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """The three maps (B, D_s, H_s, W_s) before down-sampling, and the hidden states (B, D_s, N_s)."""
        maps, states = [], []
        x = self.patch_embed(images)
        for stage in cast("Iterable[Stage]", self.stages):
            x, h = stage(x)
            maps.append(x)
            states.append(h)
            if stage.downsample is not None:
                x = stage.downsample(x)
        return maps, states

    def features(self, images: Tensor) -> list[Tensor]:
        """Dense features at strides 16, 32 and 64 of normalised images (B, 3, H, W)."""
        return self.stage_outputs(images)[0]

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, classes) of normalised images (B, 3, H, W), by multi-stage fusion (Equation 13)."""
        maps, states = self.stage_outputs(images)
        pooled = [norm(x).flatten(2).mean(-1) for norm, x in zip(self.norm, (*states, maps[-1]), strict=True)]
        logits = _fuse(pooled, self.heads, self.weights)
        if self.distilled:
            logits = (logits + _fuse(pooled, self.heads_dist, self.weights_dist)) / 2
        return logits


def _fuse(pooled: list[Tensor], heads: nn.ModuleList, weights: Tensor) -> Tensor:
    """Logits weighted by the softmax of their learned weights, (B, classes)."""
    shares = torch.softmax(weights, dim=-1)
    logits = [share * head(feature) for share, head, feature in zip(shares, heads, pooled, strict=True)]
    return torch.stack(logits).sum(0)
