"""Small random networks, and the difference between outputs."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from evim_deploy.catalog.variants import Variant
from evim_deploy.images.preprocessing import MEAN, STD
from evim_deploy.networks.efficientvim.model import EfficientViM

torch.set_num_threads(1)  # a second thread does not speed up networks this small, and delays them on a busy machine


def tiny(seed: int, **overrides: Any) -> Variant:
    """A random variant that runs in milliseconds; ``overrides`` replace its fields."""
    draw = random.Random(seed)
    fields = {
        "depths": tuple(draw.randint(1, 2) for _ in range(3)),
        "channels": tuple(draw.choice((16, 24, 32)) for _ in range(3)),
        "states": tuple(draw.randint(2, 7) for _ in range(3)),
        "resolution": 64,
    }
    return Variant(name="tiny", **{**fields, **overrides})


def randomise(model: EfficientViM, seed: int) -> EfficientViM:
    """Replace initial values by seeded random values, because zeros and ones hide errors."""
    generator = torch.Generator().manual_seed(seed)
    model = model.double().eval()
    for name, tensor in model.state_dict().items():  # state_dict() shares its tensors with the model
        *path, leaf = name.split(".")
        if leaf == "num_batches_tracked":
            tensor.zero_()
        elif leaf == "running_var":
            tensor.uniform_(0.5, 2, generator=generator)
        elif leaf == "weight" and "norm" in path:
            tensor.normal_(1, 0.3, generator=generator)
        elif leaf == "weight":
            bound = (3 / tensor[0].numel()) ** 0.5  # a variance of 1 / fan-in
            tensor.uniform_(-bound, bound, generator=generator)
        elif leaf in ("bias", "running_mean"):
            tensor.normal_(0, 0.3, generator=generator)
        else:  # alpha, A, D and the fusion weights
            tensor.normal_(0, 1, generator=generator).clamp_(-3, 3)  # alpha within the range that a rewrite accepts
    return model


def random_network(variant: Variant, seed: int, num_classes: int = 10, distilled: bool = False) -> EfficientViM:
    """A network of random weights, in float64."""
    with torch.device("meta"):  # the initialisation would take longer than the rest
        model = EfficientViM(variant, num_classes, distilled)
    return randomise(model.double().to_empty(device="cpu"), seed)


def random_tiny(seed: int, num_classes: int = 10, distilled: bool = False, **overrides: Any) -> EfficientViM:
    """A random network of a random tiny variant, in float64."""
    return random_network(tiny(seed, **overrides), seed, num_classes, distilled)


def pixels(seed: int, height: int, width: int, batch: int = 1) -> Tensor:
    """Random RGB pixels 0-255, (batch, 3, height, width) in float64."""
    generator = torch.Generator().manual_seed(seed)
    return 255 * torch.rand(batch, 3, height, width, generator=generator, dtype=torch.float64)


def normalise(pixels: Tensor) -> Tensor:
    """Normalised input of the reference, from pixels 0-255."""
    mean, std = (torch.tensor(values, dtype=torch.float64).view(3, 1, 1) for values in (MEAN, STD))
    return (pixels / 255 - mean) / std


def relative_gap(actual: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> float:
    """The largest difference over all outputs, each relative to its largest value; NaN if there is one."""
    assert actual.keys() == expected.keys()
    gaps = []
    for name, reference in expected.items():
        assert actual[name].shape == reference.shape
        gaps.append((actual[name] - reference).abs().max() / reference.abs().max())
    return torch.stack(gaps).max().item()
