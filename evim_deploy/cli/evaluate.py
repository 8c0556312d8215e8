"""``evim-deploy evaluate``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from evim_deploy.artifact.metadata import SCHEMA_VERSION
from evim_deploy.artifact.target import UNTRAINED_NOTICE
from evim_deploy.cli import options
from evim_deploy.cli.console import SETTINGS, out, print_json, reporting
from evim_deploy.common.errors import INTERRUPTED_EXIT_CODE, UsageProblem

if TYPE_CHECKING:
    from rich.console import Console

    from evim_deploy.accuracy import Accuracy, Evaluation, EvaluationResult

_COLUMNS = ("", "engine", "images", "top-1 %", "difference", "top-5 %", "ECE %", "agreement %", "images/s")
_LEAST_WIDTH = 132  # columns; a narrower terminal wraps the lines, a narrower table would lose figures
_MOST_NAMED = 3
_RULES = {
    "names": "by the artifact's labels",
    "indices": "as indices from 0",
    "wordnet": "as ImageNet's WordNet ids",
    "sorted": "in alphabetical order, as many as the artifact has; this order may differ from the artifact's",
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
        raise UsageProblem("An artifact or the data is missing.", "Name the artifacts first and the data last.")
    if classes is not None and classes not in RULES:
        raise UsageProblem(f"Invalid --classes {classes!r}.", f"Give one of {', '.join(RULES)}.")
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
        location = f"in {resume}; the same command continues there" if resume else "above, marked incomplete"
        sys.stderr.write(f"Interrupted. The predictions so far are {location}.\n")
        SETTINGS.interrupted = False  # this message replaces the general one
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
        weights = result.artifact.manifest.weights
        if not weights.trained:
            notice = f"{result.artifact.path}: {UNTRAINED_NOTICE} ({weights.source}); only the agreement is meaningful"
            console.print(notice, style="bold yellow", soft_wrap=True, markup=False)


def _rows(results: Sequence[EvaluationResult]) -> Iterator[list[str]]:
    """The figures of each artifact; those of a reference follow its last artifact."""
    for index, result in enumerate(results):
        artifact, agreement = result.artifact, result.agreement
        compared = (
            (
                f"{100 * agreement.difference:+.2f} {_interval(agreement.interval, '+.2f')}",
                f"{100 * agreement.share:.2f}",
            )
            if agreement
            else ("-", "-")
        )
        yield _row(str(artifact.path), artifact.engine, result.accuracy, *compared)
        later = [other.artifact.reference_key for other in results[index + 1 :]]
        if result.reference and artifact.reference_key not in later:
            yield _row(
                f"{artifact.manifest.model.name} as published",
                result.reference_engine,
                result.reference,
                "reference",
                "",
            )


def _row(name: str, engine: str, accuracy: Accuracy | None, difference: str, agreement: str) -> list[str]:
    if accuracy is None:
        return [name, engine, "0", "-", difference, "-", "-", agreement, "-"]
    return [
        name,
        engine,
        str(accuracy.count),
        f"{100 * accuracy.top1:.2f} {_interval(accuracy.interval, '.2f')}",
        difference,
        f"{100 * accuracy.top5:.2f}",
        f"{100 * accuracy.calibration_error:.2f}",
        agreement,
        f"{accuracy.images_per_second:.0f}",
    ]


def _interval(bounds: tuple[float, float], form: str) -> str:
    return f"[{', '.join(format(100 * bound, form) for bound in bounds)}]"


def _notes(evaluation: Evaluation) -> Iterator[str]:
    data = evaluation.data
    for rule in dict.fromkeys(result.artifact.classes.rule for result in evaluation.results):
        classes = f"{len(data.names)} classes from {data.layout}, read {_RULES[rule]}"
        yield f"{data.name}: {len(data.images)} images, {classes}"
    for result in evaluation.results:
        name = result.artifact.path
        if not result.is_complete:
            yield f"{name}: incomplete"
        if result.accuracy and result.accuracy.not_finite:
            yield f"{name}: {result.accuracy.not_finite} predictions are not finite, and count as wrong"
        if result.reason:
            yield f"{name}: agreement not measured, {result.reason}"
    for unreadable in dict.fromkeys(result.unreadable for result in evaluation.results if result.unreadable):
        names = ", ".join(unreadable[:_MOST_NAMED]) + (", ..." if len(unreadable) > _MOST_NAMED else "")
        yield f"{len(unreadable)} images cannot be read and are left out: {names}"
    yield "Intervals: 95 %. Difference: percentage points. images/s: the engine without preprocessing; see `bench`."
