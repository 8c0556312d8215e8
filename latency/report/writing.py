"""The formats of reports, one writer each."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

from evim_deploy.common.errors import BadInput
from evim_deploy.common.publish import publish, refuse_overwrite, staging
from latency.report.build import build
from latency.report.evidence import NO_EVIDENCE, Evidence
from latency.results import Results

WRITERS = {
    ".html": "latency.report.html",
    ".md": "latency.report.markdown",
    ".csv": "latency.report.csv",
}
"""Modules with a function ``write(report) -> str``, by suffix."""


def render(files: Sequence[Results], suffix: str, baseline: str | None = None, evidence: Evidence = NO_EVIDENCE) -> str:
    """The text of a report.

    Args:
        files: The results files.
        suffix: ``.html``, ``.md`` or ``.csv``.
        baseline: See :func:`latency.report.build.build`.
        evidence: Manifests and accuracies of artifacts.

    Raises:
        BadInput: The suffix is unknown, or no case has the baseline's name.
        NotInstalled: HTML needs jinja2 and matplotlib.
    """
    if suffix not in WRITERS:
        raise BadInput(
            f"A report is not written as {suffix or 'a file without a suffix'}.", "End it in .html, .md or .csv."
        )
    text: str = importlib.import_module(WRITERS[suffix]).write(build(files, baseline, evidence))
    return text


def write_report(
    files: Sequence[Results],
    path: Path,
    *,
    baseline: str | None = None,
    evidence: Evidence = NO_EVIDENCE,
    overwrite: bool = False,
) -> Path:
    """Write a report in the format of the path's suffix, atomically.

    Args:
        files: The results files.
        path: Path of the report.
        baseline: See :func:`latency.report.build.build`.
        evidence: Manifests and accuracies of artifacts.
        overwrite: Whether to replace an existing file.

    Raises:
        BadInput: As :func:`render`; or the path exists, or cannot be written.
        NotInstalled: As :func:`render`.
    """
    refuse_overwrite([path], overwrite)
    content = render(files, path.suffix.lower(), baseline, evidence)
    with staging(path.parent) as folder:
        staged = folder / path.name
        staged.write_text(content, "utf-8", newline="")
        (final,) = publish([staged], path.parent, overwrite)
    return final
