"""Before the clock: each contender alone is made ready, loaded and checked; the batch halves while memory runs out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from evim_deploy.common.progress import Progress
from latency.engines import Job
from latency.plan import Entry
from latency.prefetch import Files, NotPrepared, Spares, imports, limit
from latency.process import Absent, Different, OutOfMemory, WorkerFailed, WorkerProcess
from latency.protocol import WARMS_ITSELF_S
from latency.results import Attempt, Check, ColdStart, Contender, Memory, Round, Share, Subject
from latency.subjects import Prepared
from latency.tolerances import allowed

_PREDICTIONS = 5
"""That a profile, or a peak of memory, is taken over; one where they are long."""


@dataclass
class Member:
    """A contender while it is measured.

    Attributes:
        record: What the file will say of it, without its rounds.
        job: For its worker; None where it cannot be timed.
        prepared: What its worker loads, and what it must answer.
        own_bytes: What it held at most and shares with no other process, of the GPU's memory where it computes there.
        prediction_s: About how long a prediction takes.
    """

    entry: Entry
    record: Contender
    job: Job | None = None
    prepared: Prepared | None = None
    own_bytes: int = 0
    prediction_s: float = 0.0
    warmup_s: float = 0.0
    rounds: list[Round] = field(default_factory=list)

    def open(self, worker: WorkerProcess) -> dict[str, Any]:
        """Have a worker load it and predict once.

        Raises:
            WorkerFailed: It cannot, or its answer is not the model's.
        """
        assert self.job is not None
        assert self.prepared is not None
        opened = worker.ask(
            "open",
            module=self.entry.engine.module,
            job=asdict(self.job),
            libraries=self.prepared.libraries,
            expected=self.prepared.expected,
        )
        self._judge(opened["error"])
        return opened

    def check(self, worker: WorkerProcess) -> None:
        """Hold the last answer of a worker against the model's, too.

        Raises:
            Different: It is another.
        """
        assert self.prepared is not None
        self._judge(worker.ask("check", expected=self.prepared.expected)["error"])

    def fail(self, error: WorkerFailed) -> None:
        """Record that it failed, and how."""
        facts: dict[str, Any] = {"outcome": "failed", "reason": str(error)}
        if isinstance(error, Different):
            facts["check"] = Check(status="different", against=str(error))
        elif isinstance(error, OutOfMemory):
            facts["outcome"] = "out of memory"
        elif isinstance(error, Absent):
            facts["outcome"] = "not run on this host"
        self.record = self.record.model_copy(update=facts)

    def finished(self, stopped: str) -> Contender:
        """The record with its rounds, or with what stopped the run before there was one."""
        if self.record.outcome == "measured" and not self.rounds:
            return self.record.model_copy(update={"outcome": "not reached", "reason": stopped})
        return self.record.model_copy(update={"rounds": self.rounds, "warmup_s": self.warmup_s})

    def _judge(self, error: float | None) -> None:
        """Note how far an answer is from the expected one.

        Raises:
            Different: It is too far.
        """
        assert self.prepared is not None
        against = self.prepared.against
        if error is None:
            check = Check(status="not checked", against=against)
        else:
            most = allowed(self.entry.subject.kind, self.entry.precision, self.prepared.stored)
            if not error <= most:  # NaN is no answer either
                raise Different(f"it is {error:.1g} of the largest output off {against}, and {most:g} is allowed")
            check = Check(status="equal", against=against, error=error, tolerance=most)
        self.record = self.record.model_copy(update={"check": check})


class Trials:
    """Tries contenders; what is made ready for one is kept for others that take the same.

    Args:
        folder: For the files that engines load.
        wants_memory: Whether the peak of memory is taken.
        wants_breakdown: Whether the engine's own profile is.
        progress: Who is told.
    """

    def __init__(self, folder: Path, wants_memory: bool, wants_breakdown: bool, progress: Progress) -> None:
        self._folder = folder
        self._files = Files(folder)
        self._spares: Spares | None = None
        self._wants_memory = wants_memory
        self._wants_breakdown = wants_breakdown
        self._progress = progress

    @contextmanager
    def ahead(self, entries: Iterable[Entry]) -> Iterator[None]:
        """Within it, the next contenders are made ready beside the one that is tried, where an accelerator computes."""
        coming = [entry for entry in entries if entry.device == "cuda" and not entry.absent]
        if not coming:
            yield
            return
        modules = tuple(dict.fromkeys(module for entry in coming for module in imports(entry)))
        with self._files.ahead(coming), Spares(modules, self._folder) as self._spares:
            yield
        self._spares = None

    def of(self, entry: Entry) -> Member:
        """A contender with a job, or with the reason why there is none."""
        if entry.absent:
            return Member(entry, record(entry, outcome="not run on this host", reason=entry.absent))
        self._progress.step(f"{entry.id}: loading and checking")
        attempts: list[Attempt] = []
        batch = entry.batch
        while True:
            limit_bytes = limit(entry.device)
            try:
                return self._open(entry, batch, limit_bytes, attempts)
            except NotPrepared as error:
                return self._failed(entry, batch, error.cause, [])
            except OutOfMemory as error:
                attempts.append(Attempt(batch=batch, outcome="out of memory", limit_bytes=limit_bytes))
                self._progress.detail(f"{entry.id}: out of memory with a batch of {batch}: {error}")
                if batch == 1:
                    reason = f"memory ran out with every batch down to one image ({error})"
                    return Member(entry, record(entry, outcome="out of memory", reason=reason, attempts=attempts))
                batch //= 2
            except WorkerFailed as error:
                return self._failed(entry, batch, error, attempts)

    def _failed(self, entry: Entry, batch: int, error: WorkerFailed, attempts: list[Attempt]) -> Member:
        member = Member(entry, record(entry, batch, outcome="measured", attempts=attempts))
        member.fail(error)
        return member

    def _open(self, entry: Entry, batch: int, limit_bytes: int | None, attempts: list[Attempt]) -> Member:
        prepared = self._files.of(entry, batch)
        job = Job(
            prepared.source,
            entry.precision,
            batch,
            prepared.shape,
            entry.threads,
            entry.device,
            entry.layout,
            prepared.pixels,
        )
        member = Member(entry, record(entry, batch, outcome="measured"), job, prepared)
        with self._worker(entry, limit_bytes) as worker:
            opened = member.open(worker)
            # the first has compiled what is compiled, and the second captured what is captured as a CUDA graph
            lead = int(entry.device == "cuda")
            (member.prediction_s,) = worker.ask("predict", seconds=0, count=1, lead=lead)["samples_s"]
            count = 1 if member.prediction_s > WARMS_ITSELF_S else _PREDICTIONS
            held = Memory(**worker.ask("memory", count=count)) if self._wants_memory else None
            profile = worker.ask("profile", count=count)["operations"] if self._wants_breakdown else []
        member.own_bytes = opened["own_bytes"]
        fits = Attempt(batch=batch, outcome="fits", limit_bytes=limit_bytes, peak_bytes=opened["peak_bytes"])
        facts = {
            "height": prepared.shape[1],
            "width": prepared.shape[2],
            "subject": _subject(entry, prepared),
            "engine_version": opened["version"],
            "mode": opened["mode"] or entry.layout or None,
            "cold_start": ColdStart(load_s=opened["load_s"], first_prediction_s=opened["first_prediction_s"]),
            "memory": held,
            "attempts": [*attempts, fits],
            "breakdown": [Share(operation=each.pop("name"), **each) for each in profile] or None,
        }
        member.record = member.record.model_copy(update=facts)
        return member

    def _worker(self, entry: Entry, limit_bytes: int | None) -> WorkerProcess:
        if self._spares:
            return self._spares.take()
        return WorkerProcess(entry.threads, limit_bytes, self._folder, python=entry.python)


def record(entry: Entry, batch: int | None = None, **facts: Any) -> Contender:
    """What the file says of an entry before it was loaded, and what is known besides."""
    return Contender(
        **{
            "id": entry.id,
            "group": entry.group,
            "subject": _subject(entry, None),
            "engine": entry.engine.name,
            "engine_version": "",
            "mode": entry.layout or None,
            "setting": entry.setting,
            "device": entry.device,
            "precision": entry.precision,
            "threads": entry.threads,
            "height": max(entry.height, 1),
            "width": max(entry.width, 1),
            "batch": batch or entry.batch,
            "batch_asked": entry.batch,
            **facts,
        }
    )


def _subject(entry: Entry, prepared: Prepared | None) -> Subject:
    named = entry.subject
    return Subject(
        kind=named.kind,
        name=named.name,
        source=named.source,
        weights=prepared.weights if prepared else "not loaded",
        form=prepared.form if prepared else "not made",
        parameters=prepared.parameters if prepared else None,
        paper=named.paper,
    )
