"""Open a network by its name: the model that a user names, and its reference with weights."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any

from evim_deploy.catalog.network_name import ONNX_SUFFIX, NetworkName, require
from evim_deploy.catalog.terms import ModelFamily
from evim_deploy.catalog.variants import ModelName, parse_model
from evim_deploy.common import threads
from evim_deploy.common.errors import BadInput, UsageProblem
from evim_deploy.weights.spec import parse_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from evim_deploy.catalog.model import Model
    from evim_deploy.images.preprocessing import Preprocessing
    from evim_deploy.networks.protocols import Reference
    from evim_deploy.networks.torch_module.loaded import LoadedModel

_TIMM = f"{ModelFamily.TIMM}:"


def parse_source(text: str, preprocessing: Preprocessing | None = None) -> Model:
    """The model that a user names: a size of EfficientViM, ``timm:NAME``, or the path of an ONNX file.

    Args:
        text: The name.
        preprocessing: Normalisation of an ONNX file's images, which the file itself does not state.

    Raises:
        UsageProblem: There is no such model, or its normalisation is known already.
        BadInput: The network cannot be exported: it is not a classifier of images, or an operation is not supported.
        NotInstalled: A package that its family needs is missing.
    """
    is_file = text.lower().endswith(ONNX_SUFFIX)
    if preprocessing is not None and not is_file:
        raise UsageProblem(f"{text} has a normalisation of its own.", "--mean and --std are for ONNX files.")
    if preprocessing is not None:
        from evim_deploy.images.preprocessing import check_normalisation

        check_normalisation(preprocessing.mean, preprocessing.std)
    if text.startswith(_TIMM):
        require(ModelFamily.TIMM)
        from evim_deploy.networks.timm.open import find_timm

        return find_timm(text.removeprefix(_TIMM))
    if is_file:
        require(ModelFamily.ONNX)
        from evim_deploy.networks.onnx.open import find_onnx

        return find_onnx(text, preprocessing)
    return parse_model(text)


def open_reference(
    model: Model, weights: str | None, num_classes: int | None, notify: Callable[[str], None]
) -> Reference:
    """The reference of a model with the weights that a user asks for.

    Args:
        model: A result of :func:`parse_source`.
        weights: The value of ``--weights``; None for the published weights, or an ONNX file's own.
        num_classes: Number of classes; None for that of the weights.
        notify: Receives one line before each slow step.

    Raises:
        BadInput: The weights are not available, or do not fit the model.
        NotInstalled: A package that they need is missing.
    """
    return _OPENERS[model.family](model, weights, num_classes, notify)


def _open_efficientvim(
    model: ModelName, weights: str | None, num_classes: int | None, notify: Callable[[str], None]
) -> Reference:
    from evim_deploy.networks.efficientvim.weights import resolve

    network, origin = resolve(model, weights, num_classes, notify)

    from evim_deploy.networks.efficientvim.reference import GraphReference  # resolve() reports a missing torch

    return GraphReference(model=network, weights=origin)


def _open_timm(
    name: NetworkName, weights: str | None, num_classes: int | None, notify: Callable[[str], None]
) -> Reference:
    require(name.family)
    from evim_deploy.networks.timm.open import open_timm

    return _module_reference(name, lambda: open_timm(name, weights, num_classes, notify))


def _open_onnx(
    name: NetworkName, weights: str | None, num_classes: int | None, notify: Callable[[str], None]
) -> Reference:
    """The network of an ONNX file; ``weights`` is the same file at another path."""
    require(name.family)
    from evim_deploy.networks.onnx.open import open_onnx

    path = parse_weights(weights or name.source).path
    loaded = _module_reference(name, lambda: open_onnx(replace(name, source=str(path)), notify))
    if num_classes not in (None, loaded.num_classes):
        raise BadInput(
            f"{name.source} has {loaded.num_classes} classes, not {num_classes}.", "Leave out --num-classes."
        )
    return loaded


def _module_reference(name: NetworkName, load: Callable[[], LoadedModel]) -> Reference:
    from evim_deploy.networks.torch_module.reference import ModuleReference

    with threads.computing(prod(name.size)):
        return ModuleReference(load(), name.size)


_OPENERS: Mapping[ModelFamily, Callable[[Any, str | None, int | None, Callable[[str], None]], Reference]] = {
    ModelFamily.EFFICIENTVIM: _open_efficientvim,
    ModelFamily.TIMM: _open_timm,
    ModelFamily.ONNX: _open_onnx,
}
