"""The plan of a benchmark: the cases that a request selects, decided before anything heavy is imported."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from evim_deploy.catalog.terms import UNQUANTISED
from evim_deploy.catalog.variants import MAX_BATCH, MAX_RESOLUTION, MIN_RESOLUTION, ModelName
from evim_deploy.common.errors import BadInput, UsageProblem
from latency.engines import ENGINES, Engine, find_engine, require
from latency.enums import MemoryLayout, SubjectKind
from latency.gpu import has_driver
from latency.peers import find_peers
from latency.protocol import SamplingProtocol
from latency.settings import SETTINGS, Setting, format_threads
from latency.subjects import Subject, artifact_subject, mixer_subjects, model_subject, peer_subject
from runtimes import engines_for

if TYPE_CHECKING:
    from latency.artifacts import FixedInput

Size = tuple[int, int]
"""Height and width, pixels."""

ALL_THREADS = None
NATIVE = None
MAX_THREADS = 1024

_MIXERS = "figure-3"


@dataclass(frozen=True, kw_only=True)
class BenchRequest:
    """The user's request. The settings decide on values that are empty or None.

    Attributes:
        protocol: Sampling protocol, with the user's changes.
        models: EfficientViM models.
        artifacts: Paths of model files.
        peers: ``table-e``, ``table-3``, ``figure-3`` (the mixer alone, single-head and multi-head), or names.
        settings: Rows of :data:`latency.settings.SETTINGS`; empty for ``cpu``.
        engines: Rows of :data:`latency.engines.ENGINES`.
        sizes: Image sizes; None for each subject's native size.
        batches: Images in one prediction.
        threads: CPU threads; None for all threads.
        precisions: Precisions of the engines' rows: of files, and those that engines compute in.
        layouts: Values of :class:`latency.enums.MemoryLayout`.
        device: ``cpu``, ``cuda`` or ``coreml``.
        budget_s: Time after which no further round starts, seconds.
        breakdown: Whether to record the engines' own profiles.
        memory: Whether to record the peak memory.
        seed: Seed of the order of cases.
    """

    protocol: SamplingProtocol
    models: tuple[ModelName, ...] = ()
    artifacts: tuple[Path, ...] = ()
    peers: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    engines: tuple[str, ...] = ()
    sizes: tuple[Size | None, ...] = ()
    batches: tuple[int, ...] = ()
    threads: tuple[int | None, ...] = ()
    precisions: tuple[str, ...] = ()
    layouts: tuple[str, ...] = ()
    device: str | None = None
    budget_s: float | None = None
    breakdown: bool = False
    memory: bool = False
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class PlannedCase:
    """A case before it is prepared.

    Attributes:
        subject: The model, layer or file to time.
        engine: Engine that times it.
        device: Device that computes.
        precision: Precision to time.
        layout: Memory layout; empty if the engine chooses.
        batch: Images in one prediction.
        threads: CPU threads; None for all threads.
        height: Height of the images, pixels; 0 for an artifact that has not been read.
        width: Width of the images, pixels; likewise.
        group: Name of the group of cases whose rounds are interleaved.
        setting: The paper's setting, if it is timed exactly as there.
        unavailable_reason: The reason why it cannot be timed on this host; empty if it can.
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
    unavailable_reason: str = ""
    python: str = sys.executable

    @property
    def id(self) -> str:
        """An identifier that is the same in two runs of the same case."""
        size = f"{self.height}x{self.width}" if self.height else "own size"
        parts = (
            self.subject.name,
            self.engine.name,
            self.device,
            self.precision,
            self.layout,
            format_threads(self.threads),
            size,
        )
        return ", ".join(filter(None, (*parts, f"batch {self.batch}")))


@dataclass(frozen=True)
class Plan:
    """The cases of a run in order, and notes on what was requested but left out."""

    cases: tuple[PlannedCase, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Selection:
    """A request in one setting and one engine, which is timed on one device."""

    request: BenchRequest
    setting: Setting
    engine: Engine

    @property
    def device(self) -> str:
        return self.request.device or ("coreml" if self.engine.name == "coreml" else self.setting.device)

    @property
    def unavailable_reason(self) -> str:
        """The reason why this host cannot time it, with a remedy; empty if it can."""
        reason = self.engine.unavailable_reason
        if not reason and self.device == "cuda" and not has_driver():
            reason = "a CUDA device is missing"
        remedy = next((setting.remedy for setting in SETTINGS.values() if setting.device == self.device), "")
        return f"{reason}; {remedy}" if reason else ""


def plan(request: BenchRequest) -> Plan:
    """Select the cases of a request.

    Raises:
        UsageProblem: A setting, engine, layout or peer is unknown.
        BadInput: A number is out of range, a file cannot be timed as requested, or no case is left.
        NotInstalled: A package of a requested engine is missing.
    """
    _check_ranges(request)
    _check_layouts(request.layouts)
    subjects = _subjects(request)
    cases: list[PlannedCase] = []
    notes: list[str] = []
    for name in request.settings or ("cpu",):
        setting = _find_setting(name)
        for engine in [find_engine(each) for each in request.engines or _default_engines(setting, subjects)]:
            selection = _Selection(request, setting, engine)
            if not selection.unavailable_reason:
                require(engine)
            if selection.device in engine.precisions:
                cases += _cases(selection, subjects, notes)
            else:
                devices = ", ".join(engine.precisions)
                notes.append(f"{engine.name} runs on {devices} only, not on {selection.device}.")
    if not cases:
        raise BadInput("No case is left to time: " + " ".join(dict.fromkeys(notes)), "Name other engines or devices.")
    timed = {case.subject for case in cases}
    notes += [f"None of the engines can load {subject.name}." for subject in subjects if subject not in timed]
    unique = {case.id: case for case in cases}.values()
    groups = {group: index for index, group in enumerate(dict.fromkeys(case.group for case in unique))}
    return Plan(tuple(sorted(unique, key=lambda case: groups[case.group])), tuple(dict.fromkeys(notes)))


def _check_ranges(request: BenchRequest) -> None:
    protocol = request.protocol
    sides = [side for size in request.sizes if size for side in size]
    threads = [count for count in request.threads if count is not ALL_THREADS]
    budgets = [] if request.budget_s is None else [request.budget_s]
    for values, low, high, quantity, option in (
        ([protocol.seconds], 0.001, 1e6, "seconds of timing", "--seconds"),
        ([protocol.warmup_s], 0, 1e6, "seconds of warm-up", "--warmup"),
        ([protocol.rounds], 1, 1_000_000, "rounds", "--rounds"),
        (request.batches, 1, MAX_BATCH, "images in a batch", "--batch"),
        (threads, 1, MAX_THREADS, "threads", "--threads"),
        (sides, MIN_RESOLUTION, MAX_RESOLUTION, "pixels", "--resolution"),
        (budgets, 1, 1e8, "seconds of budget", "--budget"),
    ):
        for value in values:
            if not low <= value <= high:
                raise BadInput(f"{value:g} {quantity} are impossible.", f"Give {option} from {low:g} to {high:g}.")


def _check_layouts(layouts: tuple[str, ...]) -> None:
    for layout in layouts:
        if layout not in list(MemoryLayout):
            raise UsageProblem(f"Unknown layout {layout!r}.", f"Layouts are {' and '.join(MemoryLayout)}.")


def _find_setting(name: str) -> Setting:
    if name not in SETTINGS:
        raise UsageProblem(f"Unknown setting {name!r}.", f"Settings are {', '.join(SETTINGS)}.")
    return SETTINGS[name]


def _subjects(request: BenchRequest) -> list[Subject]:
    subjects = [model_subject(model) for model in request.models]
    for text in request.peers:
        if text == _MIXERS:
            subjects += mixer_subjects()
        else:
            subjects += [peer_subject(peer) for peer in find_peers(text)]
    for path in request.artifacts:
        engines_for(path)  # raises if no engine loads it
        subjects.append(artifact_subject(path))
    subjects = list(dict.fromkeys(subjects))
    names = [subject.name for subject in subjects]
    return [replace(each, name=each.source) if names.count(each.name) > 1 else each for each in subjects]


def _default_engines(setting: Setting, subjects: list[Subject]) -> tuple[str, ...]:
    """The setting's engines, and for files the engines that load them."""
    files = [subject.source for subject in subjects if subject.kind == SubjectKind.ARTIFACT]
    loaders = [e.name for file in files for e in ENGINES.values() if file.endswith(e.file_suffix)]
    return tuple(dict.fromkeys((*(setting.engines if len(files) < len(subjects) else ()), *loaders)))


def _cases(selection: _Selection, subjects: list[Subject], notes: list[str]) -> Iterator[PlannedCase]:
    """The cases of all subjects in one setting and engine; adds a note for each combination that is left out."""
    for subject in subjects:
        if subject.kind == SubjectKind.ARTIFACT and not subject.source.endswith(selection.engine.file_suffix):
            continue
        for precision in _precisions(selection, subject, notes):
            if reason := _mismatch(subject, selection.engine, precision):
                notes.append(reason)
            else:
                yield from _variations(selection, subject, precision)


def _precisions(selection: _Selection, subject: Subject, notes: list[str]) -> Iterator[str]:
    """The requested precisions, or the setting's. A file has one, which its engine may compute differently."""
    request, engine, device = selection.request, selection.engine, selection.device
    supported = engine.precisions[device]
    explanation = f"{engine.name} is timed in {', '.join(supported)} on the {device}"
    stored = _fixed_input(subject).precision if subject.kind == SubjectKind.ARTIFACT else None
    if stored:
        supported = tuple(precision for precision in supported if engine.file_precision(precision) == stored)
        explanation = f"{subject.name} is {stored}"
    defaults = [precision for precision in selection.setting.precisions if precision in supported]
    for precision in request.precisions or defaults or supported[:1]:
        if precision in supported:
            yield precision
        else:
            notes.append(f"{explanation}: {precision} is left out.")


_FILE_PRECISIONS = {
    SubjectKind.PEER: (UNQUANTISED, "quantised files are EfficientViM's"),
    SubjectKind.MIXER: (("fp32",), "its files are fp32"),
}
"""Precisions in which files of other subjects than EfficientViM can be made here, with the reason for the limit."""


def _mismatch(subject: Subject, engine: Engine, precision: str) -> str:
    """The reason why a subject cannot be timed in an engine; empty if it can."""
    if subject.kind == SubjectKind.MIXER and engine.image_input_only:
        return f"{subject.name} is not timed in {engine.name}, whose files have images as their input here."
    stored = engine.file_precision(precision)
    supported, reason = _FILE_PRECISIONS.get(subject.kind, ((stored,), ""))
    return "" if stored in supported else f"{subject.name} is not timed in {precision}: {reason}."


def _variations(selection: _Selection, subject: Subject, precision: str) -> Iterator[PlannedCase]:
    """One case for each image size, batch, number of threads and memory layout."""
    request, setting, engine, device = selection.request, selection.setting, selection.engine, selection.device
    layouts = (request.layouts or setting.layouts) if engine.layouts else ("",)
    sizes, batches = _sizes_and_batches(selection, subject)
    threads = (ALL_THREADS,) if device != "cpu" else request.threads or (setting.threads,)
    native = (subject.resolution, subject.resolution)
    for size, batch, count, layout in product(sizes, batches, threads, layouts):
        height, width = size or native
        label = "own size" if size is NATIVE or not request.sizes else f"{height}x{width}"
        as_in_paper = (
            size in (NATIVE, native)
            and (device, batch, count) == (setting.device, setting.batch, setting.threads)
            and layout in ("", *setting.layouts)
            and engine.name in setting.engines
            and precision in setting.precisions
        )
        yield PlannedCase(
            subject=subject,
            engine=engine,
            device=device,
            precision=precision,
            layout=layout,
            batch=batch,
            threads=count,
            height=height,
            width=width,
            group=f"{device}, {label}, batch {batch}, {format_threads(count)}",
            setting=setting.name if as_in_paper else None,
            unavailable_reason=selection.unavailable_reason,
        )


def _sizes_and_batches(selection: _Selection, subject: Subject) -> tuple[tuple[Size | None, ...], tuple[int, ...]]:
    """The image sizes and batches of a subject; a file may fix them.

    Raises:
        BadInput: The file is damaged, or fixes other values than the request's.
    """
    request = selection.request
    sizes, batches = request.sizes or (NATIVE,), request.batches or (selection.setting.batch,)
    if subject.kind != SubjectKind.ARTIFACT:
        return sizes, batches

    fixed = _fixed_input(subject)
    batch, size = fixed.batch, fixed.size
    if request.batches and batch not in (None, *request.batches):
        raise BadInput(f"{subject.name} has a fixed batch of {batch}.", f"Omit --batch, or set it to {batch}.")
    if request.sizes and size is not None and size not in (each or size for each in request.sizes):
        fixed_size = f"{size[0]}x{size[1]}"
        raise BadInput(
            f"{subject.name} has a fixed image size of {fixed_size}.", f"Omit --resolution, or set it to {fixed_size}."
        )
    return (size,) if size else sizes, (batch,) if batch else batches


def _fixed_input(subject: Subject) -> FixedInput:
    """The batch, size and precision that a file fixes.

    Raises:
        BadInput: The file is damaged, or its input is not images alone.
    """
    from latency.artifacts import read_fixed_input

    return read_fixed_input(Path(subject.source))
