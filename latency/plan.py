"""What a user asks to be timed, and the contenders that it comes to; decided before anything heavy is imported."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from evim_deploy.catalog.terms import UNQUANTISED
from evim_deploy.catalog.variants import MAX_BATCH, MAX_RESOLUTION, MIN_RESOLUTION, ModelName
from evim_deploy.common.errors import BadInput, UsageProblem
from latency.engines import ENGINES, LAYOUTS, Engine, find_engine, require, why_not
from latency.gpu import has_driver
from latency.peers import find_peers
from latency.protocol import Protocol
from latency.settings import SETTINGS, Setting, thread_words
from latency.subjects import Subject, artifact_subject, mixer_subjects, model_subject, peer_subject
from runtimes import engines_for

if TYPE_CHECKING:
    from latency.artifacts import Fixed

ALL_THREADS = None
NATIVE = None
MOST_THREADS = 1024

_MIXERS = "figure-3"


@dataclass(frozen=True)
class BenchRequest:
    """What a user asks for; what is empty or None is left to the settings.

    Attributes:
        protocol: How samples are taken, with what the user changed in it.
        models: EfficientViM, by size.
        artifacts: Files.
        peers: ``table-e``, ``table-3``, ``figure-3`` (the mixer alone, single-head and multi-head), names.
        settings: Rows of :data:`latency.settings.SETTINGS`; empty for ``cpu``.
        engines: Rows of :data:`latency.engines.ENGINES`.
        sizes: (height, width) in pixels; None for each subject's own.
        batches: Images in one prediction.
        threads: Of the processor; None for as many as the engine takes.
        precisions: As the engines' rows have them; of files and of what engines compute in.
        layouts: ``channels-first``, ``channels-last``.
        device: ``cpu``, ``cuda`` or ``coreml``.
        budget_s: Seconds after which no further round is begun.
        breakdown: Whether to ask the engines for their own profile.
        memory: Whether to take the peak memory.
        seed: Of the order of contenders.
    """

    protocol: Protocol
    models: tuple[ModelName, ...] = ()
    artifacts: tuple[Path, ...] = ()
    peers: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    engines: tuple[str, ...] = ()
    sizes: tuple[tuple[int, int] | None, ...] = ()
    batches: tuple[int, ...] = ()
    threads: tuple[int | None, ...] = ()
    precisions: tuple[str, ...] = ()
    layouts: tuple[str, ...] = ()
    device: str | None = None
    budget_s: float | None = None
    breakdown: bool = False
    memory: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Entry:
    """One contender to be.

    Attributes:
        setting: The paper's setting that it stands beside, if it is timed as there.
        layout: In memory; empty where the engine chooses.
        height, width: Of the images; an artifact's are 0 until it was read.
        group: Of those whose rounds are taken together.
        absent: Why it cannot be timed on this host; empty where it can.
        python: Interpreter that it is timed in.
    """

    subject: Subject
    engine: Engine
    device: str
    precision: str
    layout: str
    batch: int
    threads: int | None
    height: int
    width: int
    group: str
    setting: str | None = None
    absent: str = ""
    python: str = sys.executable

    @property
    def id(self) -> str:
        """The same in two runs that time the same thing."""
        size = f"{self.height}x{self.width}" if self.height else "own size"
        parts = (
            self.subject.name,
            self.engine.name,
            self.device,
            self.precision,
            self.layout,
            thread_words(self.threads),
            size,
        )
        return ", ".join(filter(None, (*parts, f"batch {self.batch}")))


@dataclass(frozen=True)
class Plan:
    """The contenders of a run in order, and what was asked for and left out."""

    entries: tuple[Entry, ...]
    notes: tuple[str, ...] = field(default=())


def plan(request: BenchRequest) -> Plan:
    """The contenders that a request asks for.

    Raises:
        UsageProblem: There is no setting, engine or peer of a name.
        BadInput: A number or a file cannot be met, or nothing is left to time.
        NotInstalled: An engine is asked for whose package is missing.
    """
    _check(request)
    _check_layouts(request.layouts)
    subjects = _subjects(request)
    entries: list[Entry] = []
    notes: list[str] = []
    for name in request.settings or ("cpu",):
        setting = _find_setting(name)
        engines = [find_engine(each) for each in request.engines or _usual_engines(setting, subjects)]
        for engine in engines:
            device = request.device or ("coreml" if engine.name == "coreml" else setting.device)
            absent = _absence(engine, device)
            if not absent:
                require(engine)
            if device not in engine.precisions:
                notes.append(f"{engine.name} computes on the {', '.join(engine.precisions)} alone, not on {device}.")
                continue
            loaded = [s for s in subjects if s.kind != "artifact" or s.source.endswith(engine.takes)]
            for subject in loaded:
                for precision in _precisions(request, setting, subject, engine, device, notes):
                    why = _mismatch(subject, engine, precision)
                    if why:
                        notes.append(why)
                        continue
                    entries += _variations(request, setting, subject, engine, device, precision, absent)
    if not entries:
        raise BadInput("Nothing is left to time: " + " ".join(dict.fromkeys(notes)), "Name other engines or devices.")
    timed = {entry.subject for entry in entries}
    notes += [f"None of the engines takes {subject.name}." for subject in subjects if subject not in timed]
    unique = {entry.id: entry for entry in entries}.values()
    places = {group: place for place, group in enumerate(dict.fromkeys(entry.group for entry in unique))}
    return Plan(tuple(sorted(unique, key=lambda entry: places[entry.group])), tuple(dict.fromkeys(notes)))


def _check(request: BenchRequest) -> None:
    protocol = request.protocol
    for value, least, most, what, option in (
        (protocol.seconds, 0.001, 1e6, "seconds of timing", "--seconds"),
        (protocol.warmup_s, 0, 1e6, "seconds of warm-up", "--warmup"),
        (protocol.rounds, 1, 1_000_000, "rounds", "--rounds"),
        *((batch, 1, MAX_BATCH, "images in a batch", "--batch") for batch in request.batches),
        *((count, 1, MOST_THREADS, "threads", "--threads") for count in request.threads if count is not ALL_THREADS),
        *(
            (s, MIN_RESOLUTION, MAX_RESOLUTION, "pixels", "--resolution")
            for size in request.sizes
            if size
            for s in size
        ),
        *(((request.budget_s, 1, 1e8, "seconds of budget", "--budget"),) if request.budget_s is not None else ()),
    ):
        if not least <= value <= most:
            raise BadInput(f"{value:g} {what} are impossible.", f"Give {option} from {least:g} to {most:g}.")


def _check_layouts(layouts: tuple[str, ...]) -> None:
    for layout in layouts:
        if layout not in LAYOUTS:
            raise UsageProblem(f"There is no layout {layout!r}.", f"Layouts are {' and '.join(LAYOUTS)}.")


def _find_setting(name: str) -> Setting:
    if name not in SETTINGS:
        raise UsageProblem(f"There is no setting {name!r}.", f"Settings are {', '.join(SETTINGS)}.")
    return SETTINGS[name]


def _subjects(request: BenchRequest) -> list[Subject]:
    found = [model_subject(model) for model in request.models]
    for text in request.peers:
        if text == _MIXERS:
            found += mixer_subjects()
        else:
            found += [peer_subject(peer) for peer in find_peers(text)]
    for path in request.artifacts:
        engines_for(path)  # raises where nothing here loads it
        found.append(artifact_subject(path))
    found = list(dict.fromkeys(found))
    names = [subject.name for subject in found]
    return [replace(each, name=each.source) if names.count(each.name) > 1 else each for each in found]


def _usual_engines(setting: Setting, subjects: list[Subject]) -> tuple[str, ...]:
    """The setting's, and for files the ones that load them."""
    loads = [e.name for s in subjects if s.kind == "artifact" for e in ENGINES.values() if s.source.endswith(e.takes)]
    modules = any(subject.kind != "artifact" for subject in subjects)
    return tuple(dict.fromkeys((*(setting.engines if modules else ()), *loads)))


def _precisions(
    request: BenchRequest, setting: Setting, subject: Subject, engine: Engine, device: str, notes: list[str]
) -> Iterator[str]:
    """Those that were asked for, or the setting's; a file is of one, which its engine may compute in another way."""
    can = engine.precisions[device]
    who = f"{engine.name} is timed in {', '.join(can)} on the {device}"
    stored = _fixed(subject).precision if subject.kind == "artifact" else None
    if stored:
        can = tuple(precision for precision in can if engine.stored(precision) == stored)
        who = f"{subject.name} is {stored}"
    for precision in request.precisions or [p for p in setting.precisions if p in can] or can[:1]:
        if precision in can:
            yield precision
        else:
            notes.append(f"{who}: {precision} is left out.")


_MADE_IN = {
    "peer": (UNQUANTISED, "quantised files are EfficientViM's"),
    "mixer": (("fp32",), "its files are fp32"),
}
"""Precisions that files of others than EfficientViM are made in here, by the subject's kind, and why in no other."""


def _mismatch(subject: Subject, engine: Engine, precision: str) -> str:
    """Why a subject cannot be timed in an engine; empty where it can."""
    if subject.kind == "mixer" and engine.takes_images:
        return f"{subject.name} is not timed in {engine.name}, whose files take images here."
    stored = engine.stored(precision)
    made_in, why = _MADE_IN.get(subject.kind, ((stored,), ""))
    return "" if stored in made_in else f"{subject.name} is not timed in {precision}: {why}."


def _variations(
    request: BenchRequest, setting: Setting, subject: Subject, engine: Engine, device: str, precision: str, absent: str
) -> Iterator[Entry]:
    """An entry for each size, batch, number of threads and layout."""
    layouts = (request.layouts or setting.layouts) if engine.layouts else ("",)
    sizes, batches = _what_it_takes(request, setting, subject)
    threads = (ALL_THREADS,) if device != "cpu" else request.threads or (setting.threads,)
    for size, batch, count, layout in product(sizes, batches, threads, layouts):
        height, width = size or (subject.resolution, subject.resolution)
        label = "own size" if size is NATIVE or not request.sizes else f"{height}x{width}"
        entry = Entry(
            subject,
            engine,
            device,
            precision,
            layout,
            batch,
            count,
            height,
            width,
            f"{device}, {label}, batch {batch}, {thread_words(count)}",
            absent=absent,
        )
        as_in_paper = (
            size in (NATIVE, (subject.resolution, subject.resolution))
            and (device, batch, count) == (setting.device, setting.batch, setting.threads)
            and layout in ("", *setting.layouts)
            and engine.name in setting.engines
            and precision in setting.precisions
        )
        yield replace(entry, setting=setting.name) if as_in_paper else entry


def _what_it_takes(
    request: BenchRequest, setting: Setting, subject: Subject
) -> tuple[tuple[tuple[int, int] | None, ...], tuple[int, ...]]:
    """Sizes and batches to time a subject at; a file may fix them.

    Raises:
        BadInput: The file is damaged, or fixes others than are asked for.
    """
    sizes, batches = request.sizes or (NATIVE,), request.batches or (setting.batch,)
    if subject.kind != "artifact":
        return sizes, batches

    fixed = _fixed(subject)
    batch, size = fixed.batch, fixed.size
    if request.batches and batch not in (None, *request.batches):
        raise BadInput(f"{subject.name} takes {batch} images in a prediction.", f"Leave out --batch, or say {batch}.")
    if request.sizes and size is not None and size not in (s or size for s in request.sizes):
        said = f"{size[0]}x{size[1]}"
        raise BadInput(f"{subject.name} takes images of {said}.", f"Leave out --resolution, or say {said}.")
    return (size,) if size else sizes, (batch,) if batch else batches


def _fixed(subject: Subject) -> Fixed:
    """What a file fixes.

    Raises:
        BadInput: The file is damaged, or does not take images.
    """
    from latency.artifacts import read_fixed

    return read_fixed(Path(subject.source))


def _absence(engine: Engine, device: str) -> str:
    why = why_not(engine)
    if not why and device == "cuda" and not has_driver():
        why = "there is no CUDA device"
    remedy = next((setting.remedy for setting in SETTINGS.values() if setting.device == device), "")
    return f"{why}; {remedy}" if why else ""
