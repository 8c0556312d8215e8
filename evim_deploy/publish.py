"""Put finished files under their names in one step: written beside, checked, then renamed."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from evim_deploy.errors import BadInput, EvimError

_STAGING_PREFIX = ".evim-deploy-"
_FULL_BYTES = 1 << 20
_WRITE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EFBIG, errno.EIO)


@contextmanager
def staging(directory: Path) -> Iterator[Path]:
    """A hidden folder beside the final names, on their file system; gone at the end whatever happens.

    Raises:
        BadInput: The output directory cannot be made or written, or the disk is full.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=_STAGING_PREFIX, dir=directory))
    except (FileExistsError, NotADirectoryError):
        raise BadInput(f"{directory} is not a directory.", "Choose another place with -o.") from None
    except OSError as error:
        raise _cannot_write(directory, error) from None
    try:
        yield folder
    except EvimError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _WRITE_ERRORS:
            raise _cannot_write(directory, error) from None
        # Libraries tell of a full disk in words of their own, and write to the temporary directory first.
        for place in (directory, Path(tempfile.gettempdir())):
            if shutil.disk_usage(place).free < _FULL_BYTES:
                raise _cannot_write(place, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))) from None
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def refuse_overwrite(paths: list[Path], overwrite: bool) -> None:
    """Stop before any work if a name is taken.

    Raises:
        BadInput: One of the paths exists, and overwriting was not asked for.
    """
    taken = [path for path in paths if os.path.lexists(path)]
    if taken and not overwrite:
        raise BadInput(f"{taken[0]} exists already.", "Say --overwrite, or choose another place with -o.")


def publish(staged: list[Path], directory: Path, overwrite: bool) -> list[Path]:
    """Rename finished files or folders into a directory, all or none.

    Raises:
        BadInput: One of the names is taken, and overwriting was not asked for.
    """
    for path in staged:
        _flush(path)
    undo: list[tuple[Path, Path]] = []  # noted before each step: an interrupt may fall between the two
    finals = [directory / path.name for path in staged]
    refuse_overwrite(finals, overwrite)  # again: another process may have come first
    try:
        for path, final in zip(staged, finals, strict=True):
            if os.path.lexists(final):
                old = path.with_name(f"{path.name}.old")
                undo.append((old, final))
                final.rename(old)
            undo.append((final, path))
            path.rename(final)
    except BaseException:  # an interrupt too: what stood there before is put back
        for source, target in reversed(undo):
            with suppress(OSError):
                source.rename(target)
        raise
    return finals


def size_bytes(path: Path) -> int:
    """Bytes of a file, or of all files in a package."""
    return sum(file.stat().st_size for file in _files(path))


def sha256(path: Path) -> str:
    """Hex digest of a file, or of a package: of its files' names and contents in sorted order."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha256()
    for member in _files(path):
        digest.update(member.relative_to(path).as_posix().encode() + b"\0")
        digest.update(member.read_bytes())
    return digest.hexdigest()


def _files(path: Path) -> list[Path]:
    """A file itself, or a package's files in sorted order."""
    return [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())


def _flush(path: Path) -> None:
    """Have the operating system write a file, or a package's files, through to the disk."""
    for file in _files(path):
        with file.open("rb+") as handle:
            os.fsync(handle.fileno())


def _cannot_write(directory: Path, error: OSError) -> BadInput:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        cause = f"The disk of {directory} is full"
    else:
        cause = f"{error.filename or directory} cannot be written: {error.strerror or error}"
    return BadInput(f"{cause}.", "Free some space or mend the permissions, or choose another place with -o.")
