"""Preparation of the next cases on the CPU while an accelerator computes.

Writing an engine's file takes seconds, and so does importing PyTorch in a new process. None of this runs beside a case
that is timed on the CPU.
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
from latency.engines import Engine
from latency.enums import SubjectKind
from latency.messages import WorkerFailed
from latency.plan import PlannedCase
from latency.process import WorkerProcess
from latency.subjects import PreparedSubject

_CORES_PER_PROCESS = 4
"""Cores available to one preparation, or to one import."""

_FIXED_BATCH = (".tflite", ".mlpackage")
"""Suffixes of files with a fixed batch."""

_Key = tuple[object, ...]


class PreparationFailed(Exception):
    """A case could not be prepared, for a reason that does not depend on the batch."""

    def __init__(self, cause: WorkerFailed) -> None:
        super().__init__(str(cause))
        self.cause = cause


def parallel_processes() -> int:
    """The number of processes that prepare something at the same time."""
    return max(1, describe_host().cores // _CORES_PER_PROCESS)


def modules_of(case: PlannedCase) -> tuple[str, ...]:
    """The modules of a case that take long to import."""
    packages = (*case.engine.requires, *(["timm"] if case.subject.kind == SubjectKind.PEER else []))
    return tuple(package.replace("-", "_") for package in packages)


def memory_limit(device: str) -> int | None:
    """The memory limit of the only open worker, bytes; None where the host cannot limit a process."""
    return int(memory.WORKER_SHARE * memory.available()) if memory.can_limit() and device == "cpu" else None


def without_file(engine: Engine, source: str) -> PreparedSubject:
    """The prepared subject of an engine that loads no file."""
    assert not engine.file_suffix
    return PreparedSubject(
        source=source,
        shape=(3, 1, 1),
        expected=None,
        reference="no model, nothing to compare with",
        weights="none",
        form="as it is",
    )


class PreparedFiles:
    """The files of engines. Each is made in a process of its own and shared by the cases that load the same file.

    Args:
        folder: Folder for the files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._prepared: dict[_Key, PreparedSubject] = {}
        self._pending: dict[_Key, Future[PreparedSubject]] = {}
        self._workers: set[WorkerProcess] = set()
        self._is_cancelled = False

    def get(self, case: PlannedCase, batch: int) -> PreparedSubject:
        """The file of a case, made now if it has not been.

        Raises:
            PreparationFailed: The file cannot be made.
        """
        if not case.engine.file_suffix:
            return without_file(case.engine, case.subject.source)
        key = _key(case, batch)
        if key not in self._prepared:
            pending = self._pending.get(key)
            self._prepared[key] = pending.result() if pending else self._prepare(case, batch)
        return self._prepared[key]

    @contextmanager
    def prepare_ahead(self, cases: Iterable[PlannedCase]) -> Iterator[None]:
        """Make the files of cases in the background, in their order; the end of the context cancels the rest."""
        with ThreadPoolExecutor(parallel_processes()) as pool:
            try:
                for case in cases:
                    key = _key(case, case.batch)
                    if case.engine.file_suffix and key not in self._prepared and key not in self._pending:
                        self._pending[key] = pool.submit(self._prepare, case, case.batch)
                yield
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
                self._is_cancelled = True  # for a worker that is just starting
                for worker in tuple(self._workers):
                    worker.kill()
        self._is_cancelled = False
        self._pending.clear()

    def _prepare(self, case: PlannedCase, batch: int) -> PreparedSubject:
        folder = tempfile.mkdtemp(dir=self._folder)
        with WorkerProcess(limit_bytes=memory_limit("cpu"), scratch=self._folder) as worker:
            self._workers.add(worker)
            if self._is_cancelled:
                worker.kill()
            try:
                reply = worker.ask(
                    "prepare",
                    subject=asdict(case.subject),
                    folder=folder,
                    file_suffix=case.engine.file_suffix,
                    file_precision=case.engine.file_precision(case.precision),
                    batch=batch,
                    height=case.height,
                    width=case.width,
                )
            except WorkerFailed as error:
                raise PreparationFailed(error) from None
            finally:
                self._workers.discard(worker)
        tuples = {"shape": tuple(reply["shape"]), "libraries": tuple(reply["libraries"])}
        return PreparedSubject(**{**reply, **tuples})


class SpareWorkers:
    """Workers that have already imported their modules. A worker in use is replaced at once.

    Args:
        modules: Modules to import.
        scratch: Folder for files of libraries.
    """

    def __init__(self, modules: Sequence[str], scratch: Path) -> None:
        self._modules = modules
        self._scratch = scratch
        self._ready: deque[WorkerProcess] = deque()

    def take(self) -> WorkerProcess:
        """The worker that was started first. The caller closes it."""
        self._ready.append(self._start())
        return self._ready.popleft()

    def __enter__(self) -> SpareWorkers:
        self._ready.extend(self._start() for _ in range(parallel_processes()))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._ready:
            worker.close()

    def _start(self) -> WorkerProcess:
        return WorkerProcess(scratch=self._scratch, modules=self._modules)


def _key(case: PlannedCase, batch: int) -> _Key:
    """A key that is equal for cases that load the same file, whatever their names."""
    suffix, precision = case.engine.file_suffix, case.engine.file_precision(case.precision)
    fixed_batch = batch if suffix in _FIXED_BATCH else None
    return case.subject.kind, case.subject.source, suffix, precision, fixed_batch, case.height, case.width
