"""Which weights a model gets: a file's, the hub's, those that ship, or untrained ones that say so."""

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
    """The model with the weights that a user asks for, in eval mode.

    Args:
        model: Which model.
        spec: PATH, ``hf:OWNER/NAME[/FILE]``, ``timm:NAME``, ``package:digits`` or ``random[:SEED]``. None takes the
            weights that ship with the package or were published, and where they cannot be had, untrained ones of
            seed 0; a note says why.
        num_classes: Classes of the heads; None takes what the weights have, or the variant's own number.
        notify: Told in one line of what takes time.

    Raises:
        BadInput: The weights that were asked for cannot be had, or do not fit the model.
        NotInstalled: PyTorch, safetensors or huggingface_hub is missing.
    """
    try:
        import safetensors  # noqa: F401
        import torch  # noqa: F401
    except ModuleNotFoundError as error:
        raise NotInstalled(f"Weights need {error.name}.", 'pip install "evim-deploy[torch]"') from error
    if num_classes is not None and num_classes < MIN_CLASSES:
        raise BadInput(f"{num_classes} classes are no classification.", f"Give {MIN_CLASSES} or more.")
    if spec is None:
        return _usual(model, num_classes, notify)
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


def usual_source(model: ModelName) -> str:
    """Where a model's weights come from unless asked otherwise: what ships with the package, or a repository."""
    return digits.SOURCE if model.variant == DIGITS else hub.published(model)[0]


def _usual(model: ModelName, num_classes: int | None, notify: Callable[[str], None]) -> tuple[EfficientViM, Weights]:
    trained = model.variant.num_classes
    if num_classes not in (None, trained):
        note = f"The weights of {usual_source(model)} have {trained} classes, not {num_classes}."
        return _untrained(model, num_classes, 0, note)
    if usual_source(model) == digits.SOURCE:
        return _packaged(model, num_classes)
    repo, filename = hub.published(model)
    try:
        path = hub.fetch(repo, filename, notify=notify)
    except hub.WrongHash:
        raise  # a file that someone changed is no reason to go on without it
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
