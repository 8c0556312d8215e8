"""A run: turns a plan into results.

::

    plan ── trials (each case alone: prepared, loaded, checked) ── rounds (all cases of a group) ── results

The order of the cases in each round is drawn from the seed. After an interrupt, or at the end of the budget, the
measurements so far remain.
"""

from __future__ import annotations

import math
import shlex
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

import numpy as np

from evim_deploy import __version__
from evim_deploy.common.progress import Progress
from latency import memory, results
from latency.engines import Job, calibration
from latency.enums import CaseRole, Outcome, SubjectKind
from latency.host import host_record
from latency.judgement import CONTROL_SUFFIX
from latency.messages import WorkerFailed
from latency.monitor import Monitor
from latency.plan import BenchRequest, Plan, PlannedCase
from latency.prefetch import modules_of, without_file
from latency.process import WorkerProcess
from latency.protocol import NO_WARMUP_S, PROTOCOLS, SINGLE_SAMPLE_S, deviations
from latency.results import Results, Round
from latency.subjects import Subject
from latency.trial import RunningCase, Trials, case_record

_INTERRUPTED = "it was interrupted"
_OUT_OF_BUDGET = "its budget ended"
_TRIAL_SHARE = 0.5
"""Share of a group's budget after which no further case is tried; the rest is for the rounds of the tried cases."""

_CALIBRATION = Subject(kind=SubjectKind.CALIBRATION, name="calibration workload", source="numpy", resolution=0)


class Session:
    """One run of a plan.

    Args:
        plan: The cases to time.
        request: The request that the plan was made from.
        command: The command line, recorded in the results.
        progress: Receiver of progress messages.
    """

    def __init__(self, plan: Plan, request: BenchRequest, command: list[str], progress: Progress) -> None:
        self._plan = plan
        self._request = request
        self._protocol = request.protocol
        self._command = command
        self._progress = progress
        self._monitor = Monitor(gpu=any(case.device == "cuda" for case in plan.cases))
        self._cases: list[RunningCase] = []
        self._started = datetime.now(UTC)

    def measure(self) -> tuple[Results, BaseException | None]:
        """Run the plan.

        Returns:
            The results, and the interrupt or error that stopped the run early, if any.
        """
        stop: BaseException | None = None
        self._monitor.read("before")
        with tempfile.TemporaryDirectory(prefix="evim-deploy-bench-", ignore_cleanup_errors=True) as folder:
            self._folder = Path(folder)
            trials = Trials(
                self._folder,
                with_memory=self._request.memory,
                with_breakdown=self._request.breakdown,
                progress=self._progress,
            )
            try:
                groups = [list(group) for _, group in groupby(self._plan.cases, lambda case: case.group)]
                for index, cases in enumerate(groups):
                    self._measure_group(cases, trials, self._deadline(len(groups) - index))
            except KeyboardInterrupt as interrupt:
                stop = interrupt
            except Exception as error:  # keeps hours of samples; the caller raises it again
                stop = error
        self._monitor.read("after")
        return self._results(stop), stop

    def _deadline(self, groups_left: int) -> float:
        """The end of the next group, seconds since the start: an equal share of the remaining budget."""
        now, budget = self._monitor.elapsed(), self._request.budget_s
        return math.inf if budget is None else now + (budget - now) / groups_left

    def _measure_group(self, planned: list[PlannedCase], trials: Trials, deadline: float) -> None:
        cases = []
        now = self._monitor.elapsed()
        trials_end = now + _TRIAL_SHARE * (deadline - now)
        with trials.prepare_ahead(planned):
            for case in planned:
                if self._monitor.elapsed() > trials_end:
                    break  # the cases tried so far are timed
                cases.append(trials.run(case))
                self._cases.append(cases[-1])
        able = [case for case in cases if case.job is not None]
        if not able:
            return
        if not self._protocol.interleaved:
            for running in able:
                self._rounds([running], deadline)
            return
        extra = [_control(able[0])]
        if planned[0].device == "cpu":
            extra.append(_calibration(planned[0]))
        self._cases += extra
        self._rounds([*able, *extra], deadline)

    def _rounds(self, cases: list[RunningCase], deadline: float) -> None:
        """Time cases round by round. Their processes stay open if memory is sufficient for all of them together."""
        room = memory.gpu_bytes()[1] if cases[0].planned.device == "cuda" else memory.available()
        stays_open = sum(case.own_bytes for case in cases) < memory.WORKER_SHARE * room
        order = np.random.default_rng(self._request.seed)
        with ExitStack() as stack:
            workers = self._warm_up_all(cases, stack) if stays_open else {}
            for index in range(self._protocol.rounds):
                if index and self._monitor.elapsed() > deadline:
                    return
                self._progress.step(f"{cases[0].planned.group}: round {index + 1} of {self._protocol.rounds}")
                for case_index in order.permutation(len(cases)):
                    case = cases[case_index]
                    if case.record.outcome != Outcome.MEASURED:
                        continue
                    try:
                        if case.record.id not in workers:
                            workers[case.record.id] = worker = stack.enter_context(self._process(case))
                            self._warm_up(case, worker)
                        self._time(case, workers[case.record.id], index)
                    except WorkerFailed as error:
                        case.fail(error)
                    if not stays_open and case.record.id in workers:
                        workers.pop(case.record.id).close()
                self._monitor.read("during", [worker.pid for worker in workers.values()])

    def _warm_up_all(self, cases: list[RunningCase], stack: ExitStack) -> dict[str, WorkerProcess]:
        """Start all workers at the same time, then warm them up; returns them by the ids of their cases."""
        workers = {case.record.id: stack.enter_context(self._process(case)) for case in cases}
        for case in cases:
            try:
                self._warm_up(case, workers[case.record.id])
            except WorkerFailed as error:
                case.fail(error)
                workers.pop(case.record.id).close()
        return workers

    def _process(self, case: RunningCase) -> WorkerProcess:
        planned = case.planned
        return WorkerProcess(
            threads=planned.threads, scratch=self._folder, modules=modules_of(planned), python=planned.python
        )

    def _warm_up(self, case: RunningCase, worker: WorkerProcess) -> None:
        """Load a case in a worker and predict until it is warm.

        Raises:
            WorkerFailed: It cannot be loaded, or its output differs from the model's.
        """
        opened = case.open(worker)
        warmup = [opened["first_prediction_s"]]
        if case.prediction_s < NO_WARMUP_S or not self._protocol.interleaved:
            warmup += worker.ask("predict", seconds=self._protocol.warmup_s, count=1, discarded=0)["samples_s"]
        case.check(worker)
        case.warmup_s = case.warmup_s or sum(warmup)

    def _time(self, case: RunningCase, worker: WorkerProcess, index: int) -> None:
        protocol, started = self._protocol, self._monitor.elapsed()
        is_long = case.prediction_s > SINGLE_SAMPLE_S
        count, discarded = (1, 0) if is_long else (protocol.min_samples, protocol.discarded)
        reply = worker.ask("predict", seconds=protocol.seconds / protocol.rounds, count=count, discarded=discarded)
        if index + 1 == protocol.rounds:
            case.check(worker)
        case.rounds.append(Round(index=index, started_s=started, samples_s=reply["samples_s"]))

    def _results(self, stop: BaseException | None) -> Results:
        protocol = self._protocol
        stopped = "" if stop is None else _INTERRUPTED if isinstance(stop, KeyboardInterrupt) else f"it failed: {stop}"
        tried = {case.record.id for case in self._cases}
        missing = [case for case in self._plan.cases if case.id not in tried]
        reason = stopped or _OUT_OF_BUDGET
        cases = [case.finished(reason) for case in self._cases]
        cases += [case_record(case, outcome=Outcome.NOT_REACHED, reason=reason) for case in missing]
        is_short = any(
            case.outcome in (Outcome.MEASURED, Outcome.NOT_REACHED) and len(case.rounds) < protocol.rounds
            for case in cases
        )
        cause = stopped or (_OUT_OF_BUDGET if is_short else None)
        return Results(
            schema_name=results.SCHEMA,
            schema_version=results.SCHEMA_VERSION,
            tool=f"evim-deploy {__version__}",
            created=self._started,
            command=shlex.join(self._command),
            complete=cause is None,
            incomplete_because=cause,
            notes=list(self._plan.notes),
            host=host_record({package for case in self._plan.cases for package in case.engine.requires}),
            protocol=results.ProtocolRecord(
                name=protocol.name,
                seconds=protocol.seconds,
                warmup_s=protocol.warmup_s,
                rounds=protocol.rounds,
                seed=self._request.seed,
                budget_s=self._request.budget_s,
                deviations=deviations(protocol, PROTOCOLS[protocol.name]),
            ),
            readings=self._monitor.readings,
            cases=cases,
        )


def _control(case: RunningCase) -> RunningCase:
    """The A/A control: the same case once more, in a process of its own."""
    record = case.record.model_copy(
        update={
            "id": f"{case.record.id}{CONTROL_SUFFIX}",
            "role": CaseRole.CONTROL,
            "breakdown": None,
            "attempts": [],
        }
    )
    return replace(case, record=record, rounds=[])


def _calibration(beside: PlannedCase) -> RunningCase:
    """The calibration workload, with the threads of the cases that it is timed with."""
    planned = replace(
        beside,
        subject=_CALIBRATION,
        engine=calibration.ENGINE,
        precision="fp32",
        layout="",
        batch=1,
        height=1,
        width=1,
        setting=None,
    )
    prepared = without_file(calibration.ENGINE, "")
    job = Job(
        source="",
        precision="fp32",
        batch=1,
        shape=prepared.shape,
        threads=planned.threads,
        device="cpu",
        layout="",
    )
    record = case_record(planned, id=f"calibration workload, {planned.group}", role=CaseRole.CALIBRATION)
    return RunningCase(planned=planned, record=record, job=job, prepared=prepared)
