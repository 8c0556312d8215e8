"""The assignment of cases to tables: one for each sweep, and one for each of the paper's settings.

A group, whose rounds were interleaved, is never split. Groups with the same subjects that differ only in the
resolution, the batch or the threads form a sweep. The remaining cases in the paper's settings share a table for each
setting, across files; every other group has a table of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from latency.enums import Outcome, SubjectKind
from latency.report import formatting
from latency.report.entries import ReportEntry
from latency.results import Case
from latency.settings import format_threads

AXES = ("resolution", "batch", "threads")
_TITLES = {"cpu": "CPU", "gpu": "GPU", "iphone": "Core ML"}
_OWN = "each at its own resolution"


@dataclass(frozen=True)
class Cluster:
    """The cases of a table.

    Attributes:
        entries: The cases in order.
        axis: The property that a sweep varies, one of :data:`AXES`; empty if it is not a sweep.
    """

    entries: tuple[ReportEntry, ...]
    axis: str

    @property
    def setting(self) -> str:
        """The paper's setting, or the device."""
        return self.entries[0].setting

    @property
    def title(self) -> str:
        """A heading from the common properties."""
        facts = _axis_values(self.entries)
        batch, threads = facts["batch"], facts["threads"]
        parts = [
            _TITLES.get(self.setting, self.setting),
            _OWN if len(facts["resolution"]) > 1 and self.axis != "resolution" else _span(facts["resolution"]),
            f"batch {_span(batch)}",
            f"{_span(threads)} thread{'' if threads == [1] else 's'}" if self.entries[0].threads else "",
        ]
        return ", ".join(filter(None, parts))

    @property
    def groups(self) -> list[list[ReportEntry]]:
        """The entries by group."""
        return [list(group) for _, group in groupby(self.entries, lambda e: (e.file, e.case.group))]

    def varying(self) -> list[str]:
        """The columns whose values differ between entries; the caption states the others."""
        columns: dict[str, set[Hashable]] = {
            "machine": {e.machine for e in self.entries if e.measured},
            "engine": {e.case.engine for e in self.entries},
            "mode": {e.case.mode for e in self.entries},
            "precision": {e.case.precision for e in self.entries},
            "resolution": {(e.case.height, e.case.width) for e in self.entries},
            "threads": {e.case.threads for e in self.entries},
            "batch": {(e.case.batch, e.case.batch_asked) for e in self.entries},
        }
        return [key for key, values in columns.items() if len(values) > 1]

    def label(self, c: Case) -> str:
        """A name that identifies a case in its group."""
        varying = set(self.varying())
        if len({other.case.mode for other in self.entries} - {None}) < 2:
            varying.discard("mode")  # the other engines have no mode
        facts = {"engine": c.engine, "mode": c.mode, "precision": c.precision}
        return " ".join(filter(None, (c.subject.name, *(facts[key] for key in facts if key in varying))))

    def caption(self) -> str:
        """A caption with the conditions that all entries share."""
        first = next((entry for entry in self.entries if entry.measured), self.entries[0])
        c, varying = first.case, self.varying()
        facts = {
            "machine": f"On {first.machine}" if first.measured else "",
            "engine": f"{c.engine} {c.engine_version}".strip(),
            "mode": c.mode or "",
            "precision": c.precision,
            "resolution": f"{formatting.size(c.height, c.width)} pixels",
            "threads": format_threads(c.threads),
            "batch": f"batch {c.batch_asked}",
        }
        if first.threads is None:
            del facts["threads"]
        return ", ".join(text for key, text in facts.items() if text and key not in varying)


def clusters(entries: Sequence[ReportEntry]) -> list[Cluster]:
    """Assign cases to tables, in the order of their first case. Mixers are left out."""
    remaining: dict[Hashable, list[ReportEntry]] = {}
    for entry in entries:
        if entry.case.subject.kind != SubjectKind.MIXER:
            remaining.setdefault((entry.setting, entry.case.group), []).append(entry)
    result = []
    while sweeps := [(axis, keys) for axis in AXES for keys in _sweeps(remaining, axis)]:
        axis, keys = max(sweeps, key=lambda sweep: len(sweep[1]))
        members = [entry for key in keys for entry in remaining.pop(key)]
        result.append(Cluster(tuple(_by_group(members, axis)), axis))
    by_setting: dict[Hashable, list[ReportEntry]] = {}
    for key, members in remaining.items():
        as_paper = any(entry.case.setting for entry in members)
        by_setting.setdefault(members[0].setting if as_paper else key, []).extend(members)
    result += [Cluster(tuple(_supersede(members)), "") for members in by_setting.values()]
    return sorted(result, key=lambda cluster: min(entries.index(entry) for entry in cluster.entries))


def _sweeps(groups: dict[Hashable, list[ReportEntry]], axis: str) -> Iterable[list[Hashable]]:
    similar: dict[Hashable, dict[Hashable, Hashable]] = {}
    for key, members in groups.items():
        facts = _axis_values(members)
        if len(facts[axis]) == 1:
            others = tuple(tuple(facts[other]) for other in AXES if other != axis)
            similar.setdefault((members[0].setting, others, frozenset(map(_configuration, members))), {}).setdefault(
                facts[axis][0], key
            )
    return [list(keys.values()) for keys in similar.values() if len(keys) > 1]


def _configuration(entry: ReportEntry) -> Hashable:
    c = entry.case
    return c.subject.name, c.engine, c.precision, c.mode


def _by_group(members: list[ReportEntry], axis: str) -> list[ReportEntry]:
    """Sort by file and along the axis; the order within a group is preserved."""
    return sorted(members, key=lambda entry: (entry.file, *_rank(_AXIS_VALUES[axis](entry))))


def _rank(value: Hashable) -> tuple[int, int]:
    """A sort key: numbers first, and a number of threads that the engine chose last."""
    if isinstance(value, tuple):
        return 0, value[0] * value[1]
    return (0, value) if isinstance(value, int) else (1, 0)


def _supersede(members: list[ReportEntry]) -> list[ReportEntry]:
    """Drop the cases that one host could not run if another file has measured them."""
    measured = {entry.case.subject.name for entry in members if entry.measured}
    return [e for e in members if e.case.outcome != Outcome.NOT_RUN or e.case.subject.name not in measured]


_AXIS_VALUES: dict[str, Callable[[ReportEntry], Hashable]] = {
    "resolution": lambda entry: (entry.case.height, entry.case.width),
    "batch": lambda entry: entry.case.batch_asked,
    "threads": lambda entry: entry.case.threads,
}


def _axis_values(entries: Iterable[ReportEntry]) -> dict[str, list[Hashable]]:
    """The sorted values of each axis."""
    members = list(entries)
    return {axis: sorted({value(entry) for entry in members}, key=_rank) for axis, value in _AXIS_VALUES.items()}


def _span(values: Sequence[Hashable]) -> str:
    ends = [_format_value(values[0])] if len(values) == 1 else [_format_value(values[0]), _format_value(values[-1])]
    return " to ".join(ends)


def _format_value(value: Hashable) -> str:
    if isinstance(value, tuple):
        return formatting.size(*value)
    return "all" if value is None else str(value)
