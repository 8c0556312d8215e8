"""Decide whether an artifact equals its model: run it, compare its outputs, its stored weights and its operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import runtimes
from evim_deploy.artifact.parity import Check, OpsSummary, Parity, ParityStatus
from evim_deploy.artifact.target import Target
from evim_deploy.catalog.terms import Precision
from evim_deploy.common import threads
from evim_deploy.common.errors import NotRunHere, ParityFailed
from evim_deploy.common.progress import Progress
from evim_deploy.proof.operations.compare import match_operations
from evim_deploy.proof.outputs.checker import CheckRun, ParityChecker
from evim_deploy.proof.stored_weights import compare_stored
from runtimes.modes import Mode

_NAMED = 3
"""Number of changed weights or diverging operations that a message names."""


def prove_functions(
    artifact: Path,
    target: Target,
    checker: ParityChecker,
    progress: Progress,
    *,
    mode: str | None = None,
    compute_units: str | None = None,
) -> tuple[Parity, Mapping[str, Parity]]:
    """The parity of an artifact, and that of each of its functions by name, if it has several.

    Args:
        artifact: Its path.
        target: Its target.
        checker: The checker of its reference.
        progress: The progress to report to.
        mode: The precision mode to run it in; None for the engine's first.
        compute_units: The Core ML compute units to run it on, which take precedence over the mode.

    Raises:
        BadInput: The artifact is damaged.
    """
    functions = {
        name: prove(artifact, function, checker, progress, mode=mode, compute_units=compute_units, function=name)
        for name, function in target.of_functions().items()
    }
    if functions:
        return Parity.of_functions(functions), functions
    return prove(artifact, target, checker, progress, mode=mode, compute_units=compute_units), {}


def prove(
    artifact: Path,
    target: Target,
    checker: ParityChecker,
    progress: Progress,
    *,
    mode: str | None = None,
    compute_units: str | None = None,
    function: str | None = None,
) -> Parity:
    """The parity of an artifact, or of one of its functions; ``not_run``, with the reason, if this host cannot run it.

    Outputs on some inputs do not show a weight that none of them depends on, so the stored weights are compared too.
    With quantised activations the outputs are inconclusive, so each operation is compared.

    Raises:
        BadInput: The artifact is damaged.
    """
    try:
        runs = _runs(artifact, target, compute_units or mode, function)
        engines = ", ".join(dict.fromkeys(f"{run.engine} {run.mode}" for run in runs))
        progress.step(f"{target}: comparing with {checker.reference.engine} ({engines})")
        with threads.computing(checker.pixels(target)):
            parity = checker.prove(target, runs)
            stored = compare_stored(checker.reference, target, runtimes.read_operations(artifact, function))
            operations = (
                _compare_operations(artifact, target, checker, progress) if has_quantised_values(target) else None
            )
    except NotRunHere as error:
        return Parity.not_run(f"not run on this host: {error.cause} {error.remedy}")
    except ParityFailed as error:
        return Parity(status=ParityStatus.FAIL, reason=error.cause)
    parity = replace(parity, stored=stored, operations=operations)
    faults = [_listed("it stores other weights than the model's", stored.changed)] if stored.changed else []
    if operations is not None and operations.diverging:
        faults.append(_listed("it computes other values than the model's", operations.diverging))
    if not faults:
        return parity
    return replace(parity, status=ParityStatus.FAIL, reason="; ".join(filter(None, (parity.reason, *faults))))


def _listed(fault: str, names: Sequence[str]) -> str:
    rest = f"; and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{fault}: {'; '.join(names[:_NAMED])}{rest}"


def has_quantised_values(target: Target) -> bool:
    """Whether an artifact's activations are quantised with parameters that were determined at export."""
    return bool(target.quantisation and target.quantisation.qparams)


def _compare_operations(artifact: Path, target: Target, checker: ParityChecker, progress: Progress) -> OpsSummary:
    """Compare each operation of an artifact, on the artifact's own inputs of that operation."""
    progress.step(f"{target}: comparing its operations one by one")
    engine = runtimes.exact_engine(artifact)
    name, image = checker.first_batch(target)
    trace = runtimes.trace(artifact, image, engine, engine.exact_mode)
    report = match_operations(checker.reference, target, trace, image)
    return OpsSummary(
        input=name,
        operations=len(report.ops) + len(report.unmatched),
        compared=len(report.ops),
        diverging=tuple(str(op) for op in report.ops if op.diverges),
        worst=max((op.excess for op in report.ops), default=0.0),
    )


def _runs(artifact: Path, target: Target, chosen: str | None, function: str | None) -> Sequence[CheckRun]:
    """The runs of an artifact: its program in float32, and the artifact in its own precision.

    The program of a float32 artifact is run without widening, which would hide a float16 operation.

    Raises:
        NotRunHere: No engine on this host runs it, or none in the requested mode.
    """

    def run(check: Check, engine: runtimes.Engine, mode: Mode | None, name: str = "") -> CheckRun:
        mode = mode or engine.default_mode
        open_session = partial(runtimes.open_artifact, artifact, engine, mode, function)
        return CheckRun(check, engine.name, name or mode, open_session)

    engines = runtimes.engines_for(artifact)
    program = _with_mode(engines, Mode.FP32, artifact)
    requested = Mode(chosen) if chosen else None
    engine = _with_mode(engines, requested, artifact) if requested else runtimes.first_available(engines)
    if has_quantised_values(target):
        return [run(Check.PRECISION, engine, requested)]
    is_single = target.precision == Precision.FP32
    runs = [run(Check.PROGRAM, program, None if is_single else program.exact_mode, Mode.FP32)]
    if requested != Mode.FP32 and (not is_single or engine is not program):
        runs.append(run(Check.PRECISION, engine, requested))
    return runs


def _with_mode(engines: tuple[runtimes.Engine, ...], mode: Mode, artifact: Path) -> runtimes.Engine:
    engine = runtimes.engine_with_mode(engines, mode)
    if engine is None:
        raise NotRunHere(
            f"{artifact.name} runs in {engines[0].name}, which does not compute in mode {mode}, "
            f"only in {' and '.join(engines[0].modes)}.",
            "Leave out --mode and --compute-units.",
        )
    runtimes.require(engine, artifact.name)
    return engine
