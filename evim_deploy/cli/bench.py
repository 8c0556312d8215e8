"""``evim-deploy bench``."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evim_deploy.catalog.variants import PUBLISHED, parse_model
from evim_deploy.cli import options
from evim_deploy.cli.console import SETTINGS, reporting
from evim_deploy.cli.options import Lines, parse_size, split_list
from evim_deploy.cli.problems import end_with
from evim_deploy.cli.report import show
from evim_deploy.common.errors import INTERRUPTED_EXIT_CODE, BadInput, EvimError, NotRunHere, ParityFailed, UsageProblem
from evim_deploy.common.publish import publish, refuse_overwrite, staging

if TYPE_CHECKING:
    from latency.plan import BenchRequest, Plan
    from latency.results import Case, Results

_ALL = "all"
_NATIVE = "native"
_MINUTE = 60
_LONGEST_NUMBER = 9


def bench(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL...]", help="As `evim-deploy models` lists them.", show_default="m1 to m4"),
    ] = None,
    settings: Annotated[
        Lines,
        typer.Option(
            "--setting",
            "-s",
            metavar="cpu|gpu|iphone",
            help="The paper's: batch 16, fp32, one thread; batch 256, autocast; batch 1, Core ML. Repeatable.",
            show_default="cpu",
        ),
    ] = None,
    engines: Annotated[
        Lines,
        typer.Option(
            "--engine",
            "-e",
            metavar="NAME",
            help="torch, torch-compile, torchscript, onnxruntime, openvino, litert or coreml. Repeatable.",
            show_default="as the setting",
        ),
    ] = None,
    artifacts: Annotated[
        list[Path] | None, typer.Option("--artifact", "-a", metavar="PATH", help="A model file. Repeatable.")
    ] = None,
    peers: Annotated[
        Lines,
        typer.Option(
            metavar="table-e|table-3|figure-3|NAME,...",
            help="Networks of timm, those of the paper's tables or by name; figure-3 is the mixer alone.",
        ),
    ] = None,
    resolution: Annotated[
        Lines,
        typer.Option("--resolution", "-r", metavar="LIST", help="224,384x512,native in pixels.", show_default="native"),
    ] = None,
    batch: Annotated[
        Lines,
        typer.Option(
            "--batch", "-b", metavar="LIST", help="Halved while memory runs out.", show_default="as the setting"
        ),
    ] = None,
    threads: Annotated[
        Lines, typer.Option(metavar="LIST", help="Of the processor: 1,2,all.", show_default="as the setting")
    ] = None,
    precision: Annotated[
        Lines,
        typer.Option(
            "--precision",
            "-p",
            metavar="LIST",
            help="fp32, fp16, bf16; of our own files int8, dynamic, int16x8, and Core ML's.",
            show_default="as setting and engine",
        ),
    ] = None,
    layout: Annotated[
        Lines,
        typer.Option(metavar="LIST", help="channels-first, channels-last; for PyTorch.", show_default="as the setting"),
    ] = None,
    device: Annotated[str | None, typer.Option(metavar="cpu|cuda|coreml", show_default="as the setting")] = None,
    protocol: Annotated[
        str, typer.Option(metavar="robust|paper", help="Interleaved rounds with a control, or as published.")
    ] = "robust",
    seconds: Annotated[
        float | None,
        typer.Option(help="Minimum timing of each case.", show_default="20; paper 60"),
    ] = None,
    warmup: Annotated[
        float | None, typer.Option(help="Least warm-up of each, in seconds.", show_default="2; paper 10")
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(help="That the timing is spread over.", show_default="60; paper 1")
    ] = None,
    budget: Annotated[
        float | None, typer.Option(metavar="MINUTES", help="No round begins after it, no trial after half of it.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the order in each round.")] = 0,
    breakdown: Annotated[
        bool, typer.Option("--breakdown", help="Time by class of operation, from the engine's own profiler.")
    ] = False,
    memory: Annotated[bool, typer.Option("--memory", help="Peak memory while predicting.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="RESULTS.json", help="Where the samples go.")
    ] = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Time models, their peers and files as the paper does, and say how far the figures can be believed."""
    from latency.installed import require_measuring, require_reporting

    (require_measuring if json else require_reporting)()

    from latency.plan import BenchRequest, plan
    from latency.protocol import PROTOCOLS
    from latency.results import to_json

    if protocol not in PROTOCOLS:
        raise UsageProblem(f"There is no protocol {protocol!r}.", f"Protocols are {', '.join(PROTOCOLS)}.")
    usual = PROTOCOLS[protocol]
    named = split_list(models) or (() if artifacts or peers else tuple(PUBLISHED))
    request = BenchRequest(
        protocol=replace(
            usual,
            seconds=usual.seconds if seconds is None else seconds,
            warmup_s=usual.warmup_s if warmup is None else warmup,
            rounds=usual.rounds if rounds is None else rounds,
        ),
        models=tuple(parse_model(name) for name in named),
        artifacts=tuple(artifacts or ()),
        peers=split_list(peers),
        settings=split_list(settings),
        engines=split_list(engines),
        sizes=tuple(None if text == _NATIVE else _size(text) for text in split_list(resolution)),
        batches=tuple(_number(text, "a batch", "--batch") for text in split_list(batch)),
        threads=tuple(
            None if text == _ALL else _number(text, "a number of threads", "--threads") for text in split_list(threads)
        ),
        precisions=split_list(precision),
        layouts=split_list(layout),
        device=device,
        budget_s=None if budget is None else budget * _MINUTE,
        breakdown=breakdown,
        memory=memory,
        seed=seed,
    )
    planned = plan(request)
    if output is not None:
        if output.suffix != ".json":
            raise UsageProblem(f"{output} does not end in .json.", "Results are JSON; `evim-deploy report` draws them.")
        refuse_overwrite([output], overwrite)
    with staging(output.parent) if output else nullcontext() as folder:  # a folder that takes no file is told at once
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
        kept = f"in {output}" if output else "above"
        sys.stderr.write(f"Interrupted. What was measured until then is {kept}, marked incomplete.\n")
        SETTINGS.interrupted = False  # it has been told
        raise typer.Exit(INTERRUPTED_EXIT_CODE)
    _end(results)


def _measure(request: BenchRequest, planned: Plan) -> tuple[Results, BaseException | None]:
    from latency.session import Session

    with reporting(SETTINGS) as reporter:
        for note in planned.notes:
            reporter.warn(note)
        return Session(planned, request, ["evim-deploy", *sys.argv[1:]], reporter).measure()


def _size(text: str) -> tuple[int, int]:
    size = parse_size(text)
    if size is None:
        raise UsageProblem("A latency is one of a size.", "Give sides in pixels (224,384x512), or native.")
    return size


def _number(text: str, what: str, option: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > _LONGEST_NUMBER:
        raise UsageProblem(f"{text!r} is no {what}.", f"Give {option} whole numbers, as 1,16.")
    return int(text)


def _end(results: Results) -> None:
    """Tell of what could not be timed, and exit by the gravest of it."""
    cases = [case for case in results.cases if case.role == "contender"]
    problems = [problem for case in cases if (problem := _problem(case))]
    if not problems and not any(case.rounds for case in cases):
        problems.append(_nothing(results))
    end_with(problems)


def _nothing(results: Results) -> EvimError:
    """Why nothing was timed where nothing failed."""
    if not results.complete:
        return BadInput(f"Nothing was timed: {results.incomplete_because}.", "Give a larger --budget, or time less.")
    reason = results.cases[0].reason
    return NotRunHere(f"Nothing was timed; not run on this host: {reason}.", "Time something else here.")


def _problem(case: Case) -> EvimError | None:
    if case.check is not None and case.check.status == "different":
        is_file = case.subject.kind == "artifact"
        remedy = "`evim-deploy verify` tells more of the file." if is_file else "Please report this."
        return ParityFailed(f"{case.id}: {case.reason}.", f"It was not timed. {remedy}")
    if case.outcome == "failed":
        return BadInput(f"{case.id} failed: {case.reason}.", "Leave it out, or mend what it says.")
    if case.outcome == "out of memory":
        return BadInput(f"{case.id}: {case.reason}.", "Time it smaller, or on a machine with more memory.")
    return None
