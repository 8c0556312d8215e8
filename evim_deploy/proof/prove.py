"""Decide whether an artifact equals its model: run it, compare its outputs, its stored weights and its operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import runtimes
from evim_deploy.artifact.parity import FAIL, Operations, Parity
from evim_deploy.artifact.target import Target
from evim_deploy.common import threads
from evim_deploy.common.errors import NotRunHere, ParityFailed
from evim_deploy.common.progress import Progress
from evim_deploy.proof.operations.compare import match_operations
from evim_deploy.proof.outputs.checker import PRECISION, PROGRAM, ParityChecker, Run
from evim_deploy.proof.stored_weights import compare_stored
from runtimes.modes import Mode


def prove_functions(
    artifact: Path,
    target: Target,
    prover: ParityChecker,
    progress: Progress,
    mode: str | None = None,
    compute_units: str | None = None,
) -> tuple[Parity, Mapping[str, Parity]]:
    """Prove an artifact of a known model, and by their names each of its functions where it has several.

    Raises:
        BadInput: The artifact is damaged.
    """
    functions = {
        name: prove(artifact, function, prover, progress, mode, compute_units, name)
        for name, function in target.of_functions().items()
    }
    if functions:
        return Parity.of_functions(functions), functions
    return prove(artifact, target, prover, progress, mode, compute_units), {}


def prove(
    artifact: Path,
    target: Target,
    prover: ParityChecker,
    progress: Progress,
    mode: str | None = None,
    compute_units: str | None = None,
    function: str | None = None,
) -> Parity:
    """Prove an artifact of a known model, or one of its functions.

    What this host cannot run is ``not_run``, with the reason.

    What it computes over some inputs does not show a weight that none of them needs, so the weights that its
    file stores are compared too. Of one whose values are rounded on the way outputs tell little, so each of its
    operations is.

    Raises:
        BadInput: The artifact is damaged.
    """
    try:
        runs = _runs(artifact, target, mode, compute_units, function)
        engines = ", ".join(dict.fromkeys(f"{run.engine} {run.mode}" for run in runs))
        progress.step(f"{target}: comparing with {prover.reference.engine} ({engines})")
        with threads.computing(prover.pixels(target)):
            parity = prover.prove(target, runs)
            stored = compare_stored(prover.reference, target, runtimes.read_operations(artifact, function))
            operations = _operations(artifact, target, prover, progress) if has_quantised_values(target) else None
    except NotRunHere as error:
        return Parity.not_run(f"not run on this host: {error.cause} {error.remedy}")
    except ParityFailed as error:
        return Parity(status=FAIL, reason=error.cause)
    parity = replace(parity, stored=stored, operations=operations)
    wrong = [_some("it stores other weights than the model's", stored.changed)] if stored.changed else []
    if operations is not None and operations.diverging:
        wrong.append(_some("it computes other values than the model's", operations.diverging))
    if not wrong:
        return parity
    return replace(parity, status=FAIL, reason="; ".join(filter(None, (parity.reason, *wrong))))


def _some(what: str, names: Sequence[str]) -> str:
    rest = f"; and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
    return f"{what}: {'; '.join(names[:_TOLD])}{rest}"


_TOLD = 3
"""Of changed weights, how many a message names."""


def has_quantised_values(target: Target) -> bool:
    """Whether an artifact's values are rounded to grids that were found when it was made."""
    return bool(target.quantisation and target.quantisation.qparams)


def _operations(artifact: Path, target: Target, prover: ParityChecker, progress: Progress) -> Operations:
    """Each operation of an artifact on the values that it is given there."""
    progress.step(f"{target}: comparing its operations one by one")
    engine = runtimes.exact_engine(artifact)
    name, image = prover.first(target)
    report = match_operations(
        prover.reference, target, runtimes.trace(artifact, image, engine, engine.exact_mode), image
    )
    return Operations(
        input=name,
        operations=len(report.layers) + len(report.unmatched),
        compared=len(report.layers),
        diverging=tuple(str(layer) for layer in report.layers if layer.diverges),
        worst=max((layer.excess for layer in report.layers), default=0.0),
    )


def _runs(
    artifact: Path, target: Target, mode: str | None, compute_units: str | None, function: str | None
) -> Sequence[Run]:
    """How an artifact is run: its program in float32, and itself as it computes.

    The program of a float32 artifact is run as it stands: a float16 that is hidden in it would be widened otherwise.

    Raises:
        NotRunHere: No engine on this host runs it, or none in the mode that was asked for.
    """

    def run(subject: str, engine: runtimes.Engine, mode: Mode | None, name: str = "") -> Run:
        mode = mode or engine.default_mode
        open_session = partial(runtimes.open_artifact, artifact, engine, mode, function)
        return Run(subject, engine.name, name or mode, open_session)

    engines = runtimes.engines_for(artifact)
    program = _with_mode(engines, Mode.FP32, artifact)
    chosen = compute_units or mode
    requested = Mode(chosen) if chosen else None
    engine = _with_mode(engines, requested, artifact) if requested else runtimes.first_available(engines)
    if has_quantised_values(target):
        return [run(PRECISION, engine, requested)]
    runs = [run(PROGRAM, program, None if target.precision == "fp32" else program.exact_mode, Mode.FP32)]
    if requested != Mode.FP32 and (target.precision != "fp32" or engine is not program):
        runs.append(run(PRECISION, engine, requested))
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
