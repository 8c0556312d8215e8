"""The inference form of a network has the same output, and a BatchNorm is never dropped."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from networks import random_tiny
from timm.layers import LayerScale2d
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode

from evim_deploy.common.errors import ParityFailed
from evim_deploy.graph.interpreter import HANDLERS
from evim_deploy.graph.rewrites import reparameterise
from evim_deploy.graph.rewrites.rewrite import RewriteResult
from evim_deploy.networks.efficientvim.lowering import lower
from evim_deploy.networks.efficientvim.model import EfficientViM
from evim_deploy.networks.torch_module.folding import describe, flat, fold
from evim_deploy.networks.torch_module.seeding import sample_images, seed_weights
from latency import preparation
from latency.engines import first_image
from latency.graph_module import _HANDLERS, graph_module
from latency.peers import find_peers
from latency.preparation import run_module
from latency.subjects import peer_subject

SIDE = 64

# the smallest network of each family in the tables, its side in pixels, and what is done to its BatchNorms
FAMILIES = [
    ("shvit_s1", SIDE, ["74 BatchNorms reparameterised by timm"]),
    ("fastvit_t8", SIDE, ["60 BatchNorms reparameterised by timm", "10 BatchNorms folded", "10 layer scales folded"]),
    ("mobileone_s0", SIDE, ["226 BatchNorms reparameterised by timm"]),
    ("mobilevitv2_050", SIDE, ["25 BatchNorms folded"]),
    ("mobilenetv3_large_075", SIDE, ["46 BatchNorms folded"]),
    ("efficientvit_m0", 224, ["113 BatchNorms reparameterised by timm"]),
    ("efficientformerv2_s0", 224, ["74 BatchNorms folded", "1 BatchNorm left"]),
    ("convnextv2_atto", SIDE, ["no BatchNorms"]),
]


def seeded(name: str, side: int) -> nn.Module:
    model: nn.Module = timm.create_model(name, pretrained=False)
    seed_weights(model, side, side)
    return model


def gap(model: nn.Module, original: nn.Module, side: int) -> float:
    """Largest difference relative to the largest output, for noise that the statistics were not computed from."""
    image = first_image((3, side, side))
    expected = run_module(original, image)
    return float(abs(run_module(model, image) - expected).max() / abs(expected).max())


@pytest.mark.parametrize(("name", "side", "report"), FAMILIES, ids=[name for name, *_ in FAMILIES])
def test_the_inference_form_has_the_originals_output(name: str, side: int, report: list[str]) -> None:
    original = seeded(name, side)
    folded = deepcopy(original)
    assert describe(fold(folded, sample_images(side, side)[:1])) == report
    assert gap(folded, original, side) < 1e-4
    assert sum(isinstance(module, _BatchNorm) for module in folded.modules()) == ("left" in report[-1])


def test_with_seeded_weights_the_output_depends_on_the_image() -> None:
    original = seeded("shvit_s1", SIDE)
    with torch.no_grad():
        answers = original(sample_images(SIDE, SIDE))
    assert (answers - answers.mean(0)).std() > 0.3 * answers.std()


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::torch.jit.TracerWarning")
def test_the_inference_form_is_traced_and_exported() -> None:
    model = seeded("mobilevitv2_050", SIDE)
    images = sample_images(SIDE, SIDE)[:2]
    fold(model, images)
    with torch.no_grad():
        expected = model(images)
        traced = torch.jit.trace(model, images, check_trace=False)
        exported = torch.export.export(model, (images,)).module()
        torch.testing.assert_close(traced(images), expected)
        torch.testing.assert_close(exported(images), expected)


# --- what may not be folded


class Branches(nn.Module):
    """BatchNorms, only some of which are the sole consumer of a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third, self.fourth = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(4))
        self.plain, self.shared, self.late, self.twice, self.alone = (nn.BatchNorm2d(3) for _ in range(5))

    def forward(self, x: Tensor) -> Tensor:
        x = self.plain(self.first(x))
        y = self.second(x)
        x = self.shared(y) + y  # y goes two ways
        x = self.late(F.relu(self.third(x)))  # not what the convolution gives
        x = self.twice(self.fourth(self.twice(self.fourth(x))))
        return self.alone(x).mean((2, 3))


def test_a_batch_norm_stays_where_its_input_is_not_one_layers_alone() -> None:
    original = Branches()
    seed_weights(original, 32, 32)
    folded = deepcopy(original)
    assert describe(fold(folded, sample_images(32, 32)[:2])) == ["1 BatchNorm folded", "4 BatchNorms left"]
    assert isinstance(folded.plain, nn.Identity)
    assert gap(folded, original, 32) < 1e-5


class Tokens(nn.Module):
    """A BatchNorm over the token axis of a linear layer's output."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(32, 32)
        self.norm = nn.BatchNorm1d(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.linear(x.mean(2)))  # (B, 3, 32)


def test_a_batch_norm_over_another_axis_stays() -> None:
    model = Tokens()
    seed_weights(model, 32, 32)
    assert describe(fold(model, sample_images(32, 32)[:1])) == ["1 BatchNorm left"]


# --- negative controls


def without_norms(model: nn.Module, images: Tensor) -> list[RewriteResult]:
    """Drop the BatchNorms without a fuse method, like the published script."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, _BatchNorm):
                setattr(module, name, nn.Identity())
    return []


def off_by_a_hundredth(model: nn.Module, images: Tensor) -> list[RewriteResult]:
    report = fold(model, images)
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    convolutions[len(convolutions) // 2].weight.mul_(1.01)
    return report


@pytest.mark.parametrize("wrong", [without_norms, off_by_a_hundredth])
def test_a_wrong_inference_form_is_caught(
    wrong: object, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evim_deploy.networks.torch_module.folding.fold", wrong)
    subject = peer_subject(find_peers("mobilenetv3_large_075")[0])
    folder = tmp_path_factory.mktemp("wrong")
    with pytest.raises(ParityFailed, match=r"MobileNetV3-L 0.75 differs from the model"):
        preparation.prepare(subject, ".pt", folder=folder, file_precision="fp32", batch=1, height=SIDE, width=SIDE)


# --- ours


@pytest.fixture(scope="module")
def ours() -> tuple[EfficientViM, nn.Module]:
    """A tiny network of ours, and its rewritten graph as a module."""
    model = random_tiny(5, distilled=True)
    graph, _ = reparameterise(lower(model, "classify", "logits", False))
    return model.float(), graph_module(graph)


def test_our_graph_as_a_module_has_the_models_output(ours: tuple[EfficientViM, nn.Module]) -> None:
    model, module = ours
    assert gap(module, model, SIDE) < 1e-5
    assert all(buffer.dtype == torch.float32 for buffer in module.buffers())


def test_our_module_is_exported_with_an_open_batch(ours: tuple[EfficientViM, nn.Module]) -> None:
    _, module = ours
    images = sample_images(SIDE, SIDE)
    with torch.no_grad():
        exported = torch.export.export(module, (images[:2],), dynamic_shapes=({0: torch.export.Dim("batch")},)).module()
        torch.testing.assert_close(exported(images[:5]), module(images[:5]))


def test_our_module_computes_gradients_where_asked(ours: tuple[EfficientViM, nn.Module]) -> None:
    """The module sets no mode itself, which a compiler would have to trace."""
    _, module = ours
    images = sample_images(SIDE, SIDE)[:1].requires_grad_()
    module(images).sum().backward()
    assert images.grad is not None


class _Dtypes(TorchDispatchMode):
    """Records the dtypes of the outputs of every operation."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[torch.dtype] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.seen |= {each.dtype for each in flat([result]) if isinstance(each, Tensor)}
        return result


def test_our_module_computes_in_float32_alone(
    ours: tuple[EfficientViM, nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The published network's dtypes; the exact handlers sum exponentials in float64, which would be timed."""
    _, module = ours
    images = sample_images(SIDE, SIDE)[:1]
    with torch.no_grad(), _Dtypes() as dtypes:
        module(images)
    assert dtypes.seen == {torch.float32}
    monkeypatch.setitem(_HANDLERS, "softmax_tokens", HANDLERS["softmax_tokens"])
    with torch.no_grad(), _Dtypes() as dtypes:
        module(images)
    assert torch.float64 in dtypes.seen


def test_on_a_gpu_our_module_finds_everything_there(
    ours: tuple[EfficientViM, nn.Module], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The module is loaded like in an engine, with tensors that report a GPU as their device."""
    _, module = ours
    path = tmp_path / "module.pt"
    torch.save(module, path)

    def answer() -> Tensor:
        with FakeTensorMode(), torch.no_grad():
            found: Tensor = torch.load(path, weights_only=False, map_location="cuda")(
                torch.empty(2, 3, SIDE, SIDE, device="cuda")
            )
        return found

    assert (answer().device.type, answer().shape[0]) == ("cuda", 2)
    monkeypatch.setitem(_HANDLERS, "relu", lambda node, weights, x: x + torch.zeros(x.shape))
    with pytest.raises(RuntimeError, match="device"):
        answer()


# --- layer scales


class _Scaled(nn.Module):
    """A layer scale after a convolution, and one whose convolution has a second consumer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.other = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)
        self.drop = nn.Dropout(0.5)
        self.scale, self.other_scale = (LayerScale2d(4, init_values=value) for value in (0.3, 0.7))

    def forward(self, x: Tensor) -> Tensor:
        other = self.other(x)
        return self.scale(self.drop(self.conv(x))) + self.other_scale(other) + other


def test_a_layer_scale_goes_into_the_layer_that_it_alone_takes() -> None:
    original = _Scaled().eval().requires_grad_(False)
    folded = deepcopy(original)
    assert describe(fold(folded, sample_images(32, 32)[:1])) == ["1 layer scale folded"]
    assert isinstance(folded.scale, nn.Identity)
    assert isinstance(folded.other_scale, LayerScale2d)
    assert torch.equal(folded.other.weight, original.other.weight)
    assert gap(folded, original, 32) < 1e-6
