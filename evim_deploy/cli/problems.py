"""The exit of a command with several files, each of which may have a problem of its own."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from evim_deploy.common.errors import BadInput, EvimError, NotInstalled, NotRunHere, ParityFailed, UsageProblem

_WORST_FIRST = [kind.exit_code for kind in (ParityFailed, BadInput, UsageProblem, NotInstalled, NotRunHere, EvimError)]


def end_with(problems: Sequence[EvimError]) -> None:
    """Print all problems on stderr and exit with the code of the worst; return if there are none.

    Raises:
        typer.Exit: There is at least one problem.
    """
    for problem in problems:
        sys.stderr.write(f"Error: {problem}\n")
    if problems:
        raise typer.Exit(min((problem.exit_code for problem in problems), key=_WORST_FIRST.index))
