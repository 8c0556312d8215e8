"""Find the weights of a network among everything that a training file holds.

A training file holds a state dict somewhere, under names that begin with whatever the training script wrapped the
network in. Both are found by the names of the network's own parameters: a place is an entry of the file and a prefix
of the names in it, and it fits where the rest of the names are the network's. Of several places that fit equally the
averaged weights are taken; several others are refused, unless they hold the same numbers.

Who keeps an average where: :class:`torch.optim.swa_utils.AveragedModel` (``n_averaged`` beside ``module.``), timm
(``state_dict_ema``), the EfficientViM authors (``model_ema``), BasicSR (``params_ema``), Lightning's WeightAveraging
(the average in ``state_dict``, the last weights in ``current_model_state``) and MMEngine's EMAHook (the average in
``state_dict``, the last weights in ``ema_state_dict``; its files have ``message_hub``).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from evim_deploy.weights.checkpoint.names import COUNTER, shorten
from evim_deploy.weights.checkpoint.safe_pickle import Inert, TensorRef
from evim_deploy.weights.checkpoint.torch_file import SAVE_STATE, UnreadableError

ENTRIES = ("model_ema", "model", "state_dict_ema", "state_dict", "")
"""Where to look where no names are the network's: timm renames what some authors call otherwise."""

_DEPTH = 4
_PASSED_OVER = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
"""Parts of names that wrappers add anywhere in them: torch.compile, FSDP, activation checkpointing."""

_DISTRIBUTED = "module."
_AVERAGED = {"ema", "swa", "avg", "average", "averaged", "polyak"}
_AVERAGES_IN_PLACE = {"averaging_state": "state_dict", "message_hub": "state_dict"}
"""An entry that tells that another one holds the average: Lightning's WeightAveraging, MMEngine."""

_COUNT = "n_averaged"
_BESIDE = {"criterion", "criteria", "loss", "losses", "loss_fn", "loss_func", "metric", "metrics", _COUNT}
"""First parts of names that training keeps beside a network and that no network has."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A part of a file that holds tensors by the names of a network.

    Attributes:
        entry: Keys on the way to the state dict, dotted; "" for the file itself.
        content: The state dict.
        prefix: Of the names there; "" for none.
        names: From a key of the state dict to the name of a parameter.
        matching: How many of the names are the network's.
        note: Where it is and how it was chosen, for people; "" for the file itself.
    """

    entry: str
    content: Mapping[str, Any]
    prefix: str
    names: Mapping[str, str]
    matching: int = 0
    note: str = ""

    @property
    def state(self) -> dict[str, Any]:
        """What it holds, by the names of parameters."""
        return {name: self.content[key] for key, name in self.names.items()}

    def __str__(self) -> str:
        names = f"the names that begin with '{self.prefix}'" if self.prefix else ""
        return " of ".join(filter(None, (names, self.entry and f"the entry {self.entry}"))) or "the file itself"


def find_state(content: Any, networks: Sequence[Collection[str]], read: Callable[[Any], Tensor]) -> Place:
    """The weights of a network in the content of a file.

    Args:
        content: As the file was read, with its tensors described or real.
        networks: For each network that it may be, the names of its parameters and buffers.
        read: From a described tensor to a real one.

    Raises:
        UnreadableError: There is no state dict, or there are several that fit, none of them an average.
    """
    dicts = list(_dicts(content, "", _DEPTH, set()))
    if not dicts:
        raise UnreadableError(f"holds {_instead(content)}", SAVE_STATE)
    known = [{name for name in names if not name.endswith(COUNTER)} for names in networks]
    places = [place for entry, state in dicts for place in _fitting(entry, state, known)]
    if not places:
        return _by_entry(dicts)
    most = max(place.matching for place in places)
    complete = [place for place in places if place.matching == most]
    averages = [place for place in complete if _is_average(place, content, read)]
    candidates = averages or [place for place in complete if not _is_named_average(place)] or complete
    chosen, *others = candidates
    if any(not _is_same(chosen, other, read) for other in others):
        raise UnreadableError(
            f"holds the weights of the network {len(candidates)} times: {shorten([str(each) for each in candidates])}",
            "Save one of them alone with torch.save, and give that file.",
        )
    return replace(chosen, note=_note(chosen, chosen in averages, [each for each in places if each is not chosen]))


def _dicts(content: Any, entry: str, depth: int, seen: set[int]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each dict in a file that holds tensors itself, with its entry; one that is in several places once."""
    if not isinstance(content, dict | list | tuple) or not depth or id(content) in seen:
        return
    seen.add(id(content))
    if isinstance(content, dict) and any(isinstance(value, Tensor | TensorRef) for value in content.values()):
        yield entry, content
    for key, value in _items(content):
        yield from _dicts(value, f"{entry}.{key}".lstrip("."), depth - 1, seen)


def _items(content: Any) -> Iterable[tuple[Any, Any]]:
    return content.items() if isinstance(content, dict) else enumerate(content)


def _instead(content: Any) -> str:
    """What a file holds that holds no tensors."""
    entries = []
    if isinstance(content, dict | list | tuple):
        entries = [str(key) for key, value in _items(content) if isinstance(value, Inert) or _is_of_objects(value)]
    if isinstance(content, Inert) or entries:
        where = f" under {shorten(entries)}" if entries else ""
        return f"no state dict, but pickled objects{where} (no object of a file is brought to life)"
    return "no state dict"


def _is_of_objects(value: Any) -> bool:
    """Whether it is a dict of foreign objects, arrays of NumPy among them."""
    return isinstance(value, dict) and any(isinstance(each, Inert) for each in value.values())


def _fitting(entry: str, state: Mapping[str, Any], networks: Sequence[set[str]]) -> Iterator[Place]:
    """The prefixes under which a state dict has at least half of the names of some network."""
    known = set().union(*networks)
    names = {key: _without_wrappers(key) for key in state}
    found: dict[str, set[str]] = defaultdict(set)
    for name in names.values():
        for start in [0, *(dot.end() for dot in re.finditer(r"\.", name))]:
            if name[start:] in known:
                found[name[:start]].add(name[start:])
    fitting = [p for p, matching in found.items() if any(2 * len(matching & net) >= len(net) for net in networks)]
    for prefix in fitting:
        inside = tuple(other for other in fitting if other != prefix and other.startswith(prefix))
        own = {
            key: name.removeprefix(prefix)
            for key, name in names.items()
            if name.startswith(prefix) and not name.startswith(inside)
        }
        kept = {key: name for key, name in own.items() if name.partition(".")[0] not in _BESIDE}
        yield Place(entry=entry, content=state, prefix=prefix, names=_distinct(kept), matching=len(found[prefix]))


def _by_entry(dicts: Sequence[tuple[str, Mapping[str, Any]]]) -> Place:
    """The state dict with the most usual name, of a file whose names are not the network's."""

    def rank(found: tuple[str, Mapping[str, Any]]) -> tuple[int, int]:
        entry, state = found
        first = entry.partition(".")[0]
        return ENTRIES.index(first) if first in ENTRIES else len(ENTRIES), -len(state)

    entry, state = min(dicts, key=rank)
    names = {key: _without_wrappers(key) for key in state}
    while names and all(name.startswith(_DISTRIBUTED) for name in names.values()):
        names = {key: name.removeprefix(_DISTRIBUTED) for key, name in names.items()}
    return Place(
        entry=entry,
        content=state,
        prefix="",
        names=_distinct(names),
        note=f"From the entry {entry} of the file." if entry else "",
    )


def _without_wrappers(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _PASSED_OVER)


def _distinct(names: Mapping[str, str]) -> Mapping[str, str]:
    twice = [name for name, count in Counter(names.values()).items() if count > 1]
    if twice:
        raise UnreadableError(f"holds {shorten(twice)} twice, under different prefixes", SAVE_STATE)
    return names


def _is_average(place: Place, content: Mapping[str, Any], read: Callable[[Any], Tensor]) -> bool:
    """Whether a place holds averaged weights: of at least one step, where the file counts them."""
    marker = next((marker for marker in _AVERAGES_IN_PLACE if marker in content), None)
    if marker is not None:
        is_average, count = place.entry == _AVERAGES_IN_PLACE[marker], _count_in(content[marker])
    else:
        count = _count_in(place.content, place.prefix.removesuffix(_DISTRIBUTED))
        is_average = count is not None or _is_named_average(place)
    return is_average and (count is None or bool(read(count).any()))


def _count_in(content: Any, prefix: str = "") -> Any:
    """The tensor that counts what was averaged; None where there is none."""
    count = content.get(prefix + _COUNT) if isinstance(content, dict) else None
    return count if isinstance(count, Tensor | TensorRef) else None


def _is_named_average(place: Place) -> bool:
    return not _AVERAGED.isdisjoint(re.split(r"[^a-z0-9]+", f"{place.entry}.{place.prefix}".lower()))


def _is_same(one: Place, other: Place, read: Callable[[Any], Tensor]) -> bool:
    ours, theirs = one.state, other.state
    return ours.keys() == theirs.keys() and all(
        torch.equal(read(value), read(theirs[name]))
        for name, value in ours.items()
        if isinstance(value, Tensor | TensorRef)
    )


def _note(chosen: Place, is_average: bool, others: Sequence[Place]) -> str:
    """Where the weights are, how they were chosen, and what was left out."""
    sentences = []
    if chosen.entry or chosen.prefix:
        where = f"the entry {chosen.entry} of the file" if chosen.entry else "the file"
        sentences.append(f"From {where}" + (f", names that begin with '{chosen.prefix}'." if chosen.prefix else "."))
    if others:
        kind = "averaged" if is_average else "the most complete"
        sentences.append(f"These weights are {kind}; the file also holds {shorten([str(each) for each in others])}.")
    used = set(chosen.names).union(*(other.names for other in others if other.content is chosen.content))
    left = [key for key, value in chosen.content.items() if key not in used and isinstance(value, Tensor | TensorRef)]
    if left:
        sentences.append(f"Left out: {shorten(left)}.")
    return " ".join(sentences)
