"""Pools in the form that all engines compute alike, compared with torch's and ONNX Runtime's."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from evim_deploy.artifact.target import Target
from evim_deploy.networks.torch_module.pools import Pool, Side, max_pool, write_pools
from exporters.onnx import torch_module as onnx_exporter


def pools() -> Iterator[nn.Module]:
    for kernel, stride, ceil in product((1, 2, 3, 4, 7), (1, 2, 3, 4), (False, True)):
        for padding in {0, kernel // 2}:
            yield nn.MaxPool2d(kernel, stride, padding, ceil_mode=ceil)
            for counts in (False, True):
                yield nn.AvgPool2d(kernel, stride, padding, ceil, counts)
                yield nn.AvgPool1d(kernel, stride, padding, ceil, counts)


class Watch(TorchFunctionMode):
    """Records the counted padding and the ``ceil_mode`` of each pool that is called."""

    def __init__(self) -> None:
        super().__init__()
        self.wrong: list[str] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if "avg_pool" in name:
            padding, counts = (
                kwargs.get("padding", args[3] if len(args) > 3 else 0),
                kwargs.get("count_include_pad", True),
            )
            if kwargs.get("ceil_mode") or len(args) > 4 or (counts and padding not in (0, [0, 0])):
                self.wrong.append(name)
        if "max_pool" in name and kwargs.get("ceil_mode"):
            self.wrong.append(name)
        return func(*args, **kwargs)


def test_a_pool_so_written_gives_what_torchs_own_does() -> None:
    x = torch.randn(2, 3, 9, 8, generator=torch.Generator().manual_seed(0))
    compared = 0
    for pool in pools():
        image = x if "2d" in type(pool).__name__ else x[:, :, 0]
        expected = pool(image)
        with Watch() as watch:
            actual = Pool(pool)(image)
        assert actual.shape == expected.shape, pool
        assert torch.allclose(actual, expected, atol=1e-6), pool
        assert not watch.wrong, pool
        compared += 1
    assert compared > 150


def test_a_pool_as_torch_writes_it_is_noted() -> None:
    with Watch() as watch:
        nn.AvgPool2d(2, 3, ceil_mode=True)(torch.zeros(1, 1, 4, 4))
        nn.AvgPool2d(3, 2, 1)(torch.zeros(1, 1, 4, 4))
        nn.MaxPool2d(2, 3, ceil_mode=True)(torch.zeros(1, 1, 4, 4))
    assert len(watch.wrong) == 3


def test_another_divisor_shows() -> None:
    x = torch.randn(1, 2, 7, 7, generator=torch.Generator().manual_seed(0))
    pool = nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=True)
    other = nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False)
    assert not torch.allclose(Pool(pool)(x), other(x), atol=1e-2)


def test_a_maximum_of_negative_elements_is_none_of_the_padding() -> None:
    x = -1 - torch.rand(1, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    sides = [Side(kernel=3, stride=2, before=1, after=2), Side(kernel=2, stride=2, before=1, after=0, ceil=True)]
    expected = F.max_pool2d(F.pad(x, [1, 1, 1, 2], value=-torch.inf), (3, 2), (2, 2))
    assert torch.equal(max_pool(x, sides), expected[..., :3])


@pytest.mark.parametrize("side", [Side(kernel=9, stride=1), Side(kernel=2, stride=1, before=3, after=3)])
def test_a_window_without_a_pixel_is_refused(side: Side) -> None:
    with pytest.raises(ValueError, match="window"):
        max_pool(torch.zeros(1, 1, 4, 4), [side, side])


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.first = nn.AvgPool2d(2, 3, ceil_mode=True)
        self.again = self.first
        self.plain = nn.AvgPool2d(2)
        self.most = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.places = nn.MaxPool2d(2, 2, ceil_mode=True, return_indices=True)
        self.scaled = nn.AvgPool2d(2, ceil_mode=True, divisor_override=3)

    def forward(self, x: Tensor) -> Tensor:
        return self.most(self.first(self.conv(x))).flatten(1)


def test_the_pools_of_a_network_that_engines_read_differently_are_replaced() -> None:
    module = Tiny().eval()
    x = torch.randn(1, 3, 13, 13, generator=torch.Generator().manual_seed(0))
    expected = module(x)
    assert write_pools(module) == ("first", "again", "most")
    assert torch.allclose(module(x), expected, atol=1e-6)
    assert not write_pools(module)


def test_an_onnx_file_of_any_operator_set_has_torchs_divisor(tmp_path: Path) -> None:
    """ONNX Runtime divides by the whole kernel below operator set 19."""
    module = Tiny().eval().requires_grad_(False)
    x = torch.randn(1, 3, 13, 13, generator=torch.Generator().manual_seed(0))
    expected = module(x)
    write_pools(module)
    target = Target(
        format="onnx",
        precision="fp32",
        height=13,
        width=13,
        batch=1,
        task="classify",
        output="logits",
        preprocess=False,
        labels=(),
        opset=18,
    )
    onnx_exporter.build(module, target, tmp_path / "pools.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "pools.onnx", providers=["CPUExecutionProvider"])
    actual = torch.from_numpy(session.run(None, {"image": x.numpy()})[0])
    assert torch.allclose(actual, expected, atol=1e-5)
