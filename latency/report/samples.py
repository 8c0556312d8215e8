"""The samples behind every figure, in order, with the rounds that they were taken in and the outliers marked."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from statistics import median

from latency.report import words
from latency.report.entries import Entry, machine
from latency.report.view import Samples
from latency.results import Contender, Results
from latency.settings import thread_words
from latency.statistics import summarise

MOST_LISTED = 2000
"""Samples of one contender that are printed; beyond them a round is told by three numbers, and the file has all."""

MOST_DRAWN = 600


def samples_of(files: Sequence[Results], entries: Sequence[Entry]) -> tuple[Samples, ...]:
    """Of every contender that has any; controls and yardsticks come last."""
    found = [_samples(files, e.file, e.contender, e.anchor) for e in entries if e.contender.samples]
    for file, results in enumerate(files):
        for place, contender in enumerate(results.contenders):
            if contender.role != "contender" and contender.samples:
                found.append(_samples(files, file, contender, f"samples-{file + 1}-{contender.role}-{place}"))
    return tuple(found)


def _samples(files: Sequence[Results], file: int, contender: Contender, anchor: str) -> Samples:
    results = files[file]
    summary = summarise(contender.samples)
    rounds = tuple(tuple(1e3 * sample for sample in each.samples_s) for each in contender.rounds if each.samples_s)
    shown = "all samples"
    if summary.count > MOST_LISTED:
        rounds = tuple((min(each), median(each), max(each)) for each in rounds)
        shown = "lowest, median and highest of each round; the results file has all samples"
    outliers = set(summary.outliers)
    step = -(-summary.count // MOST_DRAWN)
    points = tuple(
        (place, 1e3 * sample, place in outliers)
        for place, sample in enumerate(contender.samples)
        if place % step == 0 or place in outliers
    )
    role = "" if contender.role == "contender" else f"{contender.role}: "
    size = words.size(contender.height, contender.width)
    setting = [contender.engine, contender.mode, contender.precision, size, f"batch {contender.batch}"]
    if contender.threads:  # of a phone none are told
        setting.append(thread_words(contender.threads))
    lengths = [len(each.samples_s) for each in contender.rounds]
    return Samples(
        anchor,
        role + ", ".join(filter(None, [contender.subject.name, *setting])),
        f"{contender.id!r} in the results of {results.created:%Y-%m-%d %H:%M:%S} on {results.host.machine}",
        tuple(_facts(contender, machine(results.host, contender.device), len(outliers), step)),
        summary.count,
        rounds,
        shown,
        points,
        tuple(accumulate(lengths[:-1], initial=0)),
        1e3 * summary.median,
    )


def _facts(contender: Contender, on: str, outliers: int, step: int) -> list[str]:
    summary = summarise(contender.samples)
    figures = {
        "median": summary.median,
        "mean": summary.mean,
        "lowest": summary.minimum,
        "90 % below": summary.p90,
        "99 % below": summary.p99,
        "standard deviation": summary.deviation,
    }
    told = [f"{name} {words.number(1e3 * seconds)} ms" for name, seconds in figures.items()]
    facts = [
        f"On {on}; each sample is the time of one prediction of {contender.batch} "
        f"image{'s' * (contender.batch != 1)}, {thread_words(contender.threads)}.",
        f"{summary.count} samples in {len(contender.rounds)} rounds: {', '.join(told)}.",
        f"{outliers} outlier{'s' * (outliers != 1)}, marked and kept in every figure." if outliers else "No outliers.",
        f"Weights: {contender.subject.weights}. For inference: {contender.subject.form}.",
    ]
    if contender.check is not None:
        error, allowed = contender.check.error, contender.check.tolerance
        known = f", error {error:.1e}" if error is not None else ""
        known += f" of {allowed:.1e} allowed" if known and allowed is not None else ""
        facts.append(f"Answers: {contender.check.status}; {contender.check.against}{known}.")
    if step > 1:
        facts.append(f"Drawn: every {step}th sample, and every outlier.")
    return facts
