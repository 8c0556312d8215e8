"""Numbers in a network's code in float16: every format stores the same ones, and a wrong one is detected."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import timm.layers
import torch
from onnx2tf_here import needs_onnx2tf
from torch import Tensor, nn
from torch.nn import functional as F

import exporters
import runtimes
from evim_deploy.artifact.target import Target
from evim_deploy.images.preprocessing import PAPER
from evim_deploy.networks.protocols import Array
from evim_deploy.networks.torch_module.computed_kernels import compute_kernels
from evim_deploy.networks.torch_module.export_wrapper import ExportWrapper, rounded
from evim_deploy.networks.torch_module.half_constants import HalfNumbers, half
from evim_deploy.proof.outputs.tolerances import TOLERANCES
from exporters.tflite import onnx2tf_environment

SIDE, CHANNELS = 16, 8
FORMATS = ("onnx", "coreml", pytest.param("tflite", marks=[pytest.mark.slow, needs_onnx2tf]))


def positions(x: Tensor) -> Tensor:
    _, channels, height, width = x.shape
    angles = torch.arange(height * width)[:, None] / 10000 ** (torch.arange(channels // 2) / channels)
    return x + torch.cat([angles.sin(), angles.cos()], 1).T.reshape(1, channels, height, width)


def attention(x: Tensor, scale: float | None = None) -> Tensor:
    tokens = x.flatten(2).transpose(1, 2)  # (B, L, 8)
    return F.scaled_dot_product_attention(tokens, tokens, tokens, scale=scale)


KINDS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "mul": lambda x: x * 0.17,
    "mul after relu": lambda x: F.relu(x) * 1.7015043497085571,
    "add": lambda x: x + 0.3,
    "sub": lambda x: 0.3 - x,
    "div": lambda x: x / 1.3,
    "rdiv": lambda x: 0.3 / (x.abs() + 0.7),
    "whole number": lambda x: (49 * x) ** 2 / 2401,
    "a ninth": lambda x: x * (1 / 9),
    "addcmul": lambda x: torch.addcmul(x, x, x, value=0.17),
    "leaky_relu": lambda x: F.leaky_relu(x, 0.1),
    "elu": lambda x: F.elu(x, 0.7),
    "selu": F.selu,
    "celu": lambda x: F.celu(x, 0.7),
    "hardswish": F.hardswish,
    "hardsigmoid": F.hardsigmoid,
    "hardsigmoid of Keras": lambda x: (0.2 * x + 0.5).clamp(0, 1),
    "gelu": F.gelu,
    "gelu tanh": lambda x: F.gelu(x, approximate="tanh"),
    "gelu written": lambda x: 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "quick gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "softplus": lambda x: F.softplus(x, beta=0.7),
    "clamp": lambda x: x.clamp(-1 / 3, 1 / 3),
    "attention": attention,
    "attention of its own scale": lambda x: attention(x, scale=0.3),
    "temperature": lambda x: (x / 0.07).softmax(1),
    "pow": lambda x: (x.abs() + 0.1) ** 0.3,
    "tiny eps": lambda x: F.normalize(x, dim=1, eps=1e-12),
    "eps of a functional norm": lambda x: F.layer_norm(x.permute(0, 2, 3, 1), (CHANNELS,), eps=3e-3),
    "group_norm": lambda x: F.group_norm(x, 2, eps=3e-3),
    "mean and std": lambda x: (x - 0.485) / 0.229,
    "mask in float32": lambda x: x * (x > 0.1).float(),
    "softmax in float32": lambda x: x.softmax(1, dtype=torch.float32) * x,
    "where": lambda x: torch.where(x > 0.1, x, 0.3),
    "where of numbers": lambda x: torch.where(x > 0, 1.0, 0.3) * x,
    "masked_fill": lambda x: x.masked_fill(x < 0, -1e9).softmax(1),
    "tensor of a number": lambda x: x * torch.tensor(0.17),
    "full": lambda x: x * torch.full((1, CHANNELS, 1, 1), 0.17),
    "new_tensor": lambda x: x * x.new_tensor([0.17]),
    "linspace": lambda x: x * torch.linspace(0.1, 0.9, SIDE),
    "positions": positions,
    "float64": lambda x: (x.double() * 0.3).float(),
    "pad": lambda x: F.pad(x, (1, 1, 1, 1), value=0.3),
    "tiny": lambda x: x + 1e-6,
}
SPREADS = {
    "var": lambda x: x / (x.var(1, keepdim=True) + 0.1),
    "std": lambda x: x / (x.std(1, keepdim=True) + 0.1),
}
MISREAD = {"1": {*SPREADS}, "2": {*SPREADS, "rdiv"}}
"""Which onnx2tf converts wrongly in float32, too, by its major version. An export refuses such a file."""


class Numbers(nn.Module):
    """A network from images (B, 3, 16, 16) to a logit for each kind of number (B, kinds)."""

    def __init__(self, kinds: Mapping[str, Callable[[Tensor], Tensor]]) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.kinds = kinds
        self.stem = nn.Conv2d(3, CHANNELS, 3, 1, 1)
        self.layers = nn.ModuleList(nn.Conv2d(CHANNELS, CHANNELS, 1) for _ in kinds)
        sizes = [function(torch.zeros(1, CHANNELS, SIDE, SIDE)).numel() for function in kinds.values()]
        self.heads = nn.ModuleList(nn.Linear(size, 1) for size in sizes)
        for parameter in self.parameters():
            parameter.data.normal_(0, parameter[0].numel() ** -0.5, generator=generator)
        self.eval().requires_grad_(False)

    def forward(self, image: Tensor) -> Tensor:
        x = torch.tanh(self.stem(image))
        rows = zip(self.kinds.values(), self.layers, self.heads, strict=True)
        return torch.cat([head(function(layer(x)).flatten(1)) for function, layer, head in rows], 1)


def target(format_: str, kinds: int, precision: str = "fp16") -> Target:
    labels = tuple(map(str, range(kinds)))
    return Target(
        format=format_,
        precision=precision,
        height=SIDE,
        width=SIDE,
        batch=1,
        task="classify",
        output="logits",
        preprocess=False,
        labels=labels,
    )


def stored(network: nn.Module, target: Target) -> ExportWrapper:
    return rounded(ExportWrapper(network, "logits", PAPER, target).eval().requires_grad_(False))


def images() -> Tensor:
    return torch.randn(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def answers(module: nn.Module) -> Array:
    return torch.cat([module(image[None]) for image in images()]).numpy()


def written(module: nn.Module, target: Target, folder: Path) -> Array:
    """The outputs, computed in float32, of a file of a module with float16 weights."""
    path = folder / f"numbers{exporters.FORMATS[target.format].suffix}"
    exporters.load(exporters.FORMATS[target.format], "torch_module").build(module, target, path)
    with runtimes.open_artifact(path, mode="fp32") as session:
        return np.concatenate([session.run(image[None].numpy())["logits"] for image in images()])


def differing(found: Array, expected: Array, names: Mapping[str, object]) -> list[str]:
    """The kinds whose logit differs by more than float32's rounding, relative to the logit's range."""
    allowed = TOLERANCES["pytorch", "fp32"].max_abs
    gaps = np.abs(found - expected).max(0) / np.ptp(expected, 0)
    return [name for name, gap in zip(names, gaps, strict=True) if not gap <= allowed]


@pytest.mark.parametrize("format_", FORMATS)
def test_every_format_stores_the_numbers_that_the_reference_has(tmp_path: Path, format_: str) -> None:
    misread = MISREAD[onnx2tf_environment.find().version.partition(".")[0]] if format_ == "tflite" else set()
    kinds = {name: function for name, function in {**KINDS, **SPREADS}.items() if name not in misread}
    asked = target(format_, len(kinds))
    network = stored(Numbers(kinds), asked)
    found = written(network, asked, tmp_path)
    assert differing(found, answers(network), kinds) == []
    unrounded = stored(Numbers(kinds), asked)
    unrounded.numbers = torch.no_grad
    missed = set(kinds) - set(differing(found, answers(unrounded), kinds))
    assert missed.isdisjoint({"mul", "selu", "clamp", "full"})


@pytest.mark.parametrize("format_", ["onnx", "coreml"])
def test_a_number_that_is_one_percent_off_is_seen(tmp_path: Path, format_: str) -> None:
    """A negative control of the comparison: the right numbers in the same network pass."""
    right = {"mul": lambda x: x * 0.17, "slope": lambda x: F.leaky_relu(x, 0.1), "limit": lambda x: x.clamp(-0.3, 0.3)}
    wrong = {
        "mul": lambda x: x * 0.1717,
        "slope": lambda x: F.leaky_relu(x, 0.101),
        "limit": lambda x: x.clamp(-0.303, 0.303),
    }
    asked = target(format_, len(right))
    expected = answers(stored(Numbers(right), asked))
    assert differing(written(stored(Numbers(right), asked), asked, tmp_path), expected, right) == []
    other = tmp_path / "wrong"
    other.mkdir()
    found = written(stored(Numbers(wrong), asked), asked, other)
    assert differing(found, expected, right) == list(right)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0.17, float(np.float16(0.17))),
        (-1 / 3, float(np.float16(-1 / 3))),
        (2, 2),
        (2401, 2400.0),
        (1e-6, float(np.float16(1e-6))),
        (1e-12, 2.0**-24),
        (-1e-12, -(2.0**-24)),
        (1e5, 65504.0),
        (-1e9, -65504.0),
        (65519.9, 65504.0),
        (0.0, 0.0),
        (math.inf, math.inf),
        (-math.inf, -math.inf),
    ],
)
def test_the_nearest_number_of_float16(number: float, expected: float) -> None:
    assert half(number) == expected
    assert type(half(2)) is int


def test_not_a_number_stays_one() -> None:
    assert math.isnan(half(math.nan))


def test_a_size_is_not_rounded() -> None:
    x = torch.zeros(1, 1, 100, 100)
    with HalfNumbers():
        assert F.interpolate(x, scale_factor=1.3).shape[2:] == (130, 130)  # with float16's 1.3 it is 129


def test_what_is_written_into_a_tensor_of_numbers_stays_in_it() -> None:
    def through_a_buffer(x: Tensor) -> Tensor:
        buffer = torch.zeros(x.shape)
        buffer[:, :2] = x[:, :2]
        buffer += x
        return buffer.mul_(0.17)

    x = torch.randn(1, 4, 3, 3).half().float()
    with HalfNumbers():
        found = through_a_buffer(x)
    assert torch.equal(found, (torch.cat([2 * x[:, :2], x[:, 2:]], 1)) * half(0.17))


@pytest.mark.parametrize(("mask", "is_causal"), [(None, False), (None, True), ("bool", False), ("float", False)])
def test_attention_that_is_written_out_is_torchs(mask: str | None, is_causal: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, heads, 5, 16, generator=generator) for heads in (4, 2, 2))
    masks = {"bool": torch.rand(5, 5, generator=generator) > 0.3, "float": torch.randn(5, 5, generator=generator)}
    chosen = None if mask is None else masks[mask].fill_diagonal_(1)

    def attend() -> Tensor:
        return F.scaled_dot_product_attention(query, key, value, chosen, is_causal=is_causal, enable_gqa=True)

    expected = attend()
    with HalfNumbers():
        assert torch.allclose(attend(), expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["StdConv2d", "StdConv2dSame", "ScaledStdConv2d", "ScaledStdConv2dSame"])
def test_standardised_kernels_are_computed_once(kind: str) -> None:
    torch.manual_seed(0)
    made = getattr(timm.layers, kind)
    padding = {"padding": "same"} if kind == "ScaledStdConv2dSame" else {}
    model = nn.Sequential(made(4, 6, 3, stride=2, **padding), nn.ReLU(), made(6, 6, 3, groups=2, bias=False)).eval()
    image = torch.randn(1, 4, 11, 13)
    expected = model(image)
    assert compute_kernels(model) == ("0", "2")
    assert not any(type(layer).__name__ == kind for layer in model)
    assert torch.equal(model(image), expected)
