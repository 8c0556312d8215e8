"""Atomic writing: files are written to a hidden folder, checked, and renamed in one step; their sizes and hashes."""

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
"""Suffix of the companion, a second file that an artifact refers to: the weights of a large ONNX file."""

_BLOCK_BYTES = 1 << 24


@contextmanager
def staging(directory: Path) -> Iterator[Path]:
    """A hidden folder in the output directory, on the same file system; it is removed at the end in any case.

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
        # Libraries report a full disk in words of their own, and write to the temporary directory first.
        problem = problem_of(error, directory, temporary_folder())
        if problem is None:
            raise
        raise problem from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def refuse_overwrite(paths: list[Path], overwrite: bool) -> None:
    """Stop before any work if a file would be overwritten.

    Raises:
        BadInput: A path exists and overwriting was not requested, or a name is too long.
    """
    for path in paths:
        if problem := name_problem(path, COMPANION_SUFFIX):
            raise problem
    existing = [each for path in paths for each in (path, _companion(path)) if os.path.lexists(each)]
    if existing and not overwrite:
        raise BadInput(f"{existing[0]} exists already.", "Give --overwrite, or choose another folder with -o.")


def publish(staged: list[Path], directory: Path, overwrite: bool) -> list[Path]:
    """Move finished files or folders, each with its companion, into a directory: all or none.

    Returns:
        The new paths of the files or folders, without their companions.

    Raises:
        BadInput: A path exists and overwriting was not requested.
    """
    for path in staged:
        _flush(path)
    undo: list[tuple[Path, Path]] = []  # entered before each step: an interrupt may come between
    finals = [directory / path.name for path in staged]
    refuse_overwrite(finals, overwrite)  # again: another process may have come first
    try:
        for path in [each for own in staged for each in (_companion(own), own)]:  # the companion first
            final = directory / path.name
            if os.path.lexists(final):
                old = path.with_name(f"{path.name}.old")
                undo.append((old, final))
                final.rename(old)
            if path.exists():
                undo.append((final, path))
                path.rename(final)
    except BaseException:  # an interrupt, too: the previous files are restored
        for source, target in reversed(undo):
            with suppress(OSError):
                source.rename(target)
        raise
    return finals


def size_bytes(path: Path) -> int:
    """Size of a file and its companion, or of all files in a package, bytes."""
    return sum(file.stat().st_size for file in _files(path))


def sha256(path: Path) -> str:
    """Hash (hex) of a single file's content; of a package, or a file with a companion, of all names and contents."""
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
    """The files of an artifact: of a package by their paths in it, of a file and its companion by their suffixes."""
    if path.is_dir():
        return {file.relative_to(path).as_posix(): file for file in _files(path)}
    return {file.name.removeprefix(path.name): file for file in _files(path)}


def _companion(path: Path) -> Path:
    return path.with_name(path.name + COMPANION_SUFFIX)


def _files(path: Path) -> list[Path]:
    """A file and its companion, or the files of a package in sorted order."""
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    return [each for each in (path, _companion(path)) if each.is_file()]


def _flush(path: Path) -> None:
    """Flush a file, or the files of a package, to the disk."""
    for file in _files(path):
        with file.open("rb+") as handle:
            os.fsync(handle.fileno())
