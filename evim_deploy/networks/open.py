"""What a user can name to export, and the network that a name and its weights come to: one row a kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evim_deploy.catalog.network_name import ONNX_SUFFIX, NetworkName, require
from evim_deploy.catalog.terms import SourceScheme
from evim_deploy.catalog.variants import ModelName, parse_model
from evim_deploy.common.errors import UsageProblem

if TYPE_CHECKING:
    from collections.abc import Callable

    from evim_deploy.catalog.model import Model
    from evim_deploy.images.preprocessing import Preprocessing
    from evim_deploy.networks.protocols import Reference

_TIMM = "timm:"


def parse_source(text: str, preprocessing: Preprocessing | None = None) -> Model:
    """The model that a user names: one of ours, ``timm:NAME``, or the path of an ONNX file.

    Args:
        text: The name.
        preprocessing: How the images of an ONNX file are normalised, which that does not say.

    Raises:
        UsageProblem: No such model, or one that says itself how its images are normalised.
        BadInput: A network that cannot be exported: no classifier of images, or with operations that none has.
        NotInstalled: A package that finding it needs is missing.
    """
    is_file = text.lower().endswith(ONNX_SUFFIX)
    if preprocessing is not None and not is_file:
        raise UsageProblem(f"{text} has a normalisation of its own.", "--mean and --std are for ONNX files.")
    if preprocessing is not None:
        from evim_deploy.images.preprocessing import check_normalisation

        check_normalisation(preprocessing.mean, preprocessing.std)
    if text.startswith(_TIMM):
        require(SourceScheme.TIMM)
        from evim_deploy.networks.timm.open import find_timm

        return find_timm(text.removeprefix(_TIMM))
    if is_file:
        require(SourceScheme.ONNX)
        from evim_deploy.networks.onnx.open import find_onnx

        return find_onnx(text, preprocessing)
    return parse_model(text)


def open_reference(
    model: Model, weights: str | None, num_classes: int | None, notify: Callable[[str], None]
) -> Reference:
    """A model with the weights that a user asks for.

    Args:
        model: As :func:`parse_source` gives it.
        weights: As ``--weights`` takes it; None for the published ones, or an ONNX file's own.
        num_classes: Classes of the heads; None takes what the weights have.
        notify: Told in one line of what takes time.

    Raises:
        BadInput: The weights cannot be had, or do not fit the model.
        NotInstalled: A package that they need is missing.
    """
    if isinstance(model, NetworkName):
        require(model.scheme)
        from evim_deploy.networks.opening import open_network

        return open_network(model, weights, num_classes, notify)

    from evim_deploy.networks.efficientvim.weights import resolve

    assert isinstance(model, ModelName)
    network, found = resolve(model, weights, num_classes, notify)

    from evim_deploy.networks.efficientvim.reference import GraphReference  # after what tells that torch is missing

    return GraphReference(model=network, weights=found)
