"""The conditions of the figures: machines, protocol, noise."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from itertools import groupby

from latency.decision import format_noise
from latency.judgement import Group, groups, seconds_per_image
from latency.report import formatting
from latency.report.columns import NOTHING, figure, text
from latency.report.view import Cell, Column, Row, Section, Table, without_empty
from latency.results import ProtocolRecord, Reading, Results

_PROTOCOLS = {
    "robust": "cases interleaved round by round in a random order, with a control and a calibration workload",
    "paper": "each case by itself, as in the published scripts of SHViT and EfficientViT, with two of their faults "
    "corrected: a BatchNorm without a fuse method is folded instead of dropped, and so are the BatchNorms of networks "
    "that timm cannot reparameterise",
    "modelbench": "as Apple's ModelBench, with compute units interleaved and a control: each round loads the model "
    "again and excludes its first prediction and its 10 lowest and highest samples; the time is the mean of the "
    "rounds' means",
    "sustained": "each case by itself, one prediction after another without a pause, to show the effect of heat",
}
_OTHER_PROTOCOL = "defined by the program that wrote the file"


def section(files: Sequence[Results]) -> Section:
    """The section on the machines, with the noise of each group."""
    lines = tuple(line for number, results in enumerate(files, 1) for line in _describe(results, number, len(files)))
    return Section(
        anchor="conditions", title="Conditions", words=lines, tables=tuple(_noise(results) for results in files)
    )


def _describe(results: Results, number: int, count: int) -> list[str]:
    host = results.host
    parts = [
        host.machine,
        f"{host.processor} with {host.cores} logical core{'s' * (host.cores != 1)} to use",
        f"{formatting.memory(host.memory_bytes)} of memory" if host.memory_bytes else "",
        host.accelerator or "no accelerator",
        host.system,
    ]
    prefix = f"File {number}: " if count > 1 else ""
    lines = [
        f"{prefix}{', '.join(filter(None, parts))}.",
        f"Timed on {results.created:%Y-%m-%d at %H:%M %Z} by {results.tool}.",
    ]
    if results.command:
        lines.append(f"Command: {results.command}")
    lines.append(protocol(results.protocol))
    if host.packages:
        lines.append("Versions: " + ", ".join(f"{name} {version}" for name, version in host.packages.items()) + ".")
    return lines


def protocol(record: ProtocolRecord) -> str:
    """Describe a sampling protocol in a few sentences."""
    method = _PROTOCOLS.get(record.name, _OTHER_PROTOCOL)
    text = (
        f"Protocol {record.name}: {method}; "
        f"{f'at least {record.seconds:g} s of timed predictions each ' if record.seconds else ''}"
        f"in {record.rounds} round{'s' * (record.rounds != 1)} after {record.warmup_s:g} s of warm-up, "
        f"seed {record.seed}."
    )
    budget = f" No round started after {record.budget_s:g} s." if record.budget_s else ""
    changes = f" Changes to the protocol: {'; '.join(record.deviations)}." if record.deviations else ""
    return text + budget + changes


CellFunction = Callable[[Group], Cell]


def _noise(results: Results) -> Table:
    columns: tuple[tuple[Column, CellFunction], ...] = (
        (Column("control", "control", "same case twice, 95 %"), _control),
        (Column("noise", "no difference below"), _bound),
        (Column("yardstick_ms", "calibration", "ms, lowest to highest round"), _calibration),
        (Column("load", "load", "processes"), _mean("load_1m")),
        (Column("steal", "stolen", "of the processor"), _mean("steal_share", formatting.percent)),
        (Column("others", "others' work", "of a core"), _mean("others_share", formatting.percent)),
        (Column("frequency_mhz", "clock", "MHz"), _mean("frequency_mhz")),
        (Column("temperature_c", "hottest", "°C"), _highest("temperature_c")),
        (Column("accelerator_mhz", "GPU clock", "MHz"), _mean("accelerator_mhz")),
        (Column("accelerator_temperature_c", "GPU hottest", "°C"), _highest("accelerator_temperature_c")),
        (Column("thermal_state", "thermal state", numeric=False), _thermal),
        (Column("conditions", "possible disturbances", numeric=False), _disturbances),
    )
    timed = {name: group for name, group in groups(results).items() if any(c.rounds for c in group.cases)}
    rows = tuple(Row((text(name), *(cell(group) for _, cell in columns))) for name, group in timed.items())
    headings = (Column("group", "timed together", numeric=False), *(column for column, _ in columns))
    return without_empty(Table(f"Noise: {results.host.machine}", headings, rows), ("group", "conditions"))


def _control(group: Group) -> Cell:
    control = group.control
    return figure(control.estimate, None, formatting.interval(control)) if control else NOTHING


def _calibration(group: Group) -> Cell:
    if group.calibration is None or not group.calibration.rounds:
        return NOTHING
    medians = [1e3 * statistics.median(each) for each in seconds_per_image(group.calibration) if each]
    span = f"{formatting.number(min(medians))} to {formatting.number(max(medians))}"
    return figure(statistics.median(medians), None, span)


def _during(group: Group, name: str) -> list[float]:
    readings: list[Reading] = [reading for reading in group.readings if reading.phase == "during"] or group.readings
    return [value for reading in readings if (value := getattr(reading, name)) is not None]


def _mean(name: str, format_value: Callable[[float], str] = formatting.number) -> CellFunction:
    def cell(group: Group) -> Cell:
        values = _during(group, name)
        return figure(statistics.fmean(values), None, format_value(statistics.fmean(values))) if values else NOTHING

    return cell


def _highest(name: str) -> CellFunction:
    return lambda group: figure(max(_during(group, name), default=None))


def _thermal(group: Group) -> Cell:
    states = [reading.thermal_state for reading in group.readings if reading.thermal_state]
    return text(", then ".join(state for state, _ in groupby(states)))


def _disturbances(group: Group) -> Cell:
    return text("; ".join(group.conditions) or "nothing detected")


def _bound(group: Group) -> Cell:
    return figure(group.noise, None, format_noise(group.noise)) if group.control else NOTHING
