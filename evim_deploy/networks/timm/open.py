"""Networks of timm by their names, with published weights, weights of a file, or seeded ones.

timm's own adaptation renames the weights of older checkpoints. :mod:`evim_deploy.weights.checkpoint` reads the file:
nothing in it is executed.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypedDict, cast

import timm
import torch
from timm.data import create_transform, resolve_data_config
from torch import Tensor, nn

from evim_deploy.artifact.target import Weights
from evim_deploy.catalog.network_name import NetworkName
from evim_deploy.catalog.terms import ModelFamily
from evim_deploy.catalog.variants import MIN_CLASSES
from evim_deploy.common.errors import BadInput, UsageProblem
from evim_deploy.common.numerics import with_probabilities
from evim_deploy.images.preprocessing import CropMode, Interpolation, Preprocessing
from evim_deploy.images.published_transform import Transform
from evim_deploy.networks.protocols import Array
from evim_deploy.networks.seeding import state_sha256
from evim_deploy.networks.torch_module.loaded import LoadedModel
from evim_deploy.networks.torch_module.seeding import seed_weights
from evim_deploy.weights import hub
from evim_deploy.weights.checkpoint.reading import StateDict, check_numbers, read_state_dict, refuse_misfit
from evim_deploy.weights.shards import weights_name
from evim_deploy.weights.spec import DEFAULT_FILE, WeightsKind, WeightsSpec, parse_weights

_NEAREST = 5
_CHANNELS = 3


def find_timm(name: str) -> NetworkName:
    """A network of timm by its name there, with or without a tag.

    Raises:
        UsageProblem: timm has no network of that name; the message lists similar names.
        BadInput: The network is not a classifier of RGB images.
    """
    config = _config(name)
    channels, height, width = config.input_size
    if channels != _CHANNELS:
        raise BadInput(f"{name} takes images of {channels} channels.", "Name a network of RGB images.")
    return NetworkName(family=ModelFamily.TIMM, source=name, size=(height, width), fixed=bool(config.fixed_input_size))


def open_timm(
    name: NetworkName, spec: str | None, num_classes: int | None, notify: Callable[[str], None]
) -> LoadedModel:
    """A network of timm with the weights that a user asks for.

    Args:
        name: A result of :func:`find_timm`.
        spec: PATH, ``hf:OWNER/NAME[/FILE]``, ``timm:NAME`` or ``random[:SEED]``. None for the published weights; where
            they are not available, seeded ones of seed 0, and a note with the reason.
        num_classes: Number of classes; None for that of the weights, or of timm's published ones.
        notify: Receives one line before each slow step.

    Raises:
        BadInput: The requested weights are not available, or do not fit the network.
    """
    config = _config(name.source)
    source = None if spec is None else parse_weights(spec)
    if source is None:
        module, weights = _published(name, config, num_classes, notify)
    elif source.kind is WeightsKind.SEEDED:
        module, weights = _untrained(name, config, num_classes, seed=source.seed())
    else:
        module, weights = _load(name, config, _fetch(source, notify), source=source, num_classes=num_classes)
    # weights of another tag have the preprocessing of that tag
    evaluated = _config(source.name) if source is not None and source.kind is WeightsKind.TIMM else config
    preprocessing = _preprocessing(name, evaluated)
    transform = partial(_published_transform, evaluated)
    return LoadedModel(
        original=_one_at_a_time(module),
        module=module,
        preprocessing=preprocessing,
        num_classes=_num_classes(module),
        weights=weights,
        transform=transform,
    )


def _data_config(config: Any, height: int, width: int) -> dict[str, Any]:
    """timm's preprocessing of a network for images of a size."""
    data_config: dict[str, Any] = resolve_data_config({"input_size": (_CHANNELS, height, width)}, config.to_dict())
    return data_config


def _preprocessing(name: NetworkName, config: Any) -> Preprocessing:
    """The preprocessing of a network's published evaluation.

    Raises:
        BadInput: A manifest cannot express it.
    """
    data_config = _data_config(config, *name.size)
    for key, known in (("interpolation", tuple(Interpolation)), ("crop_mode", tuple(CropMode))):
        if data_config[key] not in known:
            raise BadInput(
                f"timm evaluates {name.source} with the {key} {data_config[key]!r}, which a manifest cannot express.",
                f"Name a network that is evaluated with one of {', '.join(known)}.",
            )
    mean, std = tuple(data_config["mean"]), tuple(data_config["std"])
    if len(mean) != _CHANNELS or len(std) != _CHANNELS:
        raise BadInput(
            f"timm normalises the images of {name.source} by {len(mean)} means and {len(std)} standard deviations.",
            "Name a network of RGB images.",
        )
    return Preprocessing(
        mean=mean,
        std=std,
        crop_fraction=data_config["crop_pct"],
        interpolation=data_config["interpolation"],
        crop_mode=data_config["crop_mode"],
    )


def _published_transform(config: Any, height: int, width: int) -> Transform:
    """timm's own transform."""
    transform = create_transform(**_data_config(config, height, width))
    return lambda image: transform(image).numpy()


def _config(name: str) -> Any:
    """timm's configuration of a network, which depends on the tag of its weights."""
    if not timm.is_model(name):
        raise UsageProblem(
            f"timm {timm.__version__} has no network {name!r}.",
            f"The nearest are {', '.join(_nearest(name.partition('.')[0]))}; timm.list_models() has all.",
        )
    try:
        return timm.get_pretrained_cfg(name, allow_unregistered=False)
    except RuntimeError:
        architecture = name.partition(".")[0]
        tags = timm.list_pretrained(f"{architecture}.*")
        raise UsageProblem(f"timm has no weights {name}.", f"Use {', '.join([architecture, *tags])}.") from None


def _nearest(name: str) -> list[str]:
    """Names with the same beginning, then names with a similar spelling."""
    known = timm.list_models()
    lower = name.lower()
    alike = difflib.get_close_matches(lower, known, _NEAREST, cutoff=0.5)
    longer = [each for each in known if each.startswith(lower)] if lower else []
    return list(dict.fromkeys([*longer, *alike]))[:_NEAREST] or known[:_NEAREST]


def _published(
    name: NetworkName, config: Any, num_classes: int | None, notify: Callable[[str], None]
) -> tuple[nn.Module, Weights]:
    if num_classes not in (None, config.num_classes):
        note = f"The published weights have {config.num_classes} classes, not {num_classes}."
        return _untrained(name, config, num_classes, note=note)
    if not config.hf_hub_id:
        return _untrained(name, config, num_classes, note=f"There are no weights of {name.source} on the hub.")
    try:
        path = hub.fetch(config.hf_hub_id, config.hf_hub_filename or DEFAULT_FILE, notify=notify)
    except hub.WrongHash:
        raise  # a changed file must not be replaced silently
    except BadInput as error:
        return _untrained(name, config, num_classes, note=error.cause)
    tagged = ".".join(filter(None, (config.architecture, config.tag)))
    source = WeightsSpec(WeightsKind.TIMM, f"timm:{tagged}")
    return _load(name, config, path, source=source, num_classes=num_classes)


def _fetch(source: WeightsSpec, notify: Callable[[str], None]) -> Path:
    """The file of weights that a user names."""
    if source.kind is WeightsKind.HUB:
        repo, filename = source.repository()
    elif source.kind is WeightsKind.TIMM:
        config = _config(source.name)
        repo, filename = config.hf_hub_id, config.hf_hub_filename or DEFAULT_FILE
    else:
        return Path(source.text)
    return hub.fetch_weights(repo, filename, notify=notify)


def _load(
    name: NetworkName, config: Any, path: Path, *, source: WeightsSpec, num_classes: int | None
) -> tuple[nn.Module, Weights]:
    with torch.device("meta"):
        expected = timm.create_model(name.source, pretrained=False).state_dict()
    state = read_state_dict(path, expected)
    check_numbers(state.state, state.source)
    classes = _classes(state.state, config)
    if num_classes not in (None, classes):
        raise BadInput(
            f"{state.source} has {classes} classes, not {num_classes}.",
            f"Ask for {classes} classes, or leave the number out.",
        )
    module = _with_state(name, state, classes)
    notes = [state.note] if state.note else []
    if source.kind is WeightsKind.TIMM and (licence := _config(source.name).license):
        notes.append(f"timm names their licence: {licence}.")
    is_remote = source.kind in (WeightsKind.HUB, WeightsKind.TIMM)
    return module, Weights(source.text if is_remote else weights_name(path), True, state.sha256, " ".join(notes))


def _classes(state: Mapping[str, Tensor], config: Any) -> int:
    """Rows of the classifier; timm's number where the checkpoint has another name for it."""
    classifiers = [config.classifier] if isinstance(config.classifier, str) else config.classifier or ()
    rows = [len(state[f"{each}.weight"]) for each in classifiers if f"{each}.weight" in state]
    return rows[0] if rows else int(config.num_classes)


def _with_state(name: NetworkName, state: StateDict, classes: int) -> nn.Module:
    """timm's network, loaded strictly, with as many classes as the file, so that every tensor of it is used."""
    overlay = {"state_dict": state.state, "num_classes": classes}
    try:
        module = timm.create_model(name.source, pretrained=True, num_classes=classes, pretrained_cfg_overlay=overlay)
    except (RuntimeError, KeyError, ValueError, AttributeError, TypeError) as error:  # from timm's own adaptation
        refuse_misfit(state.source, name.source, **_misfit(str(error)))
        raise BadInput(
            f"The weights in {state.source} do not fit {name.source}: {_first_lines(error)}.",
            "Give a complete state dict of the unmodified network.",
        ) from error
    module.pretrained_cfg.pop("state_dict", None)  # a second copy of every weight
    return _ready(module, name)


class _Misfit(TypedDict):
    missing: list[str]
    unexpected: list[str]
    differing: dict[str, tuple[list[int], list[int]]]


def _misfit(message: str) -> _Misfit:
    """The names that are missing, unexpected or of another shape, in the message of torch's ``load_state_dict``."""

    def listed(kind: str) -> list[str]:
        line = re.search(rf"{kind} key\(s\) in state_dict: (.*)", message)
        return re.findall(r'"([^"]*)"', line[1]) if line else []

    def sides(text: str) -> list[int]:
        return [int(side) for side in re.findall(r"\d+", text)]

    mismatches = re.findall(r"size mismatch for (\S+):.*?torch\.Size\((.*?)\).*?torch\.Size\((.*?)\)", message)
    return _Misfit(
        missing=listed("Missing"),
        unexpected=listed("Unexpected"),
        differing={name: (sides(expected), sides(actual)) for name, actual, expected in mismatches},
    )


def _untrained(
    name: NetworkName, config: Any, num_classes: int | None, *, seed: int = 0, note: str = ""
) -> tuple[nn.Module, Weights]:
    classes = num_classes or int(config.num_classes)
    module = timm.create_model(name.source, pretrained=False, num_classes=classes)
    _ready(module, name)
    _, height, width = config.input_size
    seed_weights(module, height, width, seed)
    return module, Weights(f"random:{seed}", False, state_sha256(module), note)


def _ready(module: nn.Module, name: NetworkName) -> nn.Module:
    if _num_classes(module) < MIN_CLASSES:
        raise BadInput(f"{name.source} is not a classifier.", "Give --num-classes with weights that have them.")
    return module.eval().requires_grad_(False)


def _num_classes(module: nn.Module) -> int:
    return int(cast("int", module.num_classes))


def _one_at_a_time(module: nn.Module) -> Callable[[Array], Mapping[str, Array]]:
    """A function from images to a module's outputs, computed one image at a time to bound the memory."""

    def compute(images: Array) -> Mapping[str, Array]:
        with torch.no_grad():
            return with_probabilities(torch.cat([module(torch.from_numpy(image[None])) for image in images]).numpy())

    return compute


def _first_lines(error: Exception) -> str:
    """The first two lines of an error; the second names the missing weights."""
    return " ".join(line.strip() for line in str(error).splitlines()[:2])[:300].rstrip(".")
