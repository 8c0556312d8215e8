"""Put finished files under their names in one step: written beside, checked, then renamed."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from evim_deploy.common.errors import BadInput, EvimError
from evim_deploy.common.system_errors import STAGING_PREFIX, name_problem, problem_of, temporary_folder

COMPANION_SUFFIX = ".data"
"""Ends the name of a second file that an artifact's own refers to: an ONNX file's weights, where they are many."""

_BLOCK_BYTES = 1 << 24


@contextmanager
def staging(directory: Path) -> Iterator[Path]:
    """A hidden folder beside the final names, on their file system; gone at the end whatever happens.

    Raises:
        BadInput: The output directory cannot be made or written, or the disk is full.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=directory))
    except (FileExistsError, NotADirectoryError):
        raise BadInput(f"{directory} is not a directory.", "Choose another place with -o.") from None
    except OSError as error:
        raise problem_of(error, directory) or BadInput(
            f"{directory} cannot be written: {error.strerror or error}.", "Choose another place with -o."
        ) from None
    try:
        yield folder
    except EvimError:
        raise
    except Exception as error:
        # Libraries tell of a full disk in words of their own, and write to the temporary directory first.
        problem = problem_of(error, directory, temporary_folder())
        if problem is None:
            raise
        raise problem from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def refuse_overwrite(paths: list[Path], overwrite: bool) -> None:
    """Stop before any work if a name is taken.

    Raises:
        BadInput: One of the paths exists, and overwriting was not asked for; or its name is too long.
    """
    for path in paths:
        if problem := name_problem(path, COMPANION_SUFFIX):
            raise problem
    taken = [each for path in paths for each in (path, _companion(path)) if os.path.lexists(each)]
    if taken and not overwrite:
        raise BadInput(f"{taken[0]} exists already.", "Say --overwrite, or choose another place with -o.")


def publish(staged: list[Path], directory: Path, overwrite: bool) -> list[Path]:
    """Rename finished files or folders, each with its companion, into a directory, all or none.

    Returns:
        Where the files or folders are now, without their companions.

    Raises:
        BadInput: One of the names is taken, and overwriting was not asked for.
    """
    for path in staged:
        _flush(path)
    undo: list[tuple[Path, Path]] = []  # noted before each step: an interrupt may fall between the two
    finals = [directory / path.name for path in staged]
    refuse_overwrite(finals, overwrite)  # again: another process may have come first
    try:
        for path in [each for named in staged for each in (_companion(named), named)]:  # no file without its own
            final = directory / path.name
            if os.path.lexists(final):
                old = path.with_name(f"{path.name}.old")
                undo.append((old, final))
                final.rename(old)
            if path.exists():
                undo.append((final, path))
                path.rename(final)
    except BaseException:  # an interrupt too: what stood there before is put back
        for source, target in reversed(undo):
            with suppress(OSError):
                source.rename(target)
        raise
    return finals


def size_bytes(path: Path) -> int:
    """Bytes of a file and its companion, or of all files in a package."""
    return sum(file.stat().st_size for file in _files(path))


def sha256(path: Path) -> str:
    """Hex digest of a file, or of several, a package's or a file and its companion: of their names and contents."""
    files = _files(path)
    if files == [path]:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    folder = path if path.is_dir() else path.parent
    digest = hashlib.sha256()
    for member in files:
        digest.update(member.relative_to(folder).as_posix().encode() + b"\0")
        with member.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    return digest.hexdigest()


def members(path: Path) -> dict[str, Path]:
    """The files of an artifact: a package's by their paths in it, a file and its companion by what follows its name."""
    if path.is_dir():
        return {file.relative_to(path).as_posix(): file for file in _files(path)}
    return {file.name.removeprefix(path.name): file for file in _files(path)}


def _companion(path: Path) -> Path:
    return path.with_name(path.name + COMPANION_SUFFIX)


def _files(path: Path) -> list[Path]:
    """A file itself and its companion, or a package's files in sorted order."""
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    return [each for each in (path, _companion(path)) if each.is_file()]


def _flush(path: Path) -> None:
    """Have the operating system write a file, or a package's files, through to the disk."""
    for file in _files(path):
        with file.open("rb+") as handle:
            os.fsync(handle.fileno())
