"""A run: what was planned becomes a results file.

::

    plan ── trial (each alone: made ready, loaded, checked) ── rounds (all of a group) ── results

The order of the contenders is drawn anew for each round, from the seed. What stops a run, an interrupt or the
end of its budget, keeps what was measured.
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
from latency.engines import Job, yardstick
from latency.host import host
from latency.judgement import CONTROL
from latency.monitor import Monitor
from latency.plan import BenchRequest, Entry, Plan
from latency.prefetch import imports
from latency.process import WorkerFailed, WorkerProcess
from latency.protocol import LONG_S, PROTOCOLS, WARMS_ITSELF_S, deviations
from latency.results import Results, Round
from latency.subjects import Prepared, Subject
from latency.trial import Member, Trials, record

_INTERRUPTED = "it was interrupted"
_OUT_OF_BUDGET = "its budget ended"
_TRIALS = 0.5
"""Share of a group's budget after which no further contender is tried; the rest is for rounds of those that were."""

_YARDSTICK = Subject("yardstick", "yardstick", "numpy", 0)


class Session:
    """One run of a plan.

    Args:
        plan: What is timed.
        request: What the plan was made from.
        command: The command line, for the file.
        progress: Who is told.
    """

    def __init__(self, plan: Plan, request: BenchRequest, command: list[str], progress: Progress) -> None:
        self._plan = plan
        self._request = request
        self._protocol = request.protocol
        self._command = command
        self._progress = progress
        self._monitor = Monitor(gpu=any(entry.device == "cuda" for entry in plan.entries))
        self._members: list[Member] = []
        self._began = datetime.now(UTC)

    def measure(self) -> tuple[Results, BaseException | None]:
        """The results, and what ended the run before it was complete: an interrupt, or a fault."""
        stop: BaseException | None = None
        self._monitor.read("before")
        with tempfile.TemporaryDirectory(prefix="evim-deploy-bench-", ignore_cleanup_errors=True) as folder:
            self._folder = Path(folder)
            trials = Trials(self._folder, self._request.memory, self._request.breakdown, self._progress)
            try:
                groups = [list(group) for _, group in groupby(self._plan.entries, lambda entry: entry.group)]
                for index, entries in enumerate(groups):
                    self._measure_group(entries, trials, self._deadline(len(groups) - index))
            except KeyboardInterrupt as interrupt:
                stop = interrupt
            except Exception as fault:  # hours of samples are not lost to it; the caller raises it again
                stop = fault
        self._monitor.read("after")
        return self._results(stop), stop

    def _deadline(self, groups_left: int) -> float:
        """When the next group ends, in seconds since the run began: what is left of the budget is shared evenly."""
        now, budget = self._monitor.elapsed(), self._request.budget_s
        return math.inf if budget is None else now + (budget - now) / groups_left

    def _measure_group(self, entries: list[Entry], trials: Trials, deadline: float) -> None:
        members = []
        now = self._monitor.elapsed()
        trials_end = now + _TRIALS * (deadline - now)
        with trials.ahead(entries):
            for entry in entries:
                if self._monitor.elapsed() > trials_end:
                    break  # those that were tried are timed
                members.append(trials.of(entry))
                self._members.append(members[-1])
        able = [member for member in members if member.job is not None]
        if not able:
            return
        if not self._protocol.interleaved:
            for member in able:
                self._rounds([member], deadline)
            return
        beside = [_twin(able[0])]
        if entries[0].device == "cpu":
            beside.append(_yardstick(entries[0]))
        self._members += beside
        self._rounds([*able, *beside], deadline)

    def _rounds(self, members: list[Member], deadline: float) -> None:
        """Time members round by round, in processes that stay if memory holds all of them together."""
        room = memory.gpu_bytes()[1] if members[0].entry.device == "cuda" else memory.available()
        stays = sum(member.own_bytes for member in members) < memory.SHARE * room
        order = np.random.default_rng(self._request.seed)
        with ExitStack() as stack:
            workers = self._warm_all(members, stack) if stays else {}
            for index in range(self._protocol.rounds):
                if index and self._monitor.elapsed() > deadline:
                    return
                self._progress.step(f"{members[0].entry.group}: round {index + 1} of {self._protocol.rounds}")
                for place in order.permutation(len(members)):
                    member = members[place]
                    if member.record.outcome != "measured":
                        continue
                    try:
                        if member.record.id not in workers:
                            workers[member.record.id] = worker = stack.enter_context(self._process(member))
                            self._warm(member, worker)
                        worker = workers[member.record.id]
                        self._time(member, worker, index)
                    except WorkerFailed as error:
                        member.fail(error)
                    if not stays and member.record.id in workers:
                        workers.pop(member.record.id).close()
                self._monitor.read("during", [worker.pid for worker in workers.values()])

    def _warm_all(self, members: list[Member], stack: ExitStack) -> dict[str, WorkerProcess]:
        """Warm workers by the ids of their members; all of them start, and import, at the same time."""
        workers = {member.record.id: stack.enter_context(self._process(member)) for member in members}
        for member in members:
            try:
                self._warm(member, workers[member.record.id])
            except WorkerFailed as error:
                member.fail(error)
                workers.pop(member.record.id).close()
        return workers

    def _process(self, member: Member) -> WorkerProcess:
        entry = member.entry
        return WorkerProcess(entry.threads, scratch=self._folder, modules=imports(entry), python=entry.python)

    def _warm(self, member: Member, worker: WorkerProcess) -> None:
        """Have a worker open the member and predict until it is warm.

        Raises:
            WorkerFailed: It cannot, or its answer is not the model's.
        """
        opened = member.open(worker)
        warm = [opened["first_prediction_s"]]
        if member.prediction_s < WARMS_ITSELF_S or not self._protocol.interleaved:
            warm += worker.ask("predict", seconds=self._protocol.warmup_s, count=1, lead=0)["samples_s"]
        member.check(worker)
        member.warmup_s = member.warmup_s or sum(warm)

    def _time(self, member: Member, worker: WorkerProcess, index: int) -> None:
        protocol, started = self._protocol, self._monitor.elapsed()
        count, lead = (1, 0) if member.prediction_s > LONG_S else (protocol.least_samples, protocol.lead)
        answer = worker.ask("predict", seconds=protocol.seconds / protocol.rounds, count=count, lead=lead)
        if index + 1 == protocol.rounds:
            member.check(worker)
        member.rounds.append(Round(index=index, started_s=started, samples_s=answer["samples_s"]))

    def _results(self, stop: BaseException | None) -> Results:
        protocol = self._protocol
        stopped = "" if stop is None else _INTERRUPTED if isinstance(stop, KeyboardInterrupt) else f"it failed: {stop}"
        known = {member.record.id for member in self._members}
        missing = [entry for entry in self._plan.entries if entry.id not in known]
        why = stopped or _OUT_OF_BUDGET
        contenders = [member.finished(why) for member in self._members]
        contenders += [record(entry, outcome="not reached", reason=why) for entry in missing]
        left = ("measured", "not reached")
        is_short = any(c.outcome in left and len(c.rounds) < protocol.rounds for c in contenders)
        cause = stopped or (_OUT_OF_BUDGET if is_short else None)
        return Results(
            schema_name=results.SCHEMA,
            schema_version=results.SCHEMA_VERSION,
            tool=f"evim-deploy {__version__}",
            created=self._began,
            command=shlex.join(self._command),
            complete=cause is None,
            incomplete_because=cause,
            notes=list(self._plan.notes),
            host=host({package for entry in self._plan.entries for package in entry.engine.requires}),
            protocol=results.Protocol(
                name=protocol.name,
                seconds=protocol.seconds,
                warmup_s=protocol.warmup_s,
                rounds=protocol.rounds,
                seed=self._request.seed,
                budget_s=self._request.budget_s,
                deviations=deviations(protocol, PROTOCOLS[protocol.name]),
            ),
            readings=self._monitor.readings,
            contenders=contenders,
        )


def _twin(member: Member) -> Member:
    """The A/A control: the same thing once more, in a process of its own."""
    twin = member.record.model_copy(
        update={"id": f"{member.record.id}{CONTROL}", "role": "control", "breakdown": None, "attempts": []}
    )
    return replace(member, record=twin, rounds=[])


def _yardstick(beside: Entry) -> Member:
    """Work that never changes, with the threads of those beside it."""
    entry = replace(
        beside,
        subject=_YARDSTICK,
        engine=yardstick.ENGINE,
        precision="fp32",
        layout="",
        batch=1,
        height=1,
        width=1,
        setting=None,
    )
    job = Job("", "fp32", 1, (3, 1, 1), entry.threads, "cpu", "")
    unmade = Prepared("", job.shape, None, "work of no model", "none", "as it is", None)
    known = record(entry, outcome="measured", id=f"yardstick, {entry.group}", role="yardstick")
    return Member(entry, known, job, unmade)
