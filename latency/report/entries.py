"""The cases of all files, each with its judgement and comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from latency.decision import Judgement, Validity
from latency.enums import CaseRole, SubjectKind
from latency.judgement import (
    CaseComparison,
    baseline_names,
    compare_with_baseline,
    groups,
    judge,
    require_baseline,
)
from latency.paper import paper_milliseconds
from latency.results import Case, Host, Results
from latency.settings import SETTINGS
from latency.statistics import trimmed_mean

_SETTING_NAMES = {setting.device: setting.name for setting in SETTINGS.values()}
_UNTRAINED = "untrained"
_SINGLE_HEAD = "single-head"
_MODELBENCH_DROPPED = 10


@dataclass(frozen=True, kw_only=True)
class ReportEntry:
    """A case of a file in a report.

    Attributes:
        file: Index of the file in the report.
        host: Host of the run.
        case: The case.
        judgement: Judgement of its figures.
        protocol: Name of the sampling protocol, which defines how its time is computed.
        comparison: Comparison with its baseline; None for the baseline, and if it cannot be compared.
        is_baseline: Whether it is the baseline of other cases.
        anchor: Anchor of its samples in the report.
    """

    file: int
    host: Host
    case: Case
    judgement: Judgement
    protocol: str
    comparison: CaseComparison | None
    is_baseline: bool
    anchor: str

    @property
    def measured(self) -> bool:
        """Whether it has samples."""
        return self.judgement.summary is not None

    @property
    def usable(self) -> bool:
        """Whether it has meaningful samples."""
        return self.measured and self.judgement.status != Validity.INVALID

    @property
    def valid(self) -> bool:
        """Whether its figures are valid."""
        return self.judgement.status == Validity.VALID

    @property
    def milliseconds(self) -> float | None:
        """The time of an image: the median, or the mean if the protocol reports means."""
        summary = self.judgement.summary
        if summary is None:
            return None
        seconds = summary.median
        if self.protocol == "paper":
            seconds = summary.mean
        elif self.protocol == "modelbench":
            seconds = trimmed_mean([each.samples_s for each in self.case.rounds], _MODELBENCH_DROPPED)
        return 1e3 * seconds / self.case.batch

    @property
    def paper_milliseconds(self) -> float | None:
        """The paper's time of an image in the setting of the case; None if it is not listed."""
        c = self.case
        return paper_milliseconds(c.subject.paper, c.setting, c.height, c.width)

    @property
    def machine(self) -> str:
        """The device that computed, in words."""
        return machine(self.host, self.case.device)

    @property
    def setting(self) -> str:
        """The paper's setting with this device, or the device if there is none."""
        c = self.case
        return c.setting or _SETTING_NAMES.get(c.device, c.device)

    @property
    def threads(self) -> int | None:
        """The number of CPU threads, all cores by default; None if another device computes."""
        c = self.case
        return c.threads or (self.host.cores if self.setting == SETTINGS["cpu"].name else None)

    @property
    def untrained(self) -> bool:
        """Whether its weights are untrained."""
        return _UNTRAINED in self.case.subject.weights.casefold()


def machine(host: Host, device: str) -> str:
    """A device of a host in words: the GPU, the phone with its processor, or the CPU."""
    if device == SETTINGS["gpu"].device:
        return host.accelerator or f"a GPU in {host.machine}"
    if _SETTING_NAMES.get(device) == "cpu":
        return host.processor
    return f"{host.machine}, {host.processor}"


def collect(files: Sequence[Results], baseline: str | None) -> list[ReportEntry]:
    """Collect the cases of all files in order.

    Args:
        files: The results files.
        baseline: One of :func:`latency.judgement.baseline_names`; None for the first case of each group. The baseline
        of
            the multi-head mixer is always the single-head one.

    Raises:
        BadInput: No case has this name.
    """
    require_baseline(files, baseline)
    entries: list[ReportEntry] = []
    for file, results in enumerate(files):
        names = {name for c in results.cases if c.role == CaseRole.CASE for name in baseline_names(c)}
        judgements = judge(results)
        comparisons = compare_with_baseline(results, baseline if baseline in names else None)
        mixers = {c.id for c in results.cases if c.subject.kind == SubjectKind.MIXER}
        single = next((c.subject.name for c in results.cases if c.subject.source == _SINGLE_HEAD), None)
        if mixers and single in names:
            against = compare_with_baseline(results, single)
            comparisons = {key: c for key, c in comparisons.items() if key not in mixers}
            comparisons |= {key: c for key, c in against.items() if key in mixers}
        baselines = {comparison.baseline.id for comparison in comparisons.values()}
        for group in groups(results).values():
            for case in group.cases:
                entries.append(
                    ReportEntry(
                        file=file,
                        host=results.host,
                        case=case,
                        judgement=judgements[case.id],
                        protocol=results.protocol.name,
                        comparison=comparisons.get(case.id),
                        is_baseline=case.id in baselines,
                        anchor=f"samples-{len(entries) + 1}",
                    )
                )
    return entries
