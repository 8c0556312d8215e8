"""EfficientViM with weights of a file, of the hub or of the package, or with seeded ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from evim_deploy.artifact.target import Weights
from evim_deploy.catalog.variants import DIGITS, MIN_CLASSES
from evim_deploy.common.errors import BadInput, NotInstalled
from evim_deploy.images import digits
from evim_deploy.weights import hub
from evim_deploy.weights.shards import weights_name
from evim_deploy.weights.spec import WeightsKind, parse_weights

if TYPE_CHECKING:
    from collections.abc import Callable

    from evim_deploy.catalog.variants import ModelName
    from evim_deploy.networks.efficientvim.model import EfficientViM


def resolve(
    model: ModelName, spec: str | None, num_classes: int | None, notify: Callable[[str], None]
) -> tuple[EfficientViM, Weights]:
    """The model with the weights that a user asks for, in evaluation mode.

    Args:
        model: The model.
        spec: PATH, ``hf:OWNER/NAME[/FILE]``, ``timm:NAME``, ``package:digits`` or ``random[:SEED]``. None for the
            weights in the package or the published ones; where they are not available, seeded ones of seed 0, and a
            note with the reason.
        num_classes: Number of classes; None for that of the weights, or of the variant.
        notify: Receives one line before each slow step.

    Raises:
        BadInput: The requested weights are not available, or do not fit the model.
        NotInstalled: PyTorch, safetensors or huggingface_hub is missing.
    """
    try:
        import safetensors  # noqa: F401
        import torch  # noqa: F401
    except ModuleNotFoundError as error:
        raise NotInstalled(f"Weights need {error.name}.", 'pip install "evim-deploy[torch]"') from error
    if num_classes is not None and num_classes < MIN_CLASSES:
        raise BadInput(f"num_classes must be at least {MIN_CLASSES}, got {num_classes}.", "Give a larger number.")
    if spec is None:
        return _default(model, num_classes, notify)
    source = parse_weights(spec)
    if source.kind is WeightsKind.PACKAGED:
        return _packaged(model, num_classes)
    if source.kind is WeightsKind.SEEDED:
        return _untrained(model, num_classes, source.seed(), "")
    if source.kind in (WeightsKind.HUB, WeightsKind.TIMM):
        repo, filename = source.repository()
        path = hub.fetch_weights(repo, filename, notify=notify)
        return _load(model, path, _source(source.kind, repo, filename), num_classes)
    return _load(model, Path(spec), None, num_classes)


def default_source(model: ModelName) -> str:
    """The default source of a model's weights: the file in the package, or a repository on the hub."""
    return digits.SOURCE if model.variant == DIGITS else hub.published(model)[0]


def _default(model: ModelName, num_classes: int | None, notify: Callable[[str], None]) -> tuple[EfficientViM, Weights]:
    trained = model.variant.num_classes
    if num_classes not in (None, trained):
        note = f"The weights of {default_source(model)} have {trained} classes, not {num_classes}."
        return _untrained(model, num_classes, 0, note)
    if default_source(model) == digits.SOURCE:
        return _packaged(model, num_classes)
    repo, filename = hub.published(model)
    try:
        path = hub.fetch(repo, filename, notify=notify)
    except hub.WrongHash:
        raise  # a changed file must not be replaced silently
    except BadInput as error:
        return _untrained(model, num_classes, 0, error.cause)
    return _load(model, path, _source(WeightsKind.TIMM, repo, filename), num_classes)


def _packaged(model: ModelName, num_classes: int | None) -> tuple[EfficientViM, Weights]:
    with digits.weights_file() as path:
        return _load(model, path, digits.SOURCE, num_classes)


def _source(kind: WeightsKind, repo: str, filename: str) -> str:
    return f"timm:{repo.removeprefix('timm/')}" if kind is WeightsKind.TIMM else f"hf:{repo}/{filename}"


def _load(model: ModelName, path: Path, source: str | None, num_classes: int | None) -> tuple[EfficientViM, Weights]:
    from evim_deploy.networks.efficientvim.checkpoint import load_model, read_checkpoint

    checkpoint = read_checkpoint(path)
    weights = Weights(source or weights_name(path), True, checkpoint.sha256, checkpoint.note)
    return load_model(checkpoint, model, num_classes), weights


def _untrained(model: ModelName, num_classes: int | None, seed: int, note: str) -> tuple[EfficientViM, Weights]:
    from evim_deploy.networks.efficientvim.seeded import untrained_model
    from evim_deploy.networks.seeding import state_sha256

    network = untrained_model(model, num_classes or model.variant.num_classes, seed)
    return network, Weights(f"random:{seed}", False, state_sha256(network), note)
