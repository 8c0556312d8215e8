"""The HSM-SSD layer alone, single-head and multi-head, for the comparison of the paper's Figure 3.

The single-head form is the model's own (paper, Algorithm 1 and Equation 14): the importance A has a weight for each
token and state, and no tensor is split into heads. The multi-head form exists for this comparison only. It follows the
paper's description of other SSD networks: x and a are defined for each head, B and C are shared, and A has a weight for
each token and head. With P channels a head, for head k:

    h_k = (A_k x_k) B^T    (P, N)        y_k = h'_k C    (P, L)

where h' is the output of the hidden-state mixer, applied to all heads together as in the single-head layer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evim_deploy.networks.efficientvim.model import HSMSSD, BareDepthwise, Projection
from evim_deploy.networks.seeding import fan_in_bound

if TYPE_CHECKING:
    from evim_deploy.catalog.variants import Variant

HEAD_CHANNELS = 32
"""Channels of a head, the same as in Swin Transformer. M2's first stage then has four heads.

Fewer heads would favour the multi-head form, more would put it at a disadvantage.
"""


class SingleHead(nn.Module):
    """The model's single-head layer, from a feature map u (B, D, H, W) to y of the same shape."""

    def __init__(self, channels: int, states: int) -> None:
        super().__init__()
        self.mixer = HSMSSD(channels, states)

    def forward(self, u: Tensor) -> Tensor:
        y, _ = self.mixer(u)
        return y


class MultiHead(nn.Module):
    """The layer with several heads, from a feature map u (B, D, H, W) to y of the same shape.

    Heads are a separate axis, and products with the shared tensors broadcast over it. The code makes no explicit copy;
    torch makes those that its matrix product needs.

    Args:
        channels: Number of channels D, a multiple of ``head_channels``.
        states: Number of states N.
        head_channels: Channels P of a head.
    """

    def __init__(self, channels: int, states: int, head_channels: int = HEAD_CHANNELS) -> None:
        super().__init__()
        self.states = states
        self.heads = channels // head_channels
        self.BCdt_proj = Projection(channels, 2 * states + self.heads)
        self.dw = BareDepthwise(2 * states + self.heads)
        self.hz_proj = Projection(channels, 2 * channels)
        self.out_proj = Projection(channels, channels)
        self.A = nn.Parameter(torch.zeros(self.heads))
        self.D = nn.Parameter(torch.ones(1))

    def forward(self, u: Tensor) -> Tensor:
        height, width = u.shape[2:]
        tokens = u.flatten(2)  # (B, D, L)
        bcdt = self.dw(self.BCdt_proj(tokens).unflatten(2, (height, width)))  # (B, 2N + heads, H, W)
        b, c, dt = bcdt.flatten(2).split((self.states, self.states, self.heads), dim=1)  # each (B, N or heads, L)
        importance = F.softmax(dt + self.A[:, None], dim=-1)  # (B, heads, L)
        x = tokens.unflatten(1, (self.heads, -1)) * importance[:, :, None]  # (B, heads, P, L)
        h_in = (x @ b.mT[:, None]).flatten(1, 2)  # (B, D, N)
        gate_input, z = self.hz_proj(h_in).chunk(2, dim=1)  # each (B, D, N)
        h = self.out_proj(gate_input * F.silu(z) + self.D * gate_input)
        y = h.unflatten(1, (self.heads, -1)) @ c[:, None]  # (B, heads, P, L)
        return y.flatten(1, 2).unflatten(2, (height, width))  # (B, D, H, W)


_FORMS: dict[str, type[SingleHead] | type[MultiHead]] = {"single-head": SingleHead, "multi-head": MultiHead}


def mixer(form: str, variant: Variant, seed: int = 0) -> nn.Module:
    """Create the layer of a variant's first stage in evaluation mode, with seeded weights.

    Args:
        form: ``single-head`` or ``multi-head``.
        variant: Variant whose first stage has the layer.
        seed: Seed of the weights.
    """
    model = _FORMS[form](variant.channels[0], variant.states[0]).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            bound = fan_in_bound(parameter)
            parameter.uniform_(-bound, bound, generator=generator)
        else:
            low, high = (-1.0, 1.0) if name.endswith("A") else (0.5, 1.5)
            parameter.uniform_(low, high, generator=generator)
    return model


def mixer_shape(variant: Variant, height: int, width: int) -> tuple[int, int, int]:
    """The shape of the layer's input, (D, H/16, W/16) rounded up, for network images of H by W pixels."""
    return variant.channels[0], -(-height // 16), -(-width // 16)
