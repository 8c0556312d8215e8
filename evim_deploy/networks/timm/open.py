"""Networks of timm: found by their names, with published, given or seeded weights.

A file's weights go through timm's own adaptation, which renames what older checkpoints call otherwise, but are read
by :mod:`evim_deploy.networks.efficientvim.checkpoint`: nothing in a file is ever run.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

import timm
import torch
from timm.data import create_transform, resolve_data_config
from torch import Tensor, nn

from evim_deploy.artifact.target import Weights
from evim_deploy.catalog.network_name import NetworkName
from evim_deploy.catalog.terms import SourceScheme
from evim_deploy.catalog.variants import MIN_CLASSES
from evim_deploy.common.errors import BadInput, UsageProblem
from evim_deploy.common.numerics import with_probabilities
from evim_deploy.images.preprocessing import CropMode, Interpolation, Preprocessing
from evim_deploy.images.published_transform import Transform
from evim_deploy.networks.efficientvim.weights import parse_seed, state_sha256
from evim_deploy.networks.protocols import Array
from evim_deploy.networks.torch_module.loaded import LoadedModel
from evim_deploy.networks.torch_module.seeding import seed_weights
from evim_deploy.weights import hub
from evim_deploy.weights.checkpoint.reading import StateDict, check_numbers, read_state_dict, refuse_misfit
from evim_deploy.weights.shards import weights_name

_NEAREST = 5
_CHANNELS = 3


def find_timm(name: str) -> NetworkName:
    """A network of timm by its name there, with or without a tag.

    Raises:
        UsageProblem: timm has none of that name; the message has the nearest.
        BadInput: It is no classifier of RGB images.
    """
    config = _config(name)
    channels, height, width = config.input_size
    if channels != _CHANNELS:
        raise BadInput(f"{name} takes images of {channels} channels.", "Name a network of RGB images.")
    return NetworkName(scheme=SourceScheme.TIMM, source=name, size=(height, width), fixed=bool(config.fixed_input_size))


def open_timm(
    name: NetworkName, spec: str | None, num_classes: int | None, notify: Callable[[str], None]
) -> LoadedModel:
    """A network of timm with the weights that a user asks for.

    Args:
        name: As :func:`find_timm` gives it.
        spec: PATH, ``hf:OWNER/NAME[/FILE]``, ``timm:NAME`` or ``random[:SEED]``. None takes the published weights,
            and where they cannot be had, untrained ones of seed 0; a note says why.
        num_classes: None takes what the weights have, or what timm says that the published ones have.
        notify: Told in one line of what takes time.

    Raises:
        BadInput: The weights that were asked for cannot be had, or do not fit the network.
    """
    config = _config(name.source)
    if spec is None:
        module, weights = _published(name, config, num_classes, notify)
    elif spec.partition(":")[0] == "random":
        module, weights = _untrained(name, config, num_classes, parse_seed(spec), "")
    else:
        module, weights = _load(name, config, *_find(spec, notify), num_classes)
    # weights of another tag are evaluated in its way
    evaluated = _config(spec.removeprefix("timm:")) if spec and spec.startswith("timm:") else config
    preprocessing = _preprocessing(name, evaluated)
    transform = partial(_published_transform, evaluated)
    return LoadedModel(
        original=_computing(module),
        module=module,
        preprocessing=preprocessing,
        num_classes=_num_classes(module),
        weights=weights,
        transform=transform,
    )


def _data_config(config: Any, height: int, width: int) -> dict[str, Any]:
    """timm's own reading of how a network is evaluated, for images of a size."""
    found: dict[str, Any] = resolve_data_config({"input_size": (_CHANNELS, height, width)}, config.to_dict())
    return found


def _preprocessing(name: NetworkName, config: Any) -> Preprocessing:
    """What a manifest says of it.

    Raises:
        BadInput: A manifest has no words for it.
    """
    found = _data_config(config, *name.size)
    for what, known in (("interpolation", tuple(Interpolation)), ("crop_mode", tuple(CropMode))):
        if found[what] not in known:
            raise BadInput(
                f"timm evaluates {name.source} with the {what} {found[what]!r}, which a manifest cannot express.",
                f"Name a network that is evaluated with one of {', '.join(known)}.",
            )
    mean, std = tuple(found["mean"]), tuple(found["std"])
    if len(mean) != _CHANNELS or len(std) != _CHANNELS:
        raise BadInput(
            f"timm normalises the images of {name.source} by {len(mean)} means and {len(std)} standard deviations.",
            "Name a network of RGB images.",
        )
    return Preprocessing(
        mean=mean,
        std=std,
        crop_fraction=found["crop_pct"],
        interpolation=found["interpolation"],
        crop_mode=found["crop_mode"],
    )


def _published_transform(config: Any, height: int, width: int) -> Transform:
    """timm's own transform."""
    transform = create_transform(**_data_config(config, height, width))
    return lambda image: transform(image).numpy()


def _config(name: str) -> Any:
    """timm's own of a network, which depends on the tag of its weights."""
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
    """Names that begin alike, then those that are spelled alike."""
    known = timm.list_models()
    lower = name.lower()
    alike = difflib.get_close_matches(lower, known, _NEAREST, cutoff=0.5)
    begins = [each for each in known if each.startswith(lower)] if lower else []
    return list(dict.fromkeys([*begins, *alike]))[:_NEAREST] or known[:_NEAREST]


def _published(
    name: NetworkName, config: Any, num_classes: int | None, notify: Callable[[str], None]
) -> tuple[nn.Module, Weights]:
    if num_classes not in (None, config.num_classes):
        note = f"The published weights have {config.num_classes} classes, not {num_classes}."
        return _untrained(name, config, num_classes, 0, note)
    if not config.hf_hub_id:
        return _untrained(name, config, num_classes, 0, f"There are no weights of {name.source} on the hub.")
    try:
        path = hub.fetch(config.hf_hub_id, config.hf_hub_filename or hub.DEFAULT_FILE, notify=notify)
    except hub.WrongHash:
        raise  # a file that someone changed is no reason to go on without it
    except BadInput as error:
        return _untrained(name, config, num_classes, 0, error.cause)
    tagged = ".".join(filter(None, (config.architecture, config.tag)))
    return _load(name, config, path, f"timm:{tagged}", num_classes)


def _find(spec: str, notify: Callable[[str], None]) -> tuple[Path, str | None]:
    """The file that a user names, and where it comes from; None for a file of the user's own."""
    if not spec.startswith(("hf:", "timm:")):
        return Path(spec), None
    if spec.startswith("timm:"):
        config = _config(spec.removeprefix("timm:"))
        repo, filename = config.hf_hub_id, config.hf_hub_filename or hub.DEFAULT_FILE
    else:
        repo, filename = hub.parse_source(spec)
    return hub.fetch_weights(repo, filename, notify=notify), spec


def _load(
    name: NetworkName, config: Any, path: Path, source: str | None, num_classes: int | None
) -> tuple[nn.Module, Weights]:
    with torch.device("meta"):
        expected = timm.create_model(name.source, pretrained=False).state_dict()
    found = read_state_dict(path, expected)
    check_numbers(found.state, found.source)
    classes = _classes(found.state, config)
    if num_classes not in (None, classes):
        raise BadInput(
            f"{found.source} has {classes} classes, not {num_classes}.",
            f"Ask for {classes} classes, or leave the number out.",
        )
    module = _with_state(name, found, classes)
    notes = [found.note] if found.note else []
    if source and source.startswith("timm:") and (licence := _config(source.removeprefix("timm:")).license):
        notes.append(f"timm names their licence: {licence}.")
    return module, Weights(source or weights_name(path), True, found.sha256, " ".join(notes))


def _classes(state: Mapping[str, Tensor], config: Any) -> int:
    """Rows of the classifier; as many as timm says where a checkpoint calls it otherwise."""
    classifiers = [config.classifier] if isinstance(config.classifier, str) else config.classifier or ()
    rows = [len(state[f"{each}.weight"]) for each in classifiers if f"{each}.weight" in state]
    return rows[0] if rows else int(config.num_classes)


def _with_state(name: NetworkName, found: StateDict, classes: int) -> nn.Module:
    """timm's network, loaded strictly: as many classes as the file has, so that none of its tensors is left out."""
    overlay = {"state_dict": found.state, "num_classes": classes}
    try:
        module = timm.create_model(name.source, pretrained=True, num_classes=classes, pretrained_cfg_overlay=overlay)
    except (RuntimeError, KeyError, ValueError, AttributeError, TypeError) as error:  # of timm's own adaptation
        refuse_misfit(found.source, name.source, *_misfit(str(error)))
        raise BadInput(
            f"The weights in {found.source} do not fit {name.source}: {_told(error)}.",
            "Give a complete state dict of the unmodified network.",
        ) from error
    module.pretrained_cfg.pop("state_dict", None)  # or it would hold every weight twice
    return _ready(module, name)


def _misfit(message: str) -> tuple[list[str], list[str], dict[str, tuple[list[int], list[int]]]]:
    """What is missing, unexpected, and of another shape (expected, found), as torch's ``load_state_dict`` tells it."""

    def listed(kind: str) -> list[str]:
        line = re.search(rf"{kind} key\(s\) in state_dict: (.*)", message)
        return re.findall(r'"([^"]*)"', line[1]) if line else []

    def sides(text: str) -> list[int]:
        return [int(side) for side in re.findall(r"\d+", text)]

    mismatches = re.findall(r"size mismatch for (\S+):.*?torch\.Size\((.*?)\).*?torch\.Size\((.*?)\)", message)
    return listed("Missing"), listed("Unexpected"), {name: (sides(own), sides(is_)) for name, is_, own in mismatches}


def _untrained(
    name: NetworkName, config: Any, num_classes: int | None, seed: int, note: str
) -> tuple[nn.Module, Weights]:
    classes = num_classes or int(config.num_classes)
    module = timm.create_model(name.source, pretrained=False, num_classes=classes)
    _ready(module, name)
    _, height, width = config.input_size
    seed_weights(module, height, width, seed)
    return module, Weights(f"random:{seed}", False, state_sha256(module), note)


def _ready(module: nn.Module, name: NetworkName) -> nn.Module:
    if _num_classes(module) < MIN_CLASSES:
        raise BadInput(f"{name.source} is no classifier.", "Give --num-classes with weights that have them.")
    return module.eval().requires_grad_(False)


def _num_classes(module: nn.Module) -> int:
    return int(cast("int", module.num_classes))


def _computing(module: nn.Module) -> Callable[[Array], Mapping[str, Array]]:
    """What a module computes, one image at a time, which bounds the memory."""

    def compute(images: Array) -> Mapping[str, Array]:
        with torch.no_grad():
            return with_probabilities(torch.cat([module(torch.from_numpy(image[None])) for image in images]).numpy())

    return compute


def _told(error: Exception) -> str:
    """The first two lines of an error, the second of which says what is missing."""
    return " ".join(line.strip() for line in str(error).splitlines()[:2])[:300].rstrip(".")
