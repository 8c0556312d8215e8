"""The whole chain on this host: digits is exported in every format, proven, and reads handwriting in every engine."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from time import perf_counter

import exporters
import runtimes
from evim_deploy.catalog.variants import DIGITS, ModelName
from evim_deploy.commands.export import export
from evim_deploy.commands.predict import predict
from evim_deploy.commands.request import Request
from evim_deploy.common import threads
from evim_deploy.common.errors import EvimError, NotInstalled, ParityFailed, first_line
from evim_deploy.common.progress import Progress, Silent
from evim_deploy.images import digits

PASS, FAIL, NOT_RUN, NOT_INSTALLED = "pass", "fail", "not_run", "not_installed"

IMAGES = 200
"""Pictures that an engine reads, the first of those that were held out."""

FEWER = {"mil": 50}
"""Likewise of an engine that is slow: Core ML's packages are evaluated operation by operation."""

LEAST_TOP1 = 98.0
"""Of them in percent that must be read right."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """How it went with one precision of a format in one engine.

    Attributes:
        format: Which.
        precision: Which; empty where the format cannot be written here.
        engine: Which; empty where there was no artifact to run.
        status: ``pass``, ``fail``, ``not_run`` or ``not_installed``.
        reason: Why, where it is no pass.
        parity: The artifact beside its model, as its manifest has it; empty where there is no artifact.
        top1: Pictures that were read right, in percent; None where none was read.
        count: How many were read.
        seconds: How long the engine took to load the artifact and to read them.
    """

    format: str
    precision: str = ""
    engine: str = ""
    status: str = PASS
    reason: str = ""
    parity: str = ""
    top1: float | None = None
    count: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        return " ".join(filter(None, (self.format, self.precision, self.engine)))


@dataclass(frozen=True)
class SelfTest:
    """What came of it, and how many seconds it took."""

    checks: tuple[Check, ...]
    seconds: float

    @property
    def status(self) -> str:
        """``fail`` if something failed, ``pass`` if something ran, else ``not_run``."""
        found = {check.status for check in self.checks}
        return next((status for status in (FAIL, PASS) if status in found), NOT_RUN)

    def problems(self) -> list[EvimError]:
        """What failed; where nothing did, that nothing could be tried."""
        failed: list[EvimError] = [
            ParityFailed(f"{check} failed: {check.reason}.", "Install the versions that constraints.txt names.")
            for check in self.checks
            if check.status == FAIL
        ]
        if self.status != NOT_RUN:
            return failed
        return [NotInstalled("There is no format that this host can run.", 'pip install "evim-deploy[all]"')]


def self_test(progress: Progress | None = None) -> SelfTest:
    """Export, prove and run ``digits`` in all formats, precisions and engines; nothing is left of it."""
    progress, started = progress or Silent(), perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        images = _write_images(Path(folder))
        checks = [check for row in exporters.FORMATS.values() for check in _try(row, images, progress)]
    return SelfTest(tuple(checks), perf_counter() - started)


def _write_images(folder: Path) -> dict[Path, str]:
    """The pictures as files, and the label of each."""
    from PIL import Image

    found = {}
    pictures, labels = digits.held_out()
    for index in range(IMAGES):
        path = folder / f"{index}.png"
        Image.fromarray(pictures[index]).save(path)
        found[path] = digits.CLASSES[labels[index]]
    return found


def _try(row: exporters.Format, images: Mapping[Path, str], progress: Progress) -> Iterator[Check]:
    """Each precision of a format in each engine."""
    for precision in row.precisions:
        check = Check(format=row.name, precision=precision)
        try:
            with tempfile.TemporaryDirectory() as folder:
                request = Request(
                    model=ModelName(DIGITS), formats=(row.name,), precisions=(precision,), output_dir=Path(folder)
                )
                (made,) = export(request, progress)
                check = replace(check, parity=made["parity"]["status"])
                for engine in runtimes.engines_of(row.suffix):
                    some = dict(islice(images.items(), FEWER.get(engine.name)))
                    progress.step(f"{row.name} {precision}: reading {len(some)} digits in {engine.name}")
                    yield _read(Path(made["path"]), replace(check, engine=engine.name), engine, some)
        except NotInstalled as error:
            yield Check(format=row.name, status=NOT_INSTALLED, reason=error.cause)
            return
        except Exception as error:  # a broken installation may raise anything, and is what is looked for
            yield replace(check, status=FAIL, reason=first_line(error))


def _read(artifact: Path, check: Check, engine: runtimes.Engine, images: Mapping[Path, str]) -> Check:
    """An artifact's answers in an engine beside the labels."""
    reason = runtimes.unavailable_reason(engine)
    if reason:
        return replace(check, status=NOT_INSTALLED if runtimes.missing_package(engine) else NOT_RUN, reason=reason)
    started = perf_counter()
    try:
        with threads.computing(DIGITS.resolution**2):
            predictions = predict(artifact, list(images), 1, engine).predictions
    except Exception as error:  # as above
        return replace(check, status=FAIL, reason=first_line(error))
    right = sum(each.top[0].label == label for each, label in zip(predictions, images.values(), strict=True))
    top1 = 100 * right / len(images)
    check = replace(check, top1=top1, count=len(images), seconds=perf_counter() - started)
    if top1 >= LEAST_TOP1:
        return check
    return replace(check, status=FAIL, reason=f"{top1:.1f} % read right, and {LEAST_TOP1:.0f} % are to be")
