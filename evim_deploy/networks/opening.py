"""From a network's name and its weights to what is exported and compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod

from evim_deploy.catalog.network_name import NetworkName
from evim_deploy.catalog.terms import SourceScheme
from evim_deploy.common import threads
from evim_deploy.common.errors import BadInput
from evim_deploy.networks.torch_module.loaded import LoadedModel
from evim_deploy.networks.torch_module.reference import ModuleReference


def open_network(
    name: NetworkName, weights: str | None, num_classes: int | None, notify: Callable[[str], None]
) -> ModuleReference:
    """A network with the weights that a user asks for.

    Args:
        name: Which.
        weights: As ``--weights`` takes it; of a network in an ONNX file that file, wherever it lies now.
        num_classes: That it has to tell apart; None for as many as its weights do.
        notify: Told in one line of what takes time.

    Raises:
        BadInput: The weights cannot be had, or do not fit the network.
    """
    with threads.computing(prod(name.size)):
        return ModuleReference(_OPENERS[name.scheme](name, weights, num_classes, notify), name.size)


def _open_timm(
    name: NetworkName, weights: str | None, num_classes: int | None, notify: Callable[[str], None]
) -> LoadedModel:
    from evim_deploy.networks.timm.open import open_timm

    return open_timm(name, weights, num_classes, notify)


def _open_onnx(
    name: NetworkName, weights: str | None, num_classes: int | None, notify: Callable[[str], None]
) -> LoadedModel:
    from evim_deploy.networks.onnx.open import open_onnx

    path = (weights or name.source).removeprefix("onnx:")  # as its own weights are called
    opened = open_onnx(replace(name, source=path), notify)
    if num_classes not in (None, opened.num_classes):
        raise BadInput(
            f"{name.source} has {opened.num_classes} classes, not {num_classes}.", "Leave out --num-classes."
        )
    return opened


_OPENERS = {SourceScheme.TIMM: _open_timm, SourceScheme.ONNX: _open_onnx}
