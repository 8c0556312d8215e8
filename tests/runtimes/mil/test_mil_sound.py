"""Programs that coremltools writes from torch modules are not refused as damaged, and equal PyTorch.

The front end is set up as in an export, with our forms of some operations: if Core ML is reported to compute
coremltools' form differently, the export must write another form instead of refusing.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import exporters.coreml.torch_module  # noqa: F401, which registers our forms
from evim_deploy.formats.coreml import read_package
from evim_deploy.formats.mil import Function
from evim_deploy.formats.mlmodel import of_program
from evim_deploy.inspection.core_ml import reported
from evim_deploy.networks.torch_module.pools import write_pools
from runtimes.mil.evaluate import Evaluator

Forward = Callable[[Tensor], Tensor]
TOLERANCE = 2e-6  # relative to the largest value: sums in another order


class Module(nn.Module):
    def __init__(self, forward: Forward) -> None:
        super().__init__()
        self.compute = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.compute(x)


def resized(**how: Any) -> Forward:
    return lambda x: F.interpolate(x, **how)


MAP = (1, 4, 7, 9)
TOKENS = (2, 5, 8)
SOUND: dict[str, tuple[Forward, tuple[int, ...]]] = {
    "dilated": (nn.Conv2d(4, 8, 3, stride=2, padding=2, dilation=2), MAP),
    "depthwise, reflected": (nn.Conv2d(4, 4, 5, padding=2, groups=4, padding_mode="reflect"), MAP),
    "transposed": (nn.ConvTranspose2d(4, 3, 3, stride=2, padding=1, output_padding=1), MAP),
    "transposed groups": (nn.ConvTranspose2d(4, 4, 2, stride=2, groups=2), MAP),
    "adaptive pool": (nn.AdaptiveAvgPool2d((3, 2)), MAP),
    "resized up": (resized(size=(11, 17), mode="bilinear", align_corners=False), MAP),
    "resized down": (resized(size=(3, 4), mode="bilinear", align_corners=True), MAP),
    "resized by a fraction": (resized(scale_factor=1.5, mode="bilinear"), (1, 4, 8, 10)),
    "nearest by 2": (resized(scale_factor=2.0), MAP),
    "nearest by a fraction": (resized(size=(11, 4)), MAP),
    "nearest by 0.5": (resized(scale_factor=0.5), (1, 4, 8, 10)),
    "padded": (lambda x: F.pad(x, (1, 2, 3, 0), mode="replicate"), MAP),
    "channels padded": (lambda x: F.pad(x, (0, 0, 0, 0, 1, 2)), MAP),
    "group norm": (nn.GroupNorm(2, 4), MAP),
    "layer norm of channels": (lambda x: F.layer_norm(x.permute(0, 2, 3, 1), (4,)).permute(0, 3, 1, 2), MAP),
    "response norm": (nn.LocalResponseNorm(3), MAP),
    "attention": (lambda x: F.scaled_dot_product_attention(x, x, x), (2, 3, 5, 8)),
    "einsum": (lambda x: torch.einsum("bhid,bhjd->bhij", x, x), (2, 3, 5, 8)),
    "slices": (lambda x: x[:, ::2, 1::3], TOKENS),
    "rolled": (lambda x: x.roll((1, -2), (1, 2)), TOKENS),
    "indexed": (lambda x: x[:, [2, 0, 1]], TOKENS),
    "cumulative": (lambda x: x.cumsum(1), TOKENS),
    "shuffled": (nn.PixelShuffle(2), MAP),
    "unfolded": (nn.Unfold(3, padding=1, stride=2), MAP),
    "masked": (lambda x: x.masked_fill(x > 0, -1e4).softmax(-1), TOKENS),
    "remainder": (lambda x: torch.remainder(4 * x, -1.3), TOKENS),
    "mish": (lambda x: F.mish(8 * x), TOKENS),
    "softplus": (nn.Softplus(2.0, 3.0), TOKENS),
    "logsumexp": (lambda x: (20 * x).logsumexp((1, 2)), TOKENS),
    "logsumexp, kept": (lambda x: (20 * x).logsumexp(1, keepdim=True), TOKENS),
    "reciprocal": (lambda x: (x.abs() + 1e-3).reciprocal(), TOKENS),
    "generalised mean": (lambda x: x.clamp(min=1e-6).pow(3).mean((-1, -2)).pow(1 / 3), MAP),
}


def pools() -> Iterator[tuple[str, Forward, tuple[int, ...]]]:
    """Pools of many kernels, strides and paddings, with either rounding mode."""
    draw = np.random.default_rng(0)
    for number in range(24):
        (high, wide), (down, right) = draw.integers(1, 8, 2).tolist(), draw.integers(1, 6, 2).tolist()
        kernel, step = (high, wide), (down, right)
        pad = (int(draw.integers(0, high // 2 + 1)), int(draw.integers(0, wide // 2 + 1)))
        sides = [int(max(1, size - 2 * amount) + draw.integers(0, 8)) for size, amount in zip(kernel, pad, strict=True)]
        counts, rounds_up = bool(draw.integers(2)), bool(draw.integers(4))
        if number % 3:
            average = nn.AvgPool2d(kernel, step, pad, rounds_up, counts)
            yield f"{number}: {average}", written(average), (1, 2, *sides)
        else:
            largest = nn.MaxPool2d(kernel, step, pad, ceil_mode=rounds_up)
            yield f"{number}: {largest}", written(largest), (1, 2, *sides)


def written(pool: nn.Module) -> nn.Module:
    """Return a pool as an export passes it to coremltools."""
    network = nn.Sequential(pool)
    write_pools(network)
    return network


def converted(module: nn.Module, x: Tensor, path: Path) -> Function:
    import coremltools as ct

    traced = torch.jit.trace(module, x, check_trace=False)
    model = ct.convert(
        traced,
        inputs=[ct.TensorType(name="x", shape=tuple(x.shape))],
        minimum_deployment_target=ct.target.iOS16,
        compute_precision=ct.precision.FLOAT32,
        skip_model_load=True,
    )
    model.save(str(path))
    return read_package(path).functions["main"]


def gap(forward: Forward, shape: tuple[int, ...], path: Path) -> float:
    """Return the largest difference between the evaluated program and PyTorch, relative to the largest value."""
    torch.manual_seed(0)
    x, module = torch.randn(shape), Module(forward).eval()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = module(x)
        function = converted(module, x, path)
    assert not list(reported(of_program("main", function)))
    evaluator = Evaluator(function)
    *_, last = evaluator.steps({"x": x}, "fp32")
    assert last.operation.name in function.outputs
    assert last.values[0].shape == expected.shape
    return float((last.values[0] - expected).abs().max() / expected.abs().max().clamp_min(1))


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_program_is_evaluated(name: str, tmp_path: Path) -> None:
    forward, shape = SOUND[name]
    assert gap(forward, shape, tmp_path / "sound.mlpackage") < TOLERANCE


@pytest.mark.parametrize(("forward", "shape"), [case[1:] for case in pools()], ids=[case[0] for case in pools()])
def test_a_pool_is_written_as_pytorch_computes_it(forward: Forward, shape: tuple[int, ...], tmp_path: Path) -> None:
    assert gap(forward, shape, tmp_path / "pool.mlpackage") < TOLERANCE


def test_a_wrong_value_is_detected(tmp_path: Path) -> None:
    """Negative control: coremltools drops antialiasing."""
    blurred = resized(size=(3, 3), mode="bilinear", antialias=True)
    assert gap(blurred, MAP, tmp_path / "wrong.mlpackage") > 0.01
