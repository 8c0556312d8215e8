"""The trial of each case before timing: prepare, load and check it alone, and halve the batch if memory runs out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from evim_deploy.common.progress import Progress
from latency.engines import Job
from latency.enums import CheckStatus, Outcome
from latency.messages import NotOnThisHost, OpenReply, OutOfMemory, WorkerFailed, WrongOutput
from latency.plan import PlannedCase
from latency.prefetch import PreparationFailed, PreparedFiles, SpareWorkers, memory_limit, modules_of
from latency.process import WorkerProcess
from latency.protocol import NO_WARMUP_S
from latency.results import Attempt, Case, CaseSubject, Check, ColdStart, Memory, Round, Share
from latency.subjects import PreparedSubject
from latency.tolerances import max_error

_PREDICTIONS = 5
"""Predictions for a profile or a peak of memory; a single one if they are long."""


@dataclass(kw_only=True)
class RunningCase:
    """A case while it is measured.

    Attributes:
        planned: The planned case.
        record: The case in the results file, without its rounds.
        job: The job of its worker; None if it cannot be timed.
        prepared: The file to load and the expected output; None if it cannot be timed.
        own_bytes: Peak memory that it shares with no other process; GPU memory if a GPU computes.
        prediction_s: Approximate time of a prediction, seconds.
        warmup_s: Time of the warm-up, seconds.
        rounds: The rounds timed so far.
    """

    planned: PlannedCase
    record: Case
    job: Job | None = None
    prepared: PreparedSubject | None = None
    own_bytes: int = 0
    prediction_s: float = 0.0
    warmup_s: float = 0.0
    rounds: list[Round] = field(default_factory=list)

    def open(self, worker: WorkerProcess) -> OpenReply:
        """Load the case in a worker, predict once and check the output.

        Raises:
            WorkerFailed: It cannot be loaded, or its output differs from the model's.
        """
        assert self.job is not None
        assert self.prepared is not None
        opened: OpenReply = worker.ask(
            "open",
            module=self.planned.engine.module,
            job=asdict(self.job),
            libraries=self.prepared.libraries,
            expected=self.prepared.expected,
        )
        self._record_check(opened["error"])
        return opened

    def check(self, worker: WorkerProcess) -> None:
        """Check the last output of a worker.

        Raises:
            WrongOutput: It differs from the model's.
        """
        assert self.prepared is not None
        self._record_check(worker.ask("check", expected=self.prepared.expected)["error"])

    def fail(self, error: WorkerFailed) -> None:
        """Record a failure."""
        changes: dict[str, object] = {"outcome": Outcome.FAILED, "reason": str(error)}
        if isinstance(error, WrongOutput):
            changes["check"] = Check(status=CheckStatus.DIFFERENT, against=str(error))
        elif isinstance(error, OutOfMemory):
            changes["outcome"] = Outcome.OUT_OF_MEMORY
        elif isinstance(error, NotOnThisHost):
            changes["outcome"] = Outcome.NOT_RUN
        self.record = self.record.model_copy(update=changes)

    def finished(self, stop_reason: str) -> Case:
        """The record with its rounds; without a round, with the reason why the run stopped before."""
        if self.record.outcome == Outcome.MEASURED and not self.rounds:
            return self.record.model_copy(update={"outcome": Outcome.NOT_REACHED, "reason": stop_reason})
        return self.record.model_copy(update={"rounds": self.rounds, "warmup_s": self.warmup_s})

    def _record_check(self, error: float | None) -> None:
        """Record the relative error of an output.

        Raises:
            WrongOutput: It exceeds the tolerance.
        """
        assert self.prepared is not None
        reference = self.prepared.reference
        if error is None:
            check = Check(status=CheckStatus.NOT_CHECKED, against=reference)
        else:
            tolerance = max_error(self.planned.subject.kind, self.planned.precision, self.prepared.file_precision)
            if not error <= tolerance:  # NaN fails, too
                raise WrongOutput(
                    f"it differs from {reference} by {error:.1g} of the largest output, and {tolerance:g} is allowed"
                )
            check = Check(status=CheckStatus.EQUAL, against=reference, error=error, tolerance=tolerance)
        self.record = self.record.model_copy(update={"check": check})


class Trials:
    """Runs the trial of each case; cases that load the same file share its preparation.

    Args:
        folder: Folder for the files that engines load.
        with_memory: Whether to measure the peak memory.
        with_breakdown: Whether to record the engine's own profile.
        progress: Receiver of progress messages.
    """

    def __init__(self, folder: Path, *, with_memory: bool, with_breakdown: bool, progress: Progress) -> None:
        self._folder = folder
        self._files = PreparedFiles(folder)
        self._spares: SpareWorkers | None = None
        self._with_memory = with_memory
        self._with_breakdown = with_breakdown
        self._progress = progress

    @contextmanager
    def prepare_ahead(self, cases: Iterable[PlannedCase]) -> Iterator[None]:
        """Prepare the next cases in the background where an accelerator computes."""
        upcoming = [case for case in cases if case.device == "cuda" and not case.unavailable_reason]
        if not upcoming:
            yield
            return
        modules = tuple(dict.fromkeys(module for case in upcoming for module in modules_of(case)))
        with self._files.prepare_ahead(upcoming), SpareWorkers(modules, self._folder) as self._spares:
            yield
        self._spares = None

    def run(self, case: PlannedCase) -> RunningCase:
        """Try a case; the result has a job, or a record with the reason why there is none."""
        if case.unavailable_reason:
            reason = case.unavailable_reason
            return RunningCase(planned=case, record=case_record(case, outcome=Outcome.NOT_RUN, reason=reason))
        self._progress.step(f"{case.id}: loading and checking")
        attempts: list[Attempt] = []
        batch = case.batch
        while True:
            limit_bytes = memory_limit(case.device)
            try:
                return self._open(case, batch, limit_bytes, attempts)
            except PreparationFailed as error:
                return self._failed(case, batch, error.cause, [])
            except OutOfMemory as error:
                attempts.append(Attempt(batch=batch, outcome="out of memory", limit_bytes=limit_bytes))
                self._progress.detail(f"{case.id}: out of memory with a batch of {batch}: {error}")
                if batch == 1:
                    reason = f"memory ran out with every batch down to one image ({error})"
                    record = case_record(case, outcome=Outcome.OUT_OF_MEMORY, reason=reason, attempts=attempts)
                    return RunningCase(planned=case, record=record)
                batch //= 2
            except WorkerFailed as error:
                return self._failed(case, batch, error, attempts)

    def _failed(self, case: PlannedCase, batch: int, error: WorkerFailed, attempts: list[Attempt]) -> RunningCase:
        running = RunningCase(planned=case, record=case_record(case, batch, attempts=attempts))
        running.fail(error)
        return running

    def _open(self, case: PlannedCase, batch: int, limit_bytes: int | None, attempts: list[Attempt]) -> RunningCase:
        prepared = self._files.get(case, batch)
        job = Job(
            source=prepared.source,
            precision=case.precision,
            batch=batch,
            shape=prepared.shape,
            threads=case.threads,
            device=case.device,
            layout=case.layout,
            pixels=prepared.pixels,
        )
        running = RunningCase(planned=case, record=case_record(case, batch), job=job, prepared=prepared)
        with self._worker(case, limit_bytes) as worker:
            opened = running.open(worker)
            # on a GPU the first prediction compiles, and the second is captured as a CUDA graph
            discarded = int(case.device == "cuda")
            (running.prediction_s,) = worker.ask("predict", seconds=0, count=1, discarded=discarded)["samples_s"]
            count = 1 if running.prediction_s > NO_WARMUP_S else _PREDICTIONS
            memory = Memory(**worker.ask("memory", count=count)) if self._with_memory else None
            profile = worker.ask("profile", count=count)["operations"] if self._with_breakdown else []
        running.own_bytes = opened["own_bytes"]
        fits = Attempt(batch=batch, outcome="fits", limit_bytes=limit_bytes, peak_bytes=opened["peak_bytes"])
        changes: dict[str, object] = {
            "height": prepared.shape[1],
            "width": prepared.shape[2],
            "subject": _subject_record(case, prepared),
            "engine_version": opened["version"],
            "mode": opened["mode"] or case.layout or None,
            "cold_start": ColdStart(load_s=opened["load_s"], first_prediction_s=opened["first_prediction_s"]),
            "memory": memory,
            "attempts": [*attempts, fits],
            "breakdown": [Share(operation=each.pop("name"), **each) for each in profile] or None,
        }
        running.record = running.record.model_copy(update=changes)
        return running

    def _worker(self, case: PlannedCase, limit_bytes: int | None) -> WorkerProcess:
        if self._spares:
            return self._spares.take()
        return WorkerProcess(threads=case.threads, limit_bytes=limit_bytes, scratch=self._folder, python=case.python)


def case_record(case: PlannedCase, batch: int | None = None, **fields: object) -> Case:
    """The record of a case that has not been loaded.

    Args:
        case: The planned case.
        batch: Images in one prediction; None for the planned batch.
        fields: Other fields of the record, which replace those of the plan.
    """
    values: dict[str, object] = {
        "id": case.id,
        "group": case.group,
        "subject": _subject_record(case, None),
        "engine": case.engine.name,
        "engine_version": "",
        "mode": case.layout or None,
        "setting": case.setting,
        "device": case.device,
        "precision": case.precision,
        "threads": case.threads,
        "height": max(case.height, 1),
        "width": max(case.width, 1),
        "batch": batch or case.batch,
        "batch_asked": case.batch,
        "outcome": Outcome.MEASURED,
    }
    return Case.model_validate(values | fields)


def _subject_record(case: PlannedCase, prepared: PreparedSubject | None) -> CaseSubject:
    subject = case.subject
    return CaseSubject(
        kind=subject.kind,
        name=subject.name,
        source=subject.source,
        weights=prepared.weights if prepared else "not loaded",
        form=prepared.form if prepared else "not made",
        parameters=prepared.parameters if prepared else None,
        paper=subject.paper,
    )
