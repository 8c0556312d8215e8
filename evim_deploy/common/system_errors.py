"""Problems of the machine that a command runs on: full disks, permissions, names that are too long, no memory.

Libraries meet them first and often tell them in words of their own, or as a failure of the network that they convert.
So an error is searched, with its causes, for what the operating system said.
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
"""Begins the name of a folder that is gone when a message is read: its parent is named."""

_FULL_BYTES = 1 << 20
_PLACE = "Free some space or mend the permissions, or choose another place with -o; TMPDIR is that of temporary files."
_PROBLEMS = {
    errno.ENOSPC: ("The disk of {place} is full", _PLACE),
    errno.EDQUOT: ("The disk quota of {place} is used up", _PLACE),
    errno.EFBIG: ("Writing to {place} failed: {said}", "Raise the limit on the size of a file (ulimit -f)."),
    errno.EACCES: ("{place} cannot be opened or written: {said}", _PLACE),
    errno.EPERM: ("{place} cannot be opened or written: {said}", _PLACE),
    errno.EROFS: ("{place} cannot be written: {said}", _PLACE),
    errno.EIO: ("{place} cannot be read or written: {said}", "Check the disk and its limits (ulimit -f)."),
    errno.ENAMETOOLONG: ("The name {place} is too long", "Use a shorter name."),
    errno.ELOOP: ("{place} is a circle of links", "Give the path of the file itself."),
    errno.EMFILE: ("Too many files are open", "Raise the limit on open files (ulimit -n)."),
    errno.ENFILE: ("Too many files are open", "End other programs."),
    errno.ENOMEM: ("There is not enough memory", "End other programs, or choose a smaller --resolution or --batch."),
}
_WORDS = {
    **{os.strerror(number): number for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EMFILE)},
    "[MIL FileWriter]": errno.EIO,  # coremltools', which says no more
    "not enough memory": errno.ENOMEM,
    "can't allocate memory": errno.ENOMEM,
    "std::bad_alloc": errno.ENOMEM,
}
"""By what libraries say instead of raising an OSError."""


def problem_of(error: BaseException, *places: Path) -> BadInput | None:
    """The problem of the machine behind an error; None where it is of another kind.

    Args:
        error: What was raised; its causes are looked at, too.
        places: Folders that were written to: one whose disk is full is to blame, whatever was raised.
    """
    for each in _with_causes(error):
        if isinstance(each, OSError) and each.errno in _PROBLEMS:
            return _told(each.errno, _named(each, places))
        if isinstance(each, MemoryError):
            return _told(errno.ENOMEM, "")
        if isinstance(each, FileNotFoundError) and "No usable temporary directory" in str(each):
            return BadInput("No folder for temporary files can be written.", "Set TMPDIR to one that can.")
        if (number := said(str(each))) is not None:
            return _told_by_words(number, places)
    if place := _full(places):
        return _told(errno.ENOSPC, place)
    return None


def said(text: str) -> int | None:
    """The number of the error that a text tells of in the operating system's words; None where there is none."""
    return next((number for words, number in _WORDS.items() if words in text), None)


def problem_in(text: str, *places: Path) -> BadInput | None:
    """The problem of the machine that another program's output tells of; None where there is none."""
    number = said(text)
    if number is not None:
        return _told_by_words(number, places)
    place = _full(places)
    return _told(errno.ENOSPC, place) if place else None


def _told_by_words(number: int, places: tuple[Path, ...]) -> BadInput:
    """The problem that words tell of. A failure to write without a cause is that of a full disk, where one is full."""
    place = _full(places)
    return _told(errno.ENOSPC if place and number == errno.EIO else number, place or _where(places))


def temporary_folder() -> Path:
    """Where temporary files go; the current folder where nothing else can be written."""
    with suppress(OSError):
        return Path(tempfile.gettempdir())
    return Path()


def name_problem(path: Path, longest_suffix: str) -> BadInput | None:
    """Whether a file cannot be written since its name is too long.

    Args:
        path: Of the file.
        longest_suffix: That is added to the name on the way.
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
    """In bytes; the folder need not be there yet."""
    for each in (folder, *folder.parents):
        with suppress(OSError, ValueError, AttributeError):  # the last where the system has no such limits
            return os.pathconf(each, "PC_NAME_MAX")
    return 255


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        yield each
        each = each.__cause__ or each.__context__


def _named(error: OSError, places: tuple[Path, ...]) -> str:
    """What an error is about: its file, or the place of it that is full."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _full(places) or (str(Path(os.fsdecode(error.filename)).parent) if error.filename else _where(places))
    return os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else _where(places)


def _where(places: tuple[Path, ...]) -> str:
    return str(places[0]) if places else "a file"


def _full(places: tuple[Path, ...]) -> str:
    """The place whose disk is full; "" where none is."""
    for place in places:
        with suppress(OSError):
            if shutil.disk_usage(place).free < _FULL_BYTES:
                return str(place)
    return ""


def _told(number: int, place: str) -> BadInput:
    cause, remedy = _PROBLEMS[number]
    path = Path(place)
    hidden = next((each for each in (path, *path.parents) if each.name.startswith(STAGING_PREFIX)), None)
    place = str(hidden.parent) if hidden else place
    return BadInput(cause.format(place=place, said=os.strerror(number)) + ".", remedy)
