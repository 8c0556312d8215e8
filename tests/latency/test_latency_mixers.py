"""The mixers of the paper's Figure 3: single-head equals the model's layer, multi-head equals its formula."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from evim_deploy.catalog.variants import VARIANTS
from evim_deploy.networks.efficientvim.model import HSMSSD
from latency.mixers import HEAD_CHANNELS, MultiHead, SingleHead, mixer, mixer_shape

M2 = VARIANTS["m2"]


def noise(channels: int, height: int = 5, width: int = 7) -> Tensor:
    return torch.randn(2, channels, height, width, generator=torch.Generator().manual_seed(1))


def test_single_head_is_the_models_layer() -> None:
    layer = mixer("single-head", M2)
    assert isinstance(layer, SingleHead)
    model = HSMSSD(128, 49)
    model.load_state_dict(layer.mixer.state_dict())
    u = noise(128)
    with torch.no_grad():
        assert torch.equal(layer(u), model(u)[0])


def by_heads(layer: MultiHead, u: Tensor) -> Tensor:
    """The formula, one image and one head at a time, without an axis of heads."""
    answers = []
    width = u.shape[1] // layer.heads
    for image in u:
        tokens = image.flatten(1)  # (D, L)
        bcdt = layer.BCdt_proj.conv.weight[:, :, 0] @ tokens
        bcdt = F.conv2d(bcdt.view(1, -1, *u.shape[2:]), layer.dw.conv.weight, padding=1, groups=len(bcdt))[0].flatten(1)
        b, c, dt = bcdt[: layer.states], bcdt[layer.states : 2 * layer.states], bcdt[2 * layer.states :]
        rows = []
        for head in range(layer.heads):
            a = torch.softmax(dt[head] + layer.A[head], dim=0)  # (L)
            x = tokens[head * width : (head + 1) * width]  # (P, L)
            rows.append(torch.einsum("pl,l,nl->pn", x, a, b))
        h_in = torch.cat(rows)  # (D, N)
        g, z = (layer.hz_proj.conv.weight[:, :, 0] @ h_in).chunk(2)
        h = layer.out_proj.conv.weight[:, :, 0] @ (g * z * torch.sigmoid(z) + layer.D * g)
        answers.append((h @ c).view(u.shape[1:]))
    return torch.stack(answers)


@pytest.mark.parametrize(("channels", "states", "head_channels"), [(128, 49, HEAD_CHANNELS), (24, 5, 8), (16, 3, 16)])
def test_multi_head_is_its_formula_for_each_head(channels: int, states: int, head_channels: int) -> None:
    layer = MultiHead(channels, states, head_channels).double()
    generator = torch.Generator().manual_seed(0)
    u = noise(channels).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(0, 0.3, generator=generator)
        torch.testing.assert_close(layer(u), by_heads(layer, u), rtol=1e-10, atol=1e-10)


def test_heads_matter() -> None:
    """A negative control: with another number of heads the result of the formula differs."""
    layer = MultiHead(16, 3, 8)
    generator = torch.Generator().manual_seed(0)
    u = noise(16)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(0, 0.3, generator=generator)
        expected = by_heads(layer, u)
        layer.A.add_(torch.tensor([1.0, 0.0]))  # softmax does not see a shift
        torch.testing.assert_close(layer(u), expected)
        layer.BCdt_proj.conv.weight[-2:] = layer.BCdt_proj.conv.weight[-2:].flip(0)
        assert (layer(u) - expected).abs().max() > 0.01 * expected.abs().max()


@pytest.mark.parametrize("form", ["single-head", "multi-head"])
def test_mixers_are_seeded_and_of_the_stages_shape(form: str) -> None:
    shape = mixer_shape(M2, 224, 224)
    assert shape == (128, 14, 14)
    assert mixer_shape(M2, 100, 33) == (128, 7, 3)
    u = noise(*shape)
    with torch.no_grad():
        answer = mixer(form, M2)(u)
        assert answer.shape == u.shape
        assert torch.equal(mixer(form, M2)(u), answer)
        assert not torch.equal(mixer(form, M2, seed=1)(u), answer)
        assert 1e-3 < answer.std() < 10


def test_the_two_forms_have_about_as_many_weights() -> None:
    single, multi = (
        sum(parameter.numel() for parameter in mixer(form, M2).parameters()) for form in ("single-head", "multi-head")
    )
    assert 0.9 < multi / single < 1
