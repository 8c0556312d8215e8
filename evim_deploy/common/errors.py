"""Errors for users, each with its exit code.

Every command ends with one of these codes, whatever the format or engine:

====  =====================================================================
code  meaning
====  =====================================================================
0     done
1     a fault in evim-deploy itself; ``--verbose`` shows where. Of ``compare``: the second is slower
2     usage: an option or argument that does not exist or cannot be parsed
3     bad input: a file, checkpoint, image or option that cannot be used
4     something is not installed
5     parity failed: the artifact does not equal its model, or its own rebuild
6     this host cannot check what it was asked to check: not run, or not comparable
130   interrupted
====  =====================================================================
"""

from __future__ import annotations


class EvimError(Exception):
    """An error that is shown to the user as one message, without a traceback.

    Args:
        cause: The problem; it names the file, option or package.
        remedy: The action that solves it.
    """

    exit_code = 1

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(f"{cause}\n{remedy}")
        self.cause = cause
        self.remedy = remedy

    def to_dict(self) -> dict[str, int | str]:
        """The error as plain JSON values."""
        return {"exit_code": self.exit_code, "cause": self.cause, "remedy": self.remedy}


class UsageProblem(EvimError):
    """An option or argument that does not exist or cannot be parsed."""

    exit_code = 2


class BadInput(EvimError):
    """A file, checkpoint, image or option that cannot be used."""

    exit_code = 3


class Damaged(BadInput):
    """A model file that is truncated, altered or invalid for its format."""

    def __init__(self, cause: str) -> None:
        super().__init__(
            cause, "Copy it again, or export it again; if a fresh export has the same problem, please report it."
        )


class NotInstalled(EvimError):
    """A required package is missing; the remedy is the pip command."""

    exit_code = 4


class ParityFailed(EvimError):
    """An artifact's outputs differ from the reference's by more than the tolerance, or its bytes from a rebuild's."""

    exit_code = 5


class NotRunHere(EvimError):
    """This host cannot run or check the artifact: an engine is missing, or versions differ from those that made it."""

    exit_code = 6


INTERRUPTED_EXIT_CODE = 130


def first_line(error: BaseException) -> str:
    """First line of an exception's message without a full stop; the name of its class if the message is empty."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
