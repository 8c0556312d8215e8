"""The contenders of all files, each with what may be said of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from latency.judgement import (
    INVALID,
    VALID,
    Comparison,
    Judgement,
    compare_with_baseline,
    groups,
    judge,
    names,
    require_baseline,
)
from latency.paper import milliseconds
from latency.results import Contender, Host, Results
from latency.settings import SETTINGS
from latency.statistics import trimmed_mean

_PLACES = {setting.device: setting.name for setting in SETTINGS.values()}
_WEIGHTS_THAT_MEAN_NOTHING = "untrained"
_SINGLE_HEAD = "single-head"
_MODELBENCH_DROPS = 10


@dataclass(frozen=True)
class Entry:
    """One contender of one file.

    Attributes:
        file: The file's place among those of the report.
        protocol: By which its samples were taken, and which its time is told by.
        comparison: With its baseline; None for the baseline, and for what cannot be compared.
        is_baseline: Whether others are held against it.
        anchor: Where its samples are in the report.
    """

    file: int
    host: Host
    contender: Contender
    judgement: Judgement
    protocol: str
    comparison: Comparison | None
    is_baseline: bool
    anchor: str

    @property
    def measured(self) -> bool:
        """Whether there is any sample of it."""
        return self.judgement.summary is not None

    @property
    def sound(self) -> bool:
        """Whether there are samples of it that mean something."""
        return self.measured and self.judgement.status != INVALID

    @property
    def valid(self) -> bool:
        """Whether its figures may be announced: nothing was noticed that may have bent them."""
        return self.judgement.status == VALID

    @property
    def milliseconds(self) -> float | None:
        """The time of an image: the median, or the mean that the protocol reports."""
        summary = self.judgement.summary
        if summary is None:
            return None
        seconds = summary.median
        if self.protocol == "paper":
            seconds = summary.mean
        elif self.protocol == "modelbench":
            seconds = trimmed_mean([each.samples_s for each in self.contender.rounds], _MODELBENCH_DROPS)
        return 1e3 * seconds / self.contender.batch

    @property
    def paper_milliseconds(self) -> float | None:
        """What an image took the paper, in the setting that the contender was timed in; None elsewhere."""
        c = self.contender
        return milliseconds(c.subject.paper, c.setting, c.height, c.width)

    @property
    def machine(self) -> str:
        """What computed, in words."""
        return machine(self.host, self.contender.device)

    @property
    def place(self) -> str:
        """The paper's setting that the device belongs to, or the device where the paper has none."""
        c = self.contender
        return c.setting or _PLACES.get(c.device, c.device)

    @property
    def threads(self) -> int | None:
        """Of a processor: all that it has unless a number was given; None for what is none."""
        c = self.contender
        return c.threads or (self.host.cores if self.place == SETTINGS["cpu"].name else None)

    @property
    def untrained(self) -> bool:
        """Whether its weights mean nothing."""
        return _WEIGHTS_THAT_MEAN_NOTHING in self.contender.subject.weights.casefold()


def machine(host: Host, device: str) -> str:
    """What computes on a host, in words: the GPU, a phone with its processor, or the processor."""
    if device == SETTINGS["gpu"].device:
        return host.accelerator or f"a GPU in {host.machine}"
    if _PLACES.get(device) == "cpu":
        return host.processor
    return f"{host.machine}, {host.processor}"


def collect(files: Sequence[Results], baseline: str | None) -> list[Entry]:
    """The contenders of all files in their order.

    Args:
        baseline: As :func:`latency.judgement.names` has it; without one, the first contender of each group is what
            others are held against. The multi-head mixer is held against the single-head one in any case.

    Raises:
        BadInput: No file has one of that name.
    """
    require_baseline(files, baseline)
    entries: list[Entry] = []
    for file, results in enumerate(files):
        found = {name for c in results.contenders if c.role == "contender" for name in names(c)}
        judgements = judge(results)
        comparisons = compare_with_baseline(results, baseline if baseline in found else None)
        mixers = {c.id for c in results.contenders if c.subject.kind == "mixer"}
        single = next((c.subject.name for c in results.contenders if c.subject.source == _SINGLE_HEAD), None)
        if mixers and single in found:
            against = compare_with_baseline(results, single)
            comparisons = {key: c for key, c in comparisons.items() if key not in mixers}
            comparisons |= {key: c for key, c in against.items() if key in mixers}
        held_against = {comparison.baseline.id for comparison in comparisons.values()}
        for group in groups(results).values():
            for contender in group.contenders:
                entries.append(
                    Entry(
                        file,
                        results.host,
                        contender,
                        judgements[contender.id],
                        results.protocol.name,
                        comparisons.get(contender.id),
                        contender.id in held_against,
                        f"samples-{len(entries) + 1}",
                    )
                )
    return entries
