"""``evim-deploy bench``."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from evim_deploy.catalog.variants import PUBLISHED, parse_model
from evim_deploy.cli import options
from evim_deploy.cli.console import SETTINGS, reporting
from evim_deploy.cli.parsing import parse_size, split_list
from evim_deploy.cli.problems import end_with
from evim_deploy.cli.report import show
from evim_deploy.common.errors import INTERRUPTED_EXIT_CODE, BadInput, EvimError, NotRunHere, ParityFailed, UsageProblem
from evim_deploy.common.publish import publish, refuse_overwrite, staging

if TYPE_CHECKING:
    from latency.plan import BenchRequest, Plan
    from latency.protocol import SamplingProtocol
    from latency.results import Case, Results

_ALL = "all"
_NATIVE = "native"
_MINUTE = 60
_LONGEST_NUMBER = 9


def bench(
    models: options.BenchModels = None,
    settings: options.BenchSettings = None,
    engines: options.Engines = None,
    artifacts: options.BenchArtifacts = None,
    peers: options.Peers = None,
    resolution: options.BenchResolutions = None,
    batch: options.Batches = None,
    threads: options.Threads = None,
    precision: options.BenchPrecisions = None,
    layout: options.Layouts = None,
    device: options.Device = None,
    protocol: options.Protocol = "robust",
    seconds: options.Seconds = None,
    warmup: options.WarmUp = None,
    rounds: options.Rounds = None,
    budget: options.Budget = None,
    seed: options.Seed = 0,
    breakdown: options.Breakdown = False,
    memory: options.Memory = False,
    output: options.ResultsFile = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Time models, their peers and files as the paper does, and print how reliable the figures are."""
    from latency.installed import require_measuring, require_reporting

    (require_measuring if json else require_reporting)()

    from latency.plan import BenchRequest

    request = BenchRequest(
        protocol=_protocol(protocol, seconds, warmup, rounds),
        models=tuple(map(parse_model, split_list(models) or (() if artifacts or peers else tuple(PUBLISHED)))),
        artifacts=tuple(artifacts or ()),
        peers=split_list(peers),
        settings=split_list(settings),
        engines=split_list(engines),
        sizes=tuple(None if text == _NATIVE else _size(text) for text in split_list(resolution)),
        batches=tuple(_number(text, "--batch") for text in split_list(batch)),
        threads=tuple(None if text == _ALL else _number(text, "--threads") for text in split_list(threads)),
        precisions=split_list(precision),
        layouts=split_list(layout),
        device=device,
        budget_s=None if budget is None else budget * _MINUTE,
        breakdown=breakdown,
        memory=memory,
        seed=seed,
    )
    _run(request, output, overwrite, json)


def _run(request: BenchRequest, output: Path | None, overwrite: bool, json: bool) -> None:
    """Measure, write and print the results, and exit with the code of the worst problem."""
    from latency.plan import plan
    from latency.results import to_json

    planned = plan(request)
    if output is not None:
        if output.suffix != ".json":
            raise UsageProblem(f"{output} does not end in .json.", "Results are JSON; `evim-deploy report` draws them.")
        refuse_overwrite([output], overwrite)
    with staging(output.parent) if output else nullcontext() as folder:  # refuses an unwritable folder at once
        results, stop = _measure(request, planned)
        if output and folder:
            staged = folder / output.name
            staged.write_text(to_json(results), "utf-8")
            publish([staged], output.parent, overwrite)
    if stop is not None and not isinstance(stop, KeyboardInterrupt):
        raise stop
    if json:
        sys.stdout.write(to_json(results))
    else:
        from latency.report.build import build

        show(build([results]))
    if stop is not None:
        location = f"in {output}" if output else "above"
        sys.stderr.write(f"Interrupted. The measurements so far are {location}, marked incomplete.\n")
        SETTINGS.interrupted = False  # this message replaces the general one
        raise typer.Exit(INTERRUPTED_EXIT_CODE)
    _end(results)


def _protocol(name: str, seconds: float | None, warmup: float | None, rounds: int | None) -> SamplingProtocol:
    """A protocol by its name, with the user's changes.

    Raises:
        UsageProblem: The name is unknown.
    """
    from latency.protocol import PROTOCOLS

    if name not in PROTOCOLS:
        raise UsageProblem(f"Unknown protocol {name!r}.", f"Protocols are {', '.join(PROTOCOLS)}.")
    usual = PROTOCOLS[name]
    return replace(
        usual,
        seconds=usual.seconds if seconds is None else seconds,
        warmup_s=usual.warmup_s if warmup is None else warmup,
        rounds=usual.rounds if rounds is None else rounds,
    )


def _measure(request: BenchRequest, planned: Plan) -> tuple[Results, BaseException | None]:
    from latency.session import Session

    with reporting(SETTINGS) as reporter:
        for note in planned.notes:
            reporter.warn(note)
        return Session(planned, request, ["evim-deploy", *sys.argv[1:]], reporter).measure()


def _size(text: str) -> tuple[int, int]:
    size = parse_size(text)
    if size is None:
        raise UsageProblem(
            "Benchmarking needs a fixed resolution: 'dynamic' is not allowed.",
            "Give sides in pixels (224,384x512), or native.",
        )
    return size


def _number(text: str, option: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > _LONGEST_NUMBER:
        raise UsageProblem(f"Invalid value {text!r} for {option}.", f"Give {option} whole numbers, for example 1,16.")
    return int(text)


def _end(results: Results) -> None:
    """Print the problems of cases that were not timed, and exit with the code of the worst."""
    cases = [case for case in results.cases if case.role == "contender"]
    problems = [problem for case in cases if (problem := _problem(case))]
    if not problems and not any(case.rounds for case in cases):
        problems.append(_nothing(results))
    end_with(problems)


def _nothing(results: Results) -> EvimError:
    """The problem of a run in which nothing failed and nothing was timed."""
    if not results.complete:
        return BadInput(f"Nothing was timed: {results.incomplete_because}.", "Give a larger --budget, or time less.")
    reason = results.cases[0].reason
    return NotRunHere(f"Nothing was timed; not run on this host: {reason}.", "Time something else here.")


def _problem(case: Case) -> EvimError | None:
    if case.check is not None and case.check.status == "different":
        is_file = case.subject.kind == "artifact"
        remedy = "`evim-deploy verify` gives the details of the file." if is_file else "Please report this."
        return ParityFailed(f"{case.id}: {case.reason}.", f"It was not timed. {remedy}")
    if case.outcome == "failed":
        return BadInput(f"{case.id} failed: {case.reason}.", "Leave it out, or correct the problem.")
    if case.outcome == "out of memory":
        return BadInput(f"{case.id}: {case.reason}.", "Time it smaller, or on a machine with more memory.")
    return None
