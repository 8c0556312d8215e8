"""Before the clock: each contender alone is made ready, loaded and checked; the batch halves while memory runs out."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from evim_deploy.progress import Progress
from latency import memory
from latency.engines import Job
from latency.plan import Entry
from latency.process import Different, OutOfMemory, WorkerFailed, WorkerProcess
from latency.protocol import WARMS_ITSELF_S
from latency.results import Attempt, Check, ColdStart, Contender, Memory, Round, Share, Subject
from latency.subjects import Prepared
from latency.tolerances import allowed

_PREDICTIONS = 5
"""That a profile, or a peak of memory, is taken over; one where they are long."""

_ONE_PURPOSE = (".tflite", ".mlpackage")
"""Files that are made for one batch and precision; the others are for any."""


@dataclass
class Member:
    """A contender while it is measured.

    Attributes:
        record: What the file will say of it, without its rounds.
        job: For its worker; None where it cannot be timed.
        libraries: That its file needs.
        own_bytes: What its process held at most and shares with no other.
        prediction_s: About how long a prediction takes.
    """

    entry: Entry
    record: Contender
    job: Job | None = None
    libraries: tuple[str, ...] = ()
    own_bytes: int = 0
    prediction_s: float = 0.0
    warmup_s: float = 0.0
    rounds: list[Round] = field(default_factory=list)

    def open(self, worker: WorkerProcess, expected: str | None = None) -> dict[str, Any]:
        """Have a worker load it and predict once."""
        assert self.job is not None
        module = self.entry.engine.module
        return worker.ask("open", module=module, job=asdict(self.job), libraries=self.libraries, expected=expected)

    def fail(self, reason: str) -> None:
        """Record that it failed."""
        self.record = self.record.model_copy(update={"outcome": "failed", "reason": reason})

    def finished(self) -> Contender:
        """The record with its rounds."""
        return self.record.model_copy(update={"rounds": self.rounds, "warmup_s": self.warmup_s})


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
        self._wants_memory = wants_memory
        self._wants_breakdown = wants_breakdown
        self._progress = progress
        self._prepared: dict[tuple[object, ...], Prepared] = {}

    def of(self, entry: Entry) -> Member:
        """A contender with a job, or with the reason why there is none."""
        if entry.absent:
            return Member(entry, record(entry, outcome="not run on this host", reason=entry.absent))
        self._progress.step(f"{entry.id}: loading and checking")
        attempts: list[Attempt] = []
        batch = entry.batch
        while True:
            limit = _limit(entry.device)
            try:
                return self._open(entry, batch, limit, attempts)
            except Different as error:
                check = Check(status="different", against=str(error))
                return Member(entry, record(entry, batch, outcome="failed", reason=str(error), check=check))
            except OutOfMemory as error:
                attempts.append(Attempt(batch=batch, outcome="out of memory", limit_bytes=limit))
                self._progress.detail(f"{entry.id}: out of memory with a batch of {batch}: {error}")
                if batch == 1:
                    reason = f"memory ran out with every batch down to one image ({error})"
                    return Member(entry, record(entry, outcome="out of memory", reason=reason, attempts=attempts))
                batch //= 2
            except WorkerFailed as error:
                return Member(entry, record(entry, batch, outcome="failed", reason=str(error), attempts=attempts))

    def _open(self, entry: Entry, batch: int, limit: int | None, attempts: list[Attempt]) -> Member:
        prepared = self._prepare(entry, batch)
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
        member = Member(entry, record(entry, batch, outcome="measured"), job, prepared.libraries)
        with WorkerProcess(entry.threads, limit) as worker:
            opened = member.open(worker, prepared.expected)
            # the first may have compiled something
            (member.prediction_s,) = worker.ask("predict", seconds=0, count=1, lead=0)["samples_s"]
            count = 1 if member.prediction_s > WARMS_ITSELF_S else _PREDICTIONS
            held = Memory(**worker.ask("memory", count=count)) if self._wants_memory else None
            profile = worker.ask("profile", count=count)["operations"] if self._wants_breakdown else []
        member.own_bytes = opened["own_bytes"]
        fits = Attempt(batch=batch, outcome="fits", limit_bytes=limit, peak_bytes=opened["peak_bytes"])
        facts = {
            "height": prepared.shape[1],
            "width": prepared.shape[2],
            "subject": _subject(entry, prepared),
            "engine_version": opened["version"],
            "check": _check(opened["error"], prepared, entry),
            "cold_start": ColdStart(load_s=opened["load_s"], first_prediction_s=opened["first_prediction_s"]),
            "memory": held,
            "attempts": [*attempts, fits],
            "breakdown": [Share(operation=each.pop("name"), **each) for each in profile] or None,
        }
        member.record = member.record.model_copy(update=facts)
        return member

    def _prepare(self, entry: Entry, batch: int) -> Prepared:
        """The file for the engine, made once for whoever takes the same."""
        if not entry.engine.takes:
            return Prepared(entry.subject.source, (3, 1, 1), None, "work of no model", "none", "as it is", None)
        target = {
            "engine_takes": entry.engine.takes,
            "precision": entry.precision,
            "batch": batch,
            "height": entry.height,
            "width": entry.width,
        }
        purpose = (batch, entry.precision) if entry.engine.takes in _ONE_PURPOSE else ()
        key = (entry.subject, entry.engine.takes, entry.height, entry.width, *purpose)
        if key not in self._prepared:
            place = self._folder / str(len(self._prepared))
            place.mkdir()
            with WorkerProcess(limit_bytes=_limit("cpu")) as worker:
                try:
                    answer = worker.ask("prepare", subject=asdict(entry.subject), folder=str(place), **target)
                except OutOfMemory as error:  # at one image: a smaller batch would not help
                    raise WorkerFailed(f"memory ran out before it was timed: {error}") from None
            lists = {"shape": tuple(answer["shape"]), "libraries": tuple(answer["libraries"])}
            self._prepared[key] = Prepared(**{**answer, **lists})
        return self._prepared[key]


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


def _limit(device: str) -> int | None:
    """Memory that a worker may use, all others being closed; None where the host cannot hold it to one."""
    return int(memory.SHARE * memory.available()) if memory.can_limit() and device == "cpu" else None


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


def _check(error: float | None, prepared: Prepared, entry: Entry) -> Check:
    """What the answer's distance from the expected one means.

    Raises:
        Different: It is too far.
    """
    if error is None:
        return Check(status="not checked", against=prepared.against)
    most = allowed(entry.subject.kind, entry.precision, prepared.stored)
    if error > most:
        raise Different(f"it is {error:.1g} of the largest output off {prepared.against}, and {most:g} is allowed")
    return Check(status="equal", against=prepared.against, error=error, tolerance=most)
