"""Weights from the Hugging Face hub: from the cache or by download, without a long wait for a dead network.

huggingface_hub reads HF_ENDPOINT, HF_HUB_CACHE and HF_HUB_OFFLINE when it is imported, and keeps the values in
``huggingface_hub.constants``, which is read here at each call.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from evim_deploy.common.errors import BadInput, NotInstalled, first_line
from evim_deploy.weights import download_watch, shards
from evim_deploy.weights.spec import DEFAULT_FILE

if TYPE_CHECKING:
    from collections.abc import Callable

    from evim_deploy.catalog.variants import ModelName

PROBE_SECONDS = 2.5
"""Time limit for the hub's first answer, including name resolution, proxies and TLS."""

STALL_SECONDS = 180.0
"""Time limit for a download without progress. huggingface_hub gives up after about a minute where the connection is
silent, but would retry for an hour where a server asks it to; and hf_xet fetches up to 64 MB before it writes."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


class HubUnreachable(BadInput):
    """The network or the hub does not answer, or HF_HUB_OFFLINE is set."""


class WrongHash(BadInput):
    """A file's SHA-256 differs from the hub's."""


def published(model: ModelName) -> tuple[str, str]:
    """Repository and file of the most accurate published weights of a model."""
    return f"timm/{model.name}.{'in1k' if model.distilled else 'e450_in1k'}", DEFAULT_FILE


def fetch(repo: str, filename: str, *, notify: Callable[[str], None]) -> Path:
    """A file of a repository on the hub, from the cache or else by download, with its hash checked.

    Args:
        repo: ``owner/name``.
        filename: Path of the file in the repository.
        notify: Receives one line before a download.

    Raises:
        HubUnreachable: The file is not cached, and the hub does not answer, or HF_HUB_OFFLINE is set.
        WrongHash: The SHA-256 of the file, cached or downloaded, differs from the hub's.
        BadInput: The file does not exist, needs an account, or its download failed.
        NotInstalled: huggingface_hub is missing.
    """
    try:
        from huggingface_hub import constants, errors, try_to_load_from_cache
    except ModuleNotFoundError as error:
        raise NotInstalled(
            "Weights from the Hugging Face hub need huggingface_hub.", 'pip install "evim-deploy[torch]"'
        ) from error
    title = f"{repo}/{filename}"
    try:
        cached = try_to_load_from_cache(repo, filename)
    except errors.HFValidationError as error:
        raise BadInput(f"{repo} cannot be a repository: {first_line(error)}.", "Check its name.") from error
    if isinstance(cached, str):  # None and a sentinel mean that it is not cached
        path = Path(cached)
        if not _is_intact(path):
            raise WrongHash(
                f"{title} in the hub's cache is damaged: its SHA-256 is not the hub's.",
                f"Delete {_blob(path)} and run again.",
            )
        return path
    if constants.HF_HUB_OFFLINE:
        raise HubUnreachable(
            f"{title} is not in the hub's cache, {constants.HF_HUB_CACHE}, and HF_HUB_OFFLINE is set.",
            "Unset HF_HUB_OFFLINE, or give the path of a file.",
        )
    _probe(constants.ENDPOINT, repo, filename)
    notify(f"Downloading {title} from {constants.ENDPOINT}")
    path = _download(repo, filename)
    if not _is_intact(path):
        _blob(path).unlink()
        path.unlink(missing_ok=True)
        raise WrongHash(
            f"The download of {title} is damaged: its SHA-256 is not the hub's. It was deleted.",
            "Run again; if it stays so, something between the hub and this machine changes files.",
        )
    return path


def fetch_weights(repo: str, filename: str, *, notify: Callable[[str], None]) -> Path:
    """Like :func:`fetch`; for weights in several files, the index and all the files that it names.

    Raises:
        BadInput: An error of :func:`fetch`, or the index is damaged.
    """
    path = fetch(repo, filename, notify=notify)
    if filename.endswith(shards.INDEX_SUFFIX):
        folder = filename.rpartition("/")[0]
        for part in sorted(set(shards.weight_map(path).values())):
            fetch(repo, f"{folder}/{part}".lstrip("/"), notify=notify)
    return path


def _blob(path: Path) -> Path:
    """The cache's file behind a cached path; its name is its hash where the cache can make links.

    Only one link is followed: a blob may itself be a link into a store whose names are other hashes.
    """
    return path.parent / path.readlink() if path.is_symlink() else path


def _is_intact(path: Path) -> bool:
    """Whether a cached file has the SHA-256 in its name; true where its name is not a SHA-256."""
    expected = _blob(path).name
    if not _SHA256.fullmatch(expected):
        return True
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == expected


def _probe(endpoint: str, repo: str, filename: str) -> None:
    """Raise HubUnreachable unless the hub answers a request for a file within :data:`PROBE_SECONDS`.

    The request is for the file and not for the hub's front page, which a proxy may answer in the hub's place.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined]

    def ask() -> int:
        # without huggingface_hub's headers, whose making sends another request first, for up to 3 s
        return int(get_session().head(hf_hub_url(repo, filename), timeout=PROBE_SECONDS).status_code)

    try:
        status = download_watch.start(ask).result(PROBE_SECONDS)
        reason = f"it answers {status}" if status >= 500 else ""
    except TimeoutError:
        reason = f"no answer within {PROBE_SECONDS} s"
    except Exception as error:  # the library under huggingface_hub, and with it the errors, changes by version
        reason = first_line(error)
    if reason:
        raise HubUnreachable(
            f"The Hugging Face hub, {endpoint}, cannot be reached: {reason}.",
            "Check the network and the proxy settings, or give the path of a file.",
        )


def _download(repo: str, filename: str) -> Path:
    """hf_hub_download with our errors, abandoned after :data:`STALL_SECONDS` without progress."""
    from huggingface_hub import constants, errors, hf_hub_download

    title = f"{repo}/{filename}"
    blobs = Path(constants.HF_HUB_CACHE, "models--" + repo.replace("/", "--"), "blobs")
    # Its progress bar appears only where stderr is a terminal.
    future = download_watch.start(lambda: hf_hub_download(repo, filename))
    try:
        return Path(download_watch.wait_for_download(future, STALL_SECONDS, blobs))
    except errors.GatedRepoError as error:
        cause, remedy = f"{repo} is gated.", "Accept its terms on the hub, then set HF_TOKEN (or `hf auth login`)."
        raise BadInput(cause, remedy) from error
    except errors.RepositoryNotFoundError as error:
        cause = f"The repository {repo} does not exist on {constants.ENDPOINT}, or it is private."
        raise BadInput(cause, "Check its name; for a private one set HF_TOKEN (or `hf auth login`).") from error
    except errors.LocalEntryNotFoundError as error:  # huggingface_hub raises it where the server failed
        cause = f"The Hugging Face hub, {constants.ENDPOINT}, fails: {first_line(error.__cause__ or error)}."
        raise HubUnreachable(cause, "Try again later, or give the path of a file.") from error
    except (errors.EntryNotFoundError, errors.RevisionNotFoundError) as error:
        raise BadInput(f"{repo} has no file {filename}.", f"See {constants.ENDPOINT}/{repo}/tree/main.") from error
    except Exception as error:  # as in _probe, and hf_xet brings its own
        raise BadInput(
            f"The download of {title} failed: {first_line(error)}.",
            f"Run again; check the network, and the space in {constants.HF_HUB_CACHE}.",
        ) from error
