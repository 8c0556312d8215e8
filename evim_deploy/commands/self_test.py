"""Test the installation: export digits in every format, prove it, and classify handwriting in every engine."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
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


class SelfTestStatus(StrEnum):
    """The outcome of one check, or of all."""

    PASS = "pass"
    FAIL = "fail"
    NOT_RUN = "not_run"
    NOT_INSTALLED = "not_installed"


IMAGES = 200
"""Number of held-out images that an engine classifies."""

FEWER = {"mil": 50}
"""The number for slow engines: mil evaluates Core ML packages operation by operation."""

LEAST_TOP1 = 98.0
"""Top-1 accuracy that an engine must reach, in percent."""


@dataclass(frozen=True, kw_only=True)
class SelfTestCheck:
    """The check of one precision of a format in one engine.

    Attributes:
        format: The name of the format.
        precision: The precision; empty if the format cannot be written here.
        engine: The name of the engine; empty if there was no artifact to run.
        status: The outcome.
        reason: The reason for any other outcome than a pass.
        parity: The status of the parity check in the manifest; empty without an artifact.
        top1: Top-1 accuracy in percent; None if no image was classified.
        count: Number of classified images.
        seconds: Time to load the artifact and classify the images.
    """

    format: str
    precision: str = ""
    engine: str = ""
    status: SelfTestStatus = SelfTestStatus.PASS
    reason: str = ""
    parity: str = ""
    top1: float | None = None
    count: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        return " ".join(filter(None, (self.format, self.precision, self.engine)))


@dataclass(frozen=True)
class SelfTest:
    """All checks, and the time that they took in seconds."""

    checks: tuple[SelfTestCheck, ...]
    seconds: float

    @property
    def status(self) -> SelfTestStatus:
        """``fail`` if a check failed, ``pass`` if the others ran, else ``not_run``."""
        statuses = {check.status for check in self.checks}
        decisive = (SelfTestStatus.FAIL, SelfTestStatus.PASS)
        return next((status for status in decisive if status in statuses), SelfTestStatus.NOT_RUN)

    def problems(self) -> list[EvimError]:
        """The failed checks as errors; one error if no check could run."""
        failed: list[EvimError] = [
            ParityFailed(f"{check} failed: {check.reason}.", "Install the versions that constraints.txt names.")
            for check in self.checks
            if check.status == SelfTestStatus.FAIL
        ]
        if self.status != SelfTestStatus.NOT_RUN:
            return failed
        return [NotInstalled("This host cannot run any format.", 'pip install "evim-deploy[all]"')]


def self_test(progress: Progress | None = None) -> SelfTest:
    """Export, prove and run ``digits`` in all formats, precisions and engines, in a temporary folder."""
    progress, started = progress or Silent(), perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        images = _write_images(Path(folder))
        checks = [check for row in exporters.FORMATS.values() for check in _try(row, images, progress)]
    return SelfTest(tuple(checks), perf_counter() - started)


def _write_images(folder: Path) -> dict[Path, str]:
    """Write the images as files; their paths with their labels."""
    from PIL import Image

    labels_of = {}
    pictures, labels = digits.held_out()
    for index in range(IMAGES):
        path = folder / f"{index}.png"
        Image.fromarray(pictures[index]).save(path)
        labels_of[path] = digits.CLASSES[labels[index]]
    return labels_of


def _try(row: exporters.Format, images: Mapping[Path, str], progress: Progress) -> Iterator[SelfTestCheck]:
    """Check each precision of a format in each engine."""
    for precision in row.precisions:
        check = SelfTestCheck(format=row.name, precision=precision)
        try:
            with tempfile.TemporaryDirectory() as folder:
                request = Request(
                    model=ModelName(DIGITS), formats=(row.name,), precisions=(precision,), output_dir=Path(folder)
                )
                (made,) = export(request, progress)
                check = replace(check, parity=made["parity"]["status"])
                for engine in runtimes.engines_of(row.suffix):
                    some = dict(islice(images.items(), FEWER.get(engine.name)))
                    progress.step(f"{row.name} {precision}: classifying {len(some)} digits in {engine.name}")
                    yield _read(Path(made["path"]), replace(check, engine=engine.name), engine, some)
        except NotInstalled as error:
            yield SelfTestCheck(format=row.name, status=SelfTestStatus.NOT_INSTALLED, reason=error.cause)
            return
        except Exception as error:  # a broken installation may raise anything
            yield replace(check, status=SelfTestStatus.FAIL, reason=first_line(error))


def _read(artifact: Path, check: SelfTestCheck, engine: runtimes.Engine, images: Mapping[Path, str]) -> SelfTestCheck:
    """The accuracy of an artifact in an engine, on images with their labels."""
    reason = runtimes.unavailable_reason(engine)
    if reason:
        status = SelfTestStatus.NOT_INSTALLED if runtimes.missing_package(engine) else SelfTestStatus.NOT_RUN
        return replace(check, status=status, reason=reason)
    started = perf_counter()
    try:
        with threads.computing(DIGITS.resolution**2):
            predictions = predict(artifact, list(images), 1, engine).predictions
    except Exception as error:  # as above
        return replace(check, status=SelfTestStatus.FAIL, reason=first_line(error))
    right = sum(each.top[0].label == label for each, label in zip(predictions, images.values(), strict=True))
    top1 = 100 * right / len(images)
    check = replace(check, top1=top1, count=len(images), seconds=perf_counter() - started)
    if top1 >= LEAST_TOP1:
        return check
    reason = f"top-1 accuracy is {top1:.1f} %, below {LEAST_TOP1:.0f} %"
    return replace(check, status=SelfTestStatus.FAIL, reason=reason)
