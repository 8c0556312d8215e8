"""Which contenders stand in one table: those of a setting, and those that differ in one thing alone.

A group, whose rounds were taken together, is never torn apart. Groups of the same subjects that differ in
the resolution, the batch or the threads alone are a sweep. What else was timed as the paper did is
together by the paper's setting, whatever file it is from; every other group is by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from latency.report import words
from latency.report.entries import Entry
from latency.results import Contender
from latency.settings import thread_words

AXES = ("resolution", "batch", "threads")
_TITLES = {"cpu": "CPU", "gpu": "GPU", "iphone": "Core ML"}
_OWN = "each at its own resolution"


@dataclass(frozen=True)
class Cluster:
    """The contenders of one table.

    Attributes:
        axis: What its groups differ in; empty if it is no sweep.
    """

    entries: tuple[Entry, ...]
    axis: str

    @property
    def place(self) -> str:
        """The paper's setting, or the device."""
        return self.entries[0].place

    @property
    def title(self) -> str:
        """What all have in common, for a heading."""
        facts = _facts(self.entries)
        batch, threads = facts["batch"], facts["threads"]
        parts = [
            _TITLES.get(self.place, self.place),
            _OWN if len(facts["resolution"]) > 1 and self.axis != "resolution" else _span(facts["resolution"]),
            f"batch {_span(batch)}",
            f"{_span(threads)} thread{'' if threads == [1] else 's'}" if self.entries[0].threads else "",
        ]
        return ", ".join(filter(None, parts))

    @property
    def groups(self) -> list[list[Entry]]:
        """Its entries by what was timed together."""
        return [list(found) for _, found in groupby(self.entries, lambda e: (e.file, e.contender.group))]

    def varying(self) -> list[str]:
        """The columns that tell its entries apart, of those that a caption can hold for all."""
        known: dict[str, set[Hashable]] = {
            "machine": {e.machine for e in self.entries if e.measured},
            "engine": {e.contender.engine for e in self.entries},
            "mode": {e.contender.mode for e in self.entries},
            "precision": {e.contender.precision for e in self.entries},
            "resolution": {(e.contender.height, e.contender.width) for e in self.entries},
            "threads": {e.contender.threads for e in self.entries},
            "batch": {(e.contender.batch, e.contender.batch_asked) for e in self.entries},
        }
        return [key for key, values in known.items() if len(values) > 1]

    def label(self, c: Contender) -> str:
        """A name that tells a contender from others of its group."""
        varying = set(self.varying())
        if len({other.contender.mode for other in self.entries} - {None}) < 2:
            varying.discard("mode")  # the other engines have none
        facts = {"engine": c.engine, "mode": c.mode, "precision": c.precision}
        return " ".join(filter(None, (c.subject.name, *(facts[key] for key in facts if key in varying))))

    def caption(self) -> str:
        """What all its figures were taken on and under."""
        first = next((entry for entry in self.entries if entry.measured), self.entries[0])
        c, varying = first.contender, self.varying()
        facts = {
            "machine": f"On {first.machine}" if first.measured else "",
            "engine": f"{c.engine} {c.engine_version}".strip(),
            "mode": c.mode or "",
            "precision": c.precision,
            "resolution": f"{words.size(c.height, c.width)} pixels",
            "threads": thread_words(c.threads),
            "batch": f"batch {c.batch_asked}",
        }
        if first.threads is None:
            del facts["threads"]
        return ", ".join(text for key, text in facts.items() if text and key not in varying)


def clusters(entries: Sequence[Entry]) -> list[Cluster]:
    """The tables' contenders, in the order in which they first come; mixers are not among them."""
    left: dict[Hashable, list[Entry]] = {}
    for entry in entries:
        if entry.contender.subject.kind != "mixer":
            left.setdefault((entry.place, entry.contender.group), []).append(entry)
    found = []
    while sweeps := [(axis, keys) for axis in AXES for keys in _sweeps(left, axis)]:
        axis, keys = max(sweeps, key=lambda sweep: len(sweep[1]))
        members = [entry for key in keys for entry in left.pop(key)]
        found.append(Cluster(tuple(_by_group(members, axis)), axis))
    together: dict[Hashable, list[Entry]] = {}
    for key, members in left.items():
        as_paper = any(entry.contender.setting for entry in members)
        together.setdefault(members[0].place if as_paper else key, []).extend(members)
    found += [Cluster(tuple(_supersede(members)), "") for members in together.values()]
    return sorted(found, key=lambda cluster: min(entries.index(entry) for entry in cluster.entries))


def _sweeps(groups: dict[Hashable, list[Entry]], axis: str) -> Iterable[list[Hashable]]:
    alike: dict[Hashable, dict[Hashable, Hashable]] = {}
    for key, members in groups.items():
        facts = _facts(members)
        if len(facts[axis]) == 1:
            others = tuple(tuple(facts[other]) for other in AXES if other != axis)
            alike.setdefault((members[0].place, others, frozenset(map(_what, members))), {}).setdefault(
                facts[axis][0], key
            )
    return [list(keys.values()) for keys in alike.values() if len(keys) > 1]


def _what(entry: Entry) -> Hashable:
    c = entry.contender
    return c.subject.name, c.engine, c.precision, c.mode


def _by_group(members: list[Entry], axis: str) -> list[Entry]:
    """File by file along the axis, the order within a group kept."""
    return sorted(members, key=lambda entry: (entry.file, *_rank(_FACTS[axis](entry))))


def _rank(value: Hashable) -> tuple[int, int]:
    """Numbers first; a number of threads that the engine chose comes last."""
    if isinstance(value, tuple):
        return 0, value[0] * value[1]
    return (0, value) if isinstance(value, int) else (1, 0)


def _supersede(members: list[Entry]) -> list[Entry]:
    """Without what could not be run on one host where another file has it measured."""
    measured = {entry.contender.subject.name for entry in members if entry.measured}
    absent = "not run on this host"
    return [e for e in members if e.contender.outcome != absent or e.contender.subject.name not in measured]


_FACTS: dict[str, Callable[[Entry], Hashable]] = {
    "resolution": lambda entry: (entry.contender.height, entry.contender.width),
    "batch": lambda entry: entry.contender.batch_asked,
    "threads": lambda entry: entry.contender.threads,
}


def _facts(entries: Iterable[Entry]) -> dict[str, list[Hashable]]:
    """The values of each axis, in order."""
    members = list(entries)
    return {axis: sorted({tell(entry) for entry in members}, key=_rank) for axis, tell in _FACTS.items()}


def _span(values: Sequence[Hashable]) -> str:
    ends = [_said(values[0])] if len(values) == 1 else [_said(values[0]), _said(values[-1])]
    return " to ".join(ends)


def _said(value: Hashable) -> str:
    if isinstance(value, tuple):
        return words.size(*value)
    return "all" if value is None else str(value)
