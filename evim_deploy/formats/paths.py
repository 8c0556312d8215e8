"""Read files, and check the paths that model files name."""

from __future__ import annotations

from pathlib import Path

from evim_deploy.common.errors import BadInput


def is_inside(folder: Path, file: Path) -> bool:
    """Whether a path that a model file names is inside a folder.

    False for a path that the system refuses, for example with a null byte or a cycle of links.
    """
    try:
        return file.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):
        return False


def file_content(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        BadInput: It is missing, a folder, or cannot be read.
    """
    try:
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        raise BadInput(f"{path} is not a file.", "Check the path.") from None
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.", "Check the path and its permissions.") from None
