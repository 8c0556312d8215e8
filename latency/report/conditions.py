"""What the figures were taken on and under: machines, protocol, noise."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from itertools import groupby

from latency.judgement import Group, groups, noise_in_words, seconds_per_image
from latency.report import words
from latency.report.columns import NOTHING, figure, text
from latency.report.view import Cell, Column, Row, Section, Table, without_empty
from latency.results import Protocol, Reading, Results

_PROTOCOLS = {
    "robust": "contenders interleaved round by round in a random order, with a control and a yardstick",
    "paper": "each contender by itself, as the published scripts of SHViT and EfficientViT time, without two faults "
    "of theirs: a BatchNorm that has no method to fuse it is folded instead of dropped, and so are those of networks "
    "that timm has no hook to reparameterise",
    "modelbench": "as Apple's ModelBench, with compute units interleaved and a control: the model is loaded anew for "
    "each round, whose first prediction and 10 lowest and highest samples do not count; the time is the mean of the "
    "rounds' means",
    "sustained": "each contender by itself, one prediction after another without a pause: what heat does",
}
_OTHER_PROTOCOL = "as the program that wrote the file times"


def section(files: Sequence[Results]) -> Section:
    """The machines in words, and how quiet they were, group by group."""
    told = tuple(line for number, results in enumerate(files, 1) for line in _in_words(results, number, len(files)))
    return Section("conditions", "Conditions", told, tuple(_noise(results) for results in files))


def _in_words(results: Results, number: int, count: int) -> list[str]:
    host = results.host
    parts = [
        host.machine,
        f"{host.processor} with {host.cores} logical core{'s' * (host.cores != 1)} to use",
        f"{words.memory(host.memory_bytes)} of memory" if host.memory_bytes else "",
        host.accelerator or "no accelerator",
        host.system,
    ]
    which = f"File {number}: " if count > 1 else ""
    lines = [
        f"{which}{', '.join(filter(None, parts))}.",
        f"Timed on {results.created:%Y-%m-%d at %H:%M %Z} by {results.tool}.",
    ]
    if results.command:
        lines.append(f"Command: {results.command}")
    lines.append(protocol(results.protocol))
    if host.packages:
        lines.append("Versions: " + ", ".join(f"{name} {version}" for name, version in host.packages.items()) + ".")
    return lines


def protocol(how: Protocol) -> str:
    """How samples were taken, in a sentence or two."""
    way = _PROTOCOLS.get(how.name, _OTHER_PROTOCOL)
    told = (
        f"Protocol {how.name}: {way}; {f'at least {how.seconds:g} s of timed predictions each ' if how.seconds else ''}"
        f"in {how.rounds} round{'s' * (how.rounds != 1)} after {how.warmup_s:g} s of warm-up, seed {how.seed}."
    )
    budget = f" No round was begun after {how.budget_s:g} s." if how.budget_s else ""
    departs = f" It departs from the protocol in: {'; '.join(how.deviations)}." if how.deviations else ""
    return told + budget + departs


Teller = Callable[[Group], Cell]


def _noise(results: Results) -> Table:
    columns: tuple[tuple[Column, Teller], ...] = (
        (Column("control", "control", "same thing twice, 95 %"), _control),
        (Column("noise", "no difference below"), _bound),
        (Column("yardstick_ms", "yardstick", "ms, lowest to highest round"), _yardstick),
        (Column("load", "load", "processes"), _mean("load_1m")),
        (Column("steal", "stolen", "of the processor"), _mean("steal_share", words.percent)),
        (Column("others", "others' work", "of a core"), _mean("others_share", words.percent)),
        (Column("frequency_mhz", "clock", "MHz"), _mean("frequency_mhz")),
        (Column("temperature_c", "hottest", "°C"), _highest("temperature_c")),
        (Column("accelerator_mhz", "GPU clock", "MHz"), _mean("accelerator_mhz")),
        (Column("accelerator_temperature_c", "GPU hottest", "°C"), _highest("accelerator_temperature_c")),
        (Column("thermal_state", "thermal state", numeric=False), _thermal),
        (Column("conditions", "what may have bent the figures", numeric=False), _bent),
    )
    timed = {name: group for name, group in groups(results).items() if any(c.rounds for c in group.contenders)}
    rows = tuple(Row((text(name), *(tell(group) for _, tell in columns))) for name, group in timed.items())
    heads = (Column("group", "timed together", numeric=False), *(column for column, _ in columns))
    return without_empty(Table(f"How quiet it was: {results.host.machine}", heads, rows), ("group", "conditions"))


def _control(group: Group) -> Cell:
    found = group.control
    return figure(found.estimate, None, words.interval(found)) if found else NOTHING


def _yardstick(group: Group) -> Cell:
    if group.yardstick is None or not group.yardstick.rounds:
        return NOTHING
    medians = [1e3 * statistics.median(each) for each in seconds_per_image(group.yardstick) if each]
    span = f"{words.number(min(medians))} to {words.number(max(medians))}"
    return figure(statistics.median(medians), None, span)


def _during(group: Group, name: str) -> list[float]:
    readings: list[Reading] = [reading for reading in group.readings if reading.phase == "during"] or group.readings
    return [value for reading in readings if (value := getattr(reading, name)) is not None]


def _mean(name: str, say: Callable[[float], str] = words.number) -> Teller:
    def tell(group: Group) -> Cell:
        values = _during(group, name)
        return figure(statistics.fmean(values), None, say(statistics.fmean(values))) if values else NOTHING

    return tell


def _highest(name: str) -> Teller:
    return lambda group: figure(max(_during(group, name), default=None))


def _thermal(group: Group) -> Cell:
    states = [reading.thermal_state for reading in group.readings if reading.thermal_state]
    return text(", then ".join(state for state, _ in groupby(states)))


def _bent(group: Group) -> Cell:
    return text("; ".join(group.conditions) or "nothing that was noticed")


def _bound(group: Group) -> Cell:
    return figure(group.noise, None, noise_in_words(group.noise)) if group.control else NOTHING
