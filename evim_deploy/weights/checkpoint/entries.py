"""Find the weights of a network in the contents of a training file.

A training file holds a state dict in some entry, and its names have prefixes from the wrappers of the training script.
Both follow from the names of the network's own parameters: a location is an entry of the file and a prefix of the
names in it, and it fits where the rest of the names are the network's. Among several equally fitting locations the
averaged weights are chosen; several others are an error, unless they hold the same numbers.

Averages are stored by :class:`torch.optim.swa_utils.AveragedModel` (``n_averaged`` beside ``module.``), timm
(``state_dict_ema``), the EfficientViM authors (``model_ema``), BasicSR (``params_ema``), Lightning's WeightAveraging
(the average in ``state_dict``, the last weights in ``current_model_state``) and MMEngine's EMAHook (the average in
``state_dict``, the last weights in ``ema_state_dict``; its files have ``message_hub``).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from evim_deploy.weights.checkpoint.names import COUNTER, shorten
from evim_deploy.weights.checkpoint.safe_pickle import Inert, TensorRef
from evim_deploy.weights.checkpoint.torch_file import SAVE_STATE, Read, UnreadableError

ENTRIES = ("model_ema", "model", "state_dict_ema", "state_dict", "")
"""Entries to try where no names are the network's, in order: timm renames the weights of some authors."""

_DEPTH = 4
_WRAPPERS = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
"""Parts of names that wrappers add anywhere in them: torch.compile, FSDP, activation checkpointing."""

_DISTRIBUTED = "module."
_AVERAGED = {"ema", "swa", "avg", "average", "averaged", "polyak"}
_AVERAGES_IN_PLACE = {"averaging_state": "state_dict", "message_hub": "state_dict"}
"""By a marker entry, the entry that holds the average: Lightning's WeightAveraging, MMEngine."""

_COUNT = "n_averaged"
_TRAINING_PARTS = {"criterion", "criteria", "loss", "losses", "loss_fn", "loss_func", "metric", "metrics", _COUNT}
"""First parts of names that belong to training and never to a network."""


@dataclass(frozen=True, kw_only=True)
class StateLocation:
    """A part of a file that holds tensors by the names of a network.

    Attributes:
        entry: Keys on the way to the state dict, dotted; "" for the file itself.
        content: The state dict.
        prefix: Prefix of the names there.
        names: From a key of the state dict to the name of a parameter.
        matching: Number of names that are the network's.
        note: Its place in the file and how it was chosen, for users; "" for the file itself.
    """

    entry: str
    content: Mapping[str, object]
    prefix: str
    names: Mapping[str, str]
    matching: int = 0
    note: str = ""

    @property
    def state(self) -> dict[str, object]:
        """The values by the names of parameters."""
        return {name: self.content[key] for key, name in self.names.items()}

    @property
    def tensors(self) -> dict[str, Tensor | TensorRef]:
        """The tensors by the names of parameters."""
        return {name: value for name, value in self.state.items() if isinstance(value, Tensor | TensorRef)}

    def __str__(self) -> str:
        names = f"the names that begin with '{self.prefix}'" if self.prefix else ""
        return " of ".join(filter(None, (names, self.entry and f"the entry {self.entry}"))) or "the file itself"


def find_state(content: object, networks: Sequence[Collection[str]], read: Read) -> StateLocation:
    """The weights of a network in the content of a file.

    Args:
        content: Content of the file, its tensors described or real.
        networks: For each possible network, the names of its parameters and buffers.
        read: Reads a described tensor.

    Raises:
        UnreadableError: There is no state dict, or several fit and none of them is an average.
    """
    dicts = list(_dicts(content, "", _DEPTH, set()))
    if not dicts:
        raise UnreadableError(f"holds {_describe_content(content)}", SAVE_STATE)
    known = [{name for name in names if not name.endswith(COUNTER)} for names in networks]
    locations = [location for entry, state in dicts for location in _fitting(entry, state, known)]
    if not locations:
        return _by_entry(dicts)
    most = max(each.matching for each in locations)
    complete = [each for each in locations if each.matching == most]
    averages = [each for each in complete if _is_average(each, content, read)]
    candidates = averages or [each for each in complete if not _is_named_average(each)] or complete
    chosen, *others = candidates
    if any(not _is_same(chosen, other, read) for other in others):
        raise UnreadableError(
            f"holds the weights of the network {len(candidates)} times: {shorten([str(each) for each in candidates])}",
            "Save one of them alone with torch.save, and give that file.",
        )
    return replace(chosen, note=_note(chosen, chosen in averages, [each for each in locations if each is not chosen]))


def _dicts(content: object, entry: str, depth: int, seen: set[int]) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Each dict with tensors in a file, once, with its entry."""
    if not isinstance(content, dict | list | tuple) or not depth or id(content) in seen:
        return
    seen.add(id(content))
    if isinstance(content, dict) and any(isinstance(value, Tensor | TensorRef) for value in content.values()):
        yield entry, content
    for key, value in _items(content):
        yield from _dicts(value, f"{entry}.{key}".lstrip("."), depth - 1, seen)


def _items(content: dict[str, object] | Sequence[object]) -> Iterable[tuple[str | int, object]]:
    return content.items() if isinstance(content, dict) else enumerate(content)


def _describe_content(content: object) -> str:
    """A description of a file without tensors, for a message."""
    entries = []
    if isinstance(content, dict | list | tuple):
        entries = [str(key) for key, value in _items(content) if isinstance(value, Inert) or _is_of_objects(value)]
    if isinstance(content, Inert) or entries:
        under = f" under {shorten(entries)}" if entries else ""
        return f"no state dict, but pickled objects{under} (objects in a file are never unpickled)"
    return "no state dict"


def _is_of_objects(value: object) -> bool:
    """Whether it is a dict of foreign objects, arrays of NumPy among them."""
    return isinstance(value, dict) and any(isinstance(each, Inert) for each in value.values())


def _fitting(entry: str, state: Mapping[str, object], networks: Sequence[set[str]]) -> Iterator[StateLocation]:
    """The locations in a state dict, by prefix, with at least half of the names of some network."""
    known = set().union(*networks)
    names = {key: _without_wrappers(key) for key in state}
    matching: dict[str, set[str]] = defaultdict(set)
    for name in names.values():
        for start in [0, *(dot.end() for dot in re.finditer(r"\.", name))]:
            if name[start:] in known:
                matching[name[:start]].add(name[start:])
    fitting = [p for p, own in matching.items() if any(2 * len(own & net) >= len(net) for net in networks)]
    for prefix in fitting:
        inside = tuple(other for other in fitting if other != prefix and other.startswith(prefix))
        own = {
            key: name.removeprefix(prefix)
            for key, name in names.items()
            if name.startswith(prefix) and not name.startswith(inside)
        }
        names_here = {key: name for key, name in own.items() if name.partition(".")[0] not in _TRAINING_PARTS}
        yield StateLocation(
            entry=entry, content=state, prefix=prefix, names=_distinct(names_here), matching=len(matching[prefix])
        )


def _by_entry(dicts: Sequence[tuple[str, Mapping[str, object]]]) -> StateLocation:
    """The state dict with the most usual entry, for a file whose names are not the network's."""

    def rank(entry_and_state: tuple[str, Mapping[str, object]]) -> tuple[int, int]:
        entry, state = entry_and_state
        first = entry.partition(".")[0]
        return ENTRIES.index(first) if first in ENTRIES else len(ENTRIES), -len(state)

    entry, state = min(dicts, key=rank)
    names = {key: _without_wrappers(key) for key in state}
    while names and all(name.startswith(_DISTRIBUTED) for name in names.values()):
        names = {key: name.removeprefix(_DISTRIBUTED) for key, name in names.items()}
    return StateLocation(
        entry=entry,
        content=state,
        prefix="",
        names=_distinct(names),
        note=f"From the entry {entry} of the file." if entry else "",
    )


def _without_wrappers(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _distinct(names: Mapping[str, str]) -> Mapping[str, str]:
    twice = [name for name, count in Counter(names.values()).items() if count > 1]
    if twice:
        raise UnreadableError(f"holds {shorten(twice)} twice, under different prefixes", SAVE_STATE)
    return names


def _is_average(location: StateLocation, content: object, read: Read) -> bool:
    """Whether a location holds averaged weights: of at least one step, where the file counts them."""
    root = content if isinstance(content, dict) else {}
    marker = next((marker for marker in _AVERAGES_IN_PLACE if marker in root), None)
    if marker is not None:
        is_average, count = location.entry == _AVERAGES_IN_PLACE[marker], _count_in(root[marker])
    else:
        count = _count_in(location.content, location.prefix.removesuffix(_DISTRIBUTED))
        is_average = count is not None or _is_named_average(location)
    return is_average and (count is None or bool(read(count).any()))


def _count_in(content: object, prefix: str = "") -> Tensor | TensorRef | None:
    """The count of averaged steps, a tensor; None where there is none."""
    count = content.get(prefix + _COUNT) if isinstance(content, dict) else None
    return count if isinstance(count, Tensor | TensorRef) else None


def _is_named_average(location: StateLocation) -> bool:
    return not _AVERAGED.isdisjoint(re.split(r"[^a-z0-9]+", f"{location.entry}.{location.prefix}".lower()))


def _is_same(chosen: StateLocation, other: StateLocation, read: Read) -> bool:
    tensors, others = chosen.tensors, other.tensors
    return chosen.state.keys() == other.state.keys() and all(
        name in others and torch.equal(read(tensor), read(others[name])) for name, tensor in tensors.items()
    )


def _note(chosen: StateLocation, is_average: bool, others: Sequence[StateLocation]) -> str:
    """A note on the location of the weights, the reason of the choice, and the names that were left out."""
    sentences = []
    if chosen.entry or chosen.prefix:
        origin = f"the entry {chosen.entry} of the file" if chosen.entry else "the file"
        sentences.append(f"From {origin}" + (f", names that begin with '{chosen.prefix}'." if chosen.prefix else "."))
    if others:
        kind = "averaged" if is_average else "the most complete"
        sentences.append(f"These weights are {kind}; the file also holds {shorten([str(each) for each in others])}.")
    used = set(chosen.names).union(*(other.names for other in others if other.content is chosen.content))
    left = [key for key, value in chosen.content.items() if key not in used and isinstance(value, Tensor | TensorRef)]
    if left:
        sentences.append(f"Left out: {shorten(left)}.")
    return " ".join(sentences)
