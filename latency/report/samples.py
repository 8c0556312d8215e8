"""The samples of every case in order, with their rounds and outliers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from statistics import median

from latency.enums import CaseRole
from latency.report import formatting
from latency.report.entries import ReportEntry, machine
from latency.report.view import Samples
from latency.results import Case, Results
from latency.settings import format_threads
from latency.statistics import summarise

MAX_LISTED = 2000
"""Samples of a case that are listed; if there are more, only three of each round are."""

MAX_DRAWN = 600
"""Approximate number of samples of a case that are drawn."""


_ROLES = {CaseRole.CONTROL: "control", CaseRole.CALIBRATION: "calibration workload"}


def samples_of(files: Sequence[Results], entries: Sequence[ReportEntry]) -> tuple[Samples, ...]:
    """The samples of every case that has any; controls and calibration workloads are last."""
    result = [_samples(files, e.file, e.case, e.anchor) for e in entries if e.case.samples]
    for file, results in enumerate(files):
        for index, case in enumerate(results.cases):
            if case.role != CaseRole.CASE and case.samples:
                result.append(_samples(files, file, case, f"samples-{file + 1}-{case.role}-{index}"))
    return tuple(result)


def _samples(files: Sequence[Results], file: int, case: Case, anchor: str) -> Samples:
    results = files[file]
    summary = summarise(case.samples)
    rounds = tuple(tuple(1e3 * sample for sample in each.samples_s) for each in case.rounds if each.samples_s)
    shown = "all samples"
    if summary.count > MAX_LISTED:
        rounds = tuple((min(each), median(each), max(each)) for each in rounds)
        shown = "lowest, median and highest of each round; the results file has all samples"
    outliers = set(summary.outliers)
    step = -(-summary.count // MAX_DRAWN)
    points = tuple(
        (index, 1e3 * sample, index in outliers)
        for index, sample in enumerate(case.samples)
        if index % step == 0 or index in outliers
    )
    prefix = "" if case.role == CaseRole.CASE else f"{_ROLES[case.role]}: "
    size = formatting.size(case.height, case.width)
    setting = [case.engine, case.mode, case.precision, size, f"batch {case.batch}"]
    if case.threads:  # a phone reports none
        setting.append(format_threads(case.threads))
    lengths = [len(each.samples_s) for each in case.rounds]
    return Samples(
        anchor=anchor,
        title=prefix + ", ".join(filter(None, [case.subject.name, *setting])),
        source=f"{case.id!r} in the results of {results.created:%Y-%m-%d %H:%M:%S} on {results.host.machine}",
        facts=tuple(_facts(case, machine(results.host, case.device), len(outliers), step)),
        count=summary.count,
        rounds=rounds,
        shown=shown,
        points=points,
        starts=tuple(accumulate(lengths[:-1], initial=0)),
        median=1e3 * summary.median,
    )


def _facts(case: Case, device: str, outliers: int, step: int) -> list[str]:
    summary = summarise(case.samples)
    figures = {
        "median": summary.median,
        "mean": summary.mean,
        "lowest": summary.minimum,
        "90 % below": summary.p90,
        "99 % below": summary.p99,
        "standard deviation": summary.deviation,
    }
    statistics = [f"{name} {formatting.number(1e3 * seconds)} ms" for name, seconds in figures.items()]
    facts = [
        f"On {device}; each sample is the time of one prediction of {case.batch} "
        f"image{'s' * (case.batch != 1)}, {format_threads(case.threads)}.",
        f"{summary.count} samples in {len(case.rounds)} rounds: {', '.join(statistics)}.",
        f"{outliers} outlier{'s' * (outliers != 1)}, marked and included in every figure."
        if outliers
        else "No outliers.",
        f"Weights: {case.subject.weights}. For inference: {case.subject.form}.",
    ]
    if case.check is not None:
        error, tolerance = case.check.error, case.check.tolerance
        known = f", error {error:.1e}" if error is not None else ""
        known += f" of {tolerance:.1e} allowed" if known and tolerance is not None else ""
        facts.append(f"Outputs: {case.check.status}; {case.check.against}{known}.")
    if step > 1:
        facts.append(f"Drawn: every {step}th sample, and every outlier.")
    return facts
