"""Make ready what the next contenders need, on the processor, while an accelerator computes.

To write the file of an engine takes seconds, and so does the import of PyTorch in a fresh process. Where the processor
itself is timed, nothing of this runs beside a contender.
"""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

from evim_deploy.common.host import describe_host
from latency import memory
from latency.plan import Entry
from latency.process import WorkerFailed, WorkerProcess
from latency.subjects import Prepared

_CORES_EACH = 4
"""Cores that one preparation, or one import, is left."""

_ONE_BATCH = (".tflite", ".mlpackage")
"""Files that are made for one batch; the others are for any."""

_Key = tuple[object, ...]


class NotPrepared(Exception):
    """A contender could not be made ready, which a smaller batch would not help; says why."""

    def __init__(self, cause: WorkerFailed) -> None:
        super().__init__(str(cause))
        self.cause = cause


def side_by_side() -> int:
    """Processes that make something ready at the same time."""
    return max(1, describe_host().cores // _CORES_EACH)


def imports(entry: Entry) -> tuple[str, ...]:
    """Modules that take a worker of this contender long to import."""
    packages = (*entry.engine.requires, *(["timm"] if entry.subject.kind == "peer" else []))
    return tuple(package.replace("-", "_") for package in packages)


class Files:
    """The files of engines, each made in a process of its own and kept for all contenders that take the same.

    Args:
        folder: For the files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[_Key, Prepared] = {}
        self._coming: dict[_Key, Future[Prepared]] = {}
        self._makers: set[WorkerProcess] = set()
        self._gives_up = False

    def of(self, entry: Entry, batch: int) -> Prepared:
        """The file of a contender.

        Raises:
            NotPrepared: It cannot be made.
        """
        if not entry.engine.takes:  # work that is no model's
            return Prepared(entry.subject.source, (3, 1, 1), None, "work of no model", "none", "as it is", None)
        key = _key(entry, batch)
        if key not in self._made:
            coming = self._coming.get(key)
            self._made[key] = coming.result() if coming else self._make(entry, batch)
        return self._made[key]

    @contextmanager
    def ahead(self, entries: Iterable[Entry]) -> Iterator[None]:
        """Make the files of contenders in their order, some at a time; at the end what is not made is given up."""
        with ThreadPoolExecutor(side_by_side()) as pool:
            try:
                for entry in entries:
                    key = _key(entry, entry.batch)
                    if entry.engine.takes and key not in self._made and key not in self._coming:
                        self._coming[key] = pool.submit(self._make, entry, entry.batch)
                yield
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
                self._gives_up = True  # for one that starts just now
                for maker in tuple(self._makers):
                    maker.kill()
        self._gives_up = False
        self._coming.clear()

    def _make(self, entry: Entry, batch: int) -> Prepared:
        place = tempfile.mkdtemp(dir=self._folder)
        with WorkerProcess(limit_bytes=limit("cpu"), scratch=self._folder) as worker:
            self._makers.add(worker)
            if self._gives_up:
                worker.kill()
            try:
                answer = worker.ask(
                    "prepare",
                    subject=asdict(entry.subject),
                    folder=place,
                    engine_takes=entry.engine.takes,
                    stored=entry.engine.stored(entry.precision),
                    batch=batch,
                    height=entry.height,
                    width=entry.width,
                )
            except WorkerFailed as error:
                raise NotPrepared(error) from None
            finally:
                self._makers.discard(worker)
        lists = {"shape": tuple(answer["shape"]), "libraries": tuple(answer["libraries"])}
        return Prepared(**{**answer, **lists})


class Spares:
    """Workers that have imported their modules; one that is taken is replaced at once.

    Args:
        modules: What they import.
        scratch: Folder for what libraries leave behind.
    """

    def __init__(self, modules: Sequence[str], scratch: Path) -> None:
        self._modules = modules
        self._scratch = scratch
        self._ready: deque[WorkerProcess] = deque()

    def take(self) -> WorkerProcess:
        """The worker that has waited longest; whoever takes it closes it."""
        self._ready.append(self._start())
        return self._ready.popleft()

    def __enter__(self) -> Spares:
        self._ready.extend(self._start() for _ in range(side_by_side()))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._ready:
            worker.close()

    def _start(self) -> WorkerProcess:
        return WorkerProcess(scratch=self._scratch, modules=self._modules)


def limit(device: str) -> int | None:
    """Bytes that a worker may use, all others being closed; None where the host cannot hold it to a limit."""
    return int(memory.SHARE * memory.available()) if memory.can_limit() and device == "cpu" else None


def _key(entry: Entry, batch: int) -> _Key:
    """The same for contenders that take the same file, whatever tables call them."""
    batches = batch if entry.engine.takes in _ONE_BATCH else None
    stored = entry.engine.stored(entry.precision)
    return entry.subject.kind, entry.subject.source, entry.engine.takes, stored, batches, entry.height, entry.width
