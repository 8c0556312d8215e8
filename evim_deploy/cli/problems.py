"""How a command ends that has looked at several files, each of which may have had a problem of its own."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from evim_deploy.common.errors import BadInput, EvimError, NotInstalled, NotRunHere, ParityFailed, UsageProblem

_GRAVEST_FIRST = [
    kind.exit_code for kind in (ParityFailed, BadInput, UsageProblem, NotInstalled, NotRunHere, EvimError)
]


def end_with(problems: Sequence[EvimError]) -> None:
    """Tell all of them on stderr and exit by the gravest; without any, go on.

    Raises:
        typer.Exit: There is a problem.
    """
    for problem in problems:
        sys.stderr.write(f"Error: {problem}\n")
    if problems:
        raise typer.Exit(min((problem.exit_code for problem in problems), key=_GRAVEST_FIRST.index))
