"""``evim-deploy evaluate``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from evim_deploy.artifact.target import SCHEMA_VERSION, UNTRAINED_NOTICE
from evim_deploy.cli import options
from evim_deploy.cli.console import SETTINGS, out, print_json, reporting
from evim_deploy.common.errors import INTERRUPTED_EXIT_CODE, UsageProblem

if TYPE_CHECKING:
    from rich.console import Console

    from evim_deploy.accuracy import Accuracy, Evaluation, Result

_COLUMNS = ("", "engine", "images", "top-1 %", "difference", "top-5 %", "ECE %", "agreement %", "images/s")
_LEAST_WIDTH = 132  # a narrower terminal breaks the lines, where a narrower table would lose figures
_TOLD = 3
_MEANS = {
    "names": "by the artifact's labels",
    "indices": "as indices from 0",
    "wordnet": "as ImageNet's WordNet ids",
    "sorted": "in the order of their names, as many as the artifact has: nothing tells whether that is its own order",
}


def evaluate(
    paths: options.Paths,
    limit: options.Limit = None,
    labels: options.LabelFile = None,
    classes: options.Classes = None,
    weights: options.OriginWeights = None,
    resume: options.Resume = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Measure the accuracy of artifacts, and their agreement with the source model."""
    from evim_deploy.accuracy import RULES, Evaluator

    *artifacts, data = paths
    if not artifacts:
        raise UsageProblem("An artifact or the data is missing.", "Name artifacts first and the data last.")
    if classes is not None and classes not in RULES:
        raise UsageProblem(f"There is no --classes {classes!r}.", f"Give one of {', '.join(RULES)}.")
    with reporting(SETTINGS) as reporter:
        evaluator = Evaluator(
            label_file=labels, rule=classes, limit=limit, weights=weights, resume=resume, progress=reporter
        )
        evaluation = evaluator.evaluate([Path(artifact) for artifact in artifacts], data)
    if json:
        print_json({"schema_version": SCHEMA_VERSION, **evaluation.to_dict()})
    else:
        _show(out(), evaluation)
    if not evaluation.is_complete:
        kept = f"is in {resume}; the same command goes on from there" if resume else "is above, marked incomplete"
        sys.stderr.write(f"Interrupted. What was answered until then {kept}.\n")
        SETTINGS.interrupted = False  # it has been told
        raise typer.Exit(INTERRUPTED_EXIT_CODE)


def _show(console: Console, evaluation: Evaluation) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in _COLUMNS:
        table.add_column(column, overflow="fold", no_wrap=bool(column))
    for row in _rows(evaluation.results):
        table.add_row(*map(Text, row))
    console.width = max(console.width, _LEAST_WIDTH)
    console.print(table)
    for line in _notes(evaluation):
        console.print(line, soft_wrap=True, markup=False)
    for result in evaluation.results:
        weights = result.subject.manifest.weights
        if not weights.trained:
            told = f"{result.subject.artifact}: {UNTRAINED_NOTICE} ({weights.source}); only its agreement does"
            console.print(told, style="bold yellow", soft_wrap=True, markup=False)


def _rows(results: Sequence[Result]) -> Iterator[list[str]]:
    """Each artifact's figures, and after the last of one reference that one's."""
    for place, result in enumerate(results):
        subject, beside = result.subject, result.comparison
        compared = (
            (f"{100 * beside.difference:+.2f} {_interval(beside.interval, '+.2f')}", f"{100 * beside.agreement:.2f}")
            if beside
            else ("-", "-")
        )
        yield _row(str(subject.artifact), subject.engine, result.accuracy, *compared)
        later = [other.subject.reference_key for other in results[place + 1 :]]
        if result.reference and subject.reference_key not in later:
            yield _row(
                f"{subject.manifest.model.name} as published",
                result.reference_engine,
                result.reference,
                "reference",
                "",
            )


def _row(name: str, engine: str, found: Accuracy | None, difference: str, agreement: str) -> list[str]:
    if found is None:
        return [name, engine, "0", "-", difference, "-", "-", agreement, "-"]
    return [
        name,
        engine,
        str(found.count),
        f"{100 * found.top1:.2f} {_interval(found.interval, '.2f')}",
        difference,
        f"{100 * found.top5:.2f}",
        f"{100 * found.calibration_error:.2f}",
        agreement,
        f"{found.images_per_second:.0f}",
    ]


def _interval(bounds: tuple[float, float], form: str) -> str:
    return f"[{', '.join(format(100 * bound, form) for bound in bounds)}]"


def _notes(evaluation: Evaluation) -> Iterator[str]:
    data = evaluation.data
    for rule in dict.fromkeys(result.subject.classes.rule for result in evaluation.results):
        classes = f"{len(data.names)} classes from {data.layout}, read {_MEANS[rule]}"
        yield f"{data.name}: {len(data.images)} images, {classes}"
    for result in evaluation.results:
        name = result.subject.artifact
        if not result.is_complete:
            yield f"{name}: incomplete"
        if result.accuracy and result.accuracy.not_finite:
            yield f"{name}: {result.accuracy.not_finite} answers are not finite, and counted as wrong"
        if result.reason:
            yield f"{name}: no agreement, {result.reason}"
    for unreadable in dict.fromkeys(result.unreadable for result in evaluation.results if result.unreadable):
        told = ", ".join(unreadable[:_TOLD]) + (", ..." if len(unreadable) > _TOLD else "")
        yield f"{len(unreadable)} images cannot be read and are left out: {told}"
    yield "Intervals hold with 95 %; the difference is in points. images/s is the engine's alone; `bench` measures it."
