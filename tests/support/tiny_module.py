"""A small classifier with parts that are hard to convert: depthwise, GELU, GroupNorm, gates, attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES = 10
SIDE = 32


class Tiny(nn.Module):
    """A classifier of images (B, 3, 32, 32) with logits (B, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 4, 1, bias=False)  # (B, 16, 8, 8)
        self.norm = nn.BatchNorm2d(16)
        self.depthwise = nn.Conv2d(16, 32, 3, 1, 1, groups=16)  # depthwise with multiplier 2
        self.group_norm = nn.GroupNorm(1, 32)
        self.residual = nn.Conv2d(32, 32, 3, 1, 1, groups=32)  # onnx2tf writes it as a grouped convolution
        self.gate = nn.Conv2d(32, 32, 1)
        self.mixed = nn.Conv2d(32, 32, 3, 2, 1, groups=32)  # (B, 32, 4, 4)
        self.qkv = nn.Linear(32, 96)
        self.layer_norm = nn.LayerNorm(32)
        self.head = nn.Linear(32, CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        x = F.gelu(self.depthwise(F.relu(self.norm(self.stem(image)))))
        x = self.group_norm(x)
        x = x + self.residual(x)
        x = self.mixed(x * self.gate(x.mean((2, 3), keepdim=True)).sigmoid())
        tokens = x.flatten(2).transpose(1, 2)  # (B, 16, 32)
        q, k, v = self.qkv(tokens).chunk(3, -1)
        tokens = tokens + (q @ k.transpose(1, 2) * 0.2).softmax(-1) @ v
        return self.head(self.layer_norm(tokens).mean(1))


def tiny_module(seed: int = 0) -> Tiny:
    """The classifier with seeded weights, in evaluation mode and without gradients."""
    generator = torch.Generator().manual_seed(seed)
    module = Tiny().eval().requires_grad_(False)
    for name, tensor in module.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2, generator=generator)
        elif "num_batches" not in name:
            spread = tensor[0].numel() ** -0.5 if tensor.ndim > 1 else 0.3
            tensor.normal_(0, spread, generator=generator)
    return module


def images(count: int, seed: int = 0) -> Tensor:
    """Normalised images (count, 3, 32, 32)."""
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
