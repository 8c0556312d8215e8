"""A timm network that runs in milliseconds, with the layers of real networks that folding and converters handle."""

from __future__ import annotations

from typing import Any

import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

NAME = "evim_tiny"
SIDE = 32
CLASSES = 12
HUB = "timm/evim_tiny.test"

default_cfgs = generate_default_cfgs(
    {
        "evim_tiny.test": {
            "hf_hub_id": "timm/",
            "input_size": (3, SIDE, SIDE),
            "num_classes": CLASSES,
            "mean": (0.4, 0.5, 0.6),
            "std": (0.2, 0.25, 0.3),
            "crop_pct": 0.9,
            "interpolation": "bilinear",
            "classifier": "head",
            "license": "mit",
        }
    }
)


class EvimTiny(nn.Module):
    """A network of convolutions with BatchNorm, depthwise, squeeze-and-excitation, GroupNorm, GELU and layer scale."""

    def __init__(self, num_classes: int = CLASSES, **unused: Any) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.depthwise = nn.Conv2d(16, 16, 3, 1, 1, groups=16, bias=False)
        self.depthwise_norm = nn.BatchNorm2d(16)
        self.gate = nn.Sequential(nn.Conv2d(16, 4, 1), nn.ReLU(), nn.Conv2d(4, 16, 1), nn.Sigmoid())
        self.norm = nn.GroupNorm(1, 16)
        self.mlp = nn.Sequential(nn.Conv2d(16, 32, 1), nn.GELU(), nn.Conv2d(32, 16, 1))
        self.scale = nn.Parameter(torch.ones(16, 1, 1))
        self.head = nn.Linear(16, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)  # (B, 16, H / 2, W / 2)
        x = torch.relu(self.depthwise_norm(self.depthwise(x)))
        x = x * self.gate(x.mean((2, 3), keepdim=True))
        x = torch.addcmul(x, self.scale, self.mlp(self.norm(x)))
        return self.head(x.mean((2, 3)))


@register_model
def evim_tiny(pretrained: bool = False, **options: Any) -> nn.Module:
    model: nn.Module = build_model_with_cfg(EvimTiny, NAME, pretrained, **options)
    return model
