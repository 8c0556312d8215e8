"""Errors of the operating system: full disks, permissions, long names, no memory.

Libraries often report them in words of their own, or as a failure to convert the network. So an error and its causes
are searched for an error of the operating system.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from evim_deploy.common.errors import BadInput

STAGING_PREFIX = ".evim-deploy-"
"""Prefix of the names of temporary folders. A message names the parent folder instead."""

_FULL_BYTES = 1 << 20
_REMEDY = "Free some space or correct the permissions, or choose another folder with -o; TMPDIR sets the temporary one."
_PROBLEMS = {
    errno.ENOSPC: ("The disk of {path} is full", _REMEDY),
    errno.EDQUOT: ("The disk quota of {path} is used up", _REMEDY),
    errno.EFBIG: ("Writing to {path} failed: {message}", "Raise the limit on the size of a file (ulimit -f)."),
    errno.EACCES: ("{path} cannot be opened or written: {message}", _REMEDY),
    errno.EPERM: ("{path} cannot be opened or written: {message}", _REMEDY),
    errno.EROFS: ("{path} cannot be written: {message}", _REMEDY),
    errno.EIO: ("{path} cannot be read or written: {message}", "Check the disk and its limits (ulimit -f)."),
    errno.ENAMETOOLONG: ("The name {path} is too long", "Use a shorter name."),
    errno.ELOOP: ("{path} is a loop of links", "Give the path of the file itself."),
    errno.EMFILE: ("Too many files are open", "Raise the limit on open files (ulimit -n)."),
    errno.ENFILE: ("Too many files are open", "End other programs."),
    errno.ENOMEM: ("There is not enough memory", "End other programs, or choose a smaller --resolution or --batch."),
}
_NUMBERS_BY_TEXT = {
    **{os.strerror(number): number for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EMFILE)},
    "[MIL FileWriter]": errno.EIO,  # coremltools states no reason
    "not enough memory": errno.ENOMEM,
    "can't allocate memory": errno.ENOMEM,
    "std::bad_alloc": errno.ENOMEM,
}
"""Error numbers by the texts of libraries that do not raise an OSError."""


def problem_of(error: BaseException, *folders: Path) -> BadInput | None:
    """The system error behind an exception; None for an exception of another kind.

    Args:
        error: The exception; its causes are searched, too.
        folders: Folders that were written to. If the disk of one is full, that is the reason, whatever was raised.
    """
    for each in _with_causes(error):
        if isinstance(each, OSError) and each.errno in _PROBLEMS:
            return _problem(each.errno, _path_of(each, folders))
        if isinstance(each, MemoryError):
            return _problem(errno.ENOMEM, "")
        if isinstance(each, FileNotFoundError) and "No usable temporary directory" in str(each):
            return BadInput("No folder for temporary files can be written.", "Set TMPDIR to one that can.")
        if (number := error_number(str(each))) is not None:
            return _problem_of_number(number, folders)
    if full := _full(folders):
        return _problem(errno.ENOSPC, full)
    return None


def error_number(text: str) -> int | None:
    """The number of the system error that a text reports; None if it reports none."""
    return next((number for message, number in _NUMBERS_BY_TEXT.items() if message in text), None)


def problem_in(text: str, *folders: Path) -> BadInput | None:
    """The system error that another program's output reports; None if it reports none."""
    number = error_number(text)
    if number is not None:
        return _problem_of_number(number, folders)
    full = _full(folders)
    return _problem(errno.ENOSPC, full) if full else None


def _problem_of_number(number: int, folders: tuple[Path, ...]) -> BadInput:
    """A system error without a path. A failed write without a reason counts as a full disk if one is full."""
    full = _full(folders)
    return _problem(errno.ENOSPC if full and number == errno.EIO else number, full or _first(folders))


def temporary_folder() -> Path:
    """The folder of temporary files; the current folder if no other can be written."""
    with suppress(OSError):
        return Path(tempfile.gettempdir())
    return Path()


def name_problem(path: Path, longest_suffix: str) -> BadInput | None:
    """The error of a file whose name is too long; None for a name that can be written.

    Args:
        path: Path of the file.
        longest_suffix: Longest suffix that is added to the name while the file is written.
    """
    name = os.fsencode(path.name)
    allowed = _longest_name(path.parent)
    if len(name) + len(longest_suffix) <= allowed:
        return None
    return BadInput(
        f"The name {path.name} has {len(name)} bytes, and {path.parent} takes {allowed - len(longest_suffix)}.",
        "Give what it is named after a shorter name.",
    )


def _longest_name(folder: Path) -> int:
    """Longest name of a file in a folder, bytes; the folder may not exist yet."""
    for each in (folder, *folder.parents):
        with suppress(OSError, ValueError, AttributeError):  # AttributeError: a system without such limits
            return os.pathconf(each, "PC_NAME_MAX")
    return 255


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        yield each
        each = each.__cause__ or each.__context__


def _path_of(error: OSError, folders: tuple[Path, ...]) -> str:
    """The path that a message names: the file of an error, or the folder whose disk is full."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _full(folders) or (str(Path(os.fsdecode(error.filename)).parent) if error.filename else _first(folders))
    return os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else _first(folders)


def _first(folders: tuple[Path, ...]) -> str:
    return str(folders[0]) if folders else "a file"


def _full(folders: tuple[Path, ...]) -> str:
    """The folder whose disk is full; "" if none is."""
    for folder in folders:
        with suppress(OSError):
            if shutil.disk_usage(folder).free < _FULL_BYTES:
                return str(folder)
    return ""


def _problem(number: int, path: str) -> BadInput:
    cause, remedy = _PROBLEMS[number]
    hidden = next((each for each in (Path(path), *Path(path).parents) if each.name.startswith(STAGING_PREFIX)), None)
    visible = str(hidden.parent) if hidden else path
    return BadInput(cause.format(path=visible, message=os.strerror(number)) + ".", remedy)
