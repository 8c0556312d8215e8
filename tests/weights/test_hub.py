"""Downloads from the hub, against a local server with the hub's paths and headers."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hub_server import CONTENT, FILE, HANGING, REPO, Server, point_at

from evim_deploy.catalog.variants import PUBLISHED_MODELS, parse_model
from evim_deploy.common.errors import BadInput, NotInstalled
from evim_deploy.weights import hub
from evim_deploy.weights.spec import parse_weights

constants = pytest.importorskip("huggingface_hub.constants")


def fetch(notes: list[str] | None = None) -> Path:
    return hub.fetch(REPO, FILE, notify=(notes if notes is not None else []).append)


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def cached(cache: Path) -> list[str]:
    """Every weights file that the cache holds, whole or in part."""
    return [path.name for path in cache.glob("models--*/blobs/*")]


class TestFetch:
    @pytest.mark.parametrize("redirect", [False, True])
    def test_downloads_once_and_then_needs_no_network(self, cache: Path, server: Server, redirect: bool) -> None:
        server.redirect = redirect
        notes: list[str] = []
        assert fetch(notes).read_bytes() == CONTENT
        assert notes == [f"Downloading {REPO}/{FILE} from {server.url}"]
        assert cached(cache) == [server.etag]
        assert ("GET /cdn/blob" in server.requests) == redirect
        server.requests.clear()
        assert fetch(notes).read_bytes() == CONTENT
        assert (server.requests, len(notes)) == ([], 1)

    def test_an_etag_that_is_no_hash_is_not_checked(self, cache: Path, server: Server) -> None:
        server.etag = "a" * 40
        assert fetch().read_bytes() == CONTENT
        assert fetch().read_bytes() == CONTENT

    def test_offline_takes_the_cache_and_asks_nobody(
        self, cache: Path, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(hub.HubUnreachable, match="HF_HUB_OFFLINE"):
            fetch()
        assert server.requests == []
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        fetch()
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        assert fetch().read_bytes() == CONTENT

    def test_the_process_environment_is_heeded(self, tmp_path: Path, server: Server) -> None:
        program = f"from evim_deploy.weights import hub; print(hub.fetch({REPO!r}, {FILE!r}, notify=lambda _: None))"
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)}
        environment |= {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": server.url}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60
        )
        assert Path(done.stdout.strip()).read_bytes() == CONTENT
        assert tmp_path / "home" in Path(done.stdout.strip()).parents
        assert done.stderr == ""  # no progress bar where nobody watches


class TestRefusals:
    def test_wrong_hash_of_a_download(self, cache: Path, server: Server) -> None:
        server.content = CONTENT[::-1]
        with pytest.raises(hub.WrongHash, match="It was deleted"):
            fetch()
        assert cached(cache) == []
        server.content = CONTENT
        assert fetch().read_bytes() == CONTENT

    def test_wrong_hash_in_the_cache(self, cache: Path, server: Server) -> None:
        blob = fetch().resolve()
        blob.write_bytes(CONTENT[1:])
        server.requests.clear()
        with pytest.raises(hub.WrongHash) as caught:
            fetch()
        assert server.requests == []
        named = Path(caught.value.remedy.removeprefix("Delete ").removesuffix(" and run again."))
        assert named.samefile(blob)
        named.unlink()  # the remedy helps
        assert fetch().read_bytes() == CONTENT

    @pytest.mark.parametrize(
        ("status", "error", "message"),
        [
            (404, "RepoNotFound", "There is no repository"),
            (401, "RepoNotFound", "or it is private"),
            (404, "EntryNotFound", "There is no file model.safetensors"),
            (404, "RevisionNotFound", "There is no file model.safetensors"),
            (403, "GatedRepo", "is gated"),
        ],
    )
    def test_what_may_not_be_had(self, cache: Path, server: Server, status: int, error: str, message: str) -> None:
        server.status, server.error = status, error
        with pytest.raises(BadInput, match=message) as caught:
            fetch()
        assert not isinstance(caught.value, hub.HubUnreachable)

    def test_cut_off(self, cache: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(time, "sleep", lambda _: None)  # huggingface_hub waits a second before each of five retries
        server.stop_after = len(CONTENT) // 2
        server.content, server.etag = CONTENT, hashlib.sha256(CONTENT).hexdigest()
        with pytest.raises(BadInput, match=r"download of .* failed") as caught:
            fetch()
        assert not isinstance(caught.value, hub.HubUnreachable)
        assert cached(cache) == []

    def test_a_download_that_stalls(self, cache: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(hub, "STALL_SECONDS", 1.0)
        server.stop_after, server.hang = len(CONTENT) // 2, True
        with pytest.raises(BadInput, match="nothing came for 1 s"):
            fetch()
        assert not server.stop.is_set()

    def test_a_download_that_starts_over_forever(
        self, cache: Path, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(hub, "STALL_SECONDS", 1.5)
        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)  # so that huggingface_hub sees progress each time
        server.stop_after = len(CONTENT) // 2
        with pytest.raises(BadInput, match="nothing came for 2 s"):
            fetch()

    def test_no_network(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        point_at(f"http://127.0.0.1:{closed_port()}", monkeypatch)
        slept: list[float] = []
        monkeypatch.setattr(time, "sleep", slept.append)  # as huggingface_hub does before each of five retries
        with pytest.raises(hub.HubUnreachable, match="cannot be reached"):
            fetch()
        assert sum(slept) < 1

    def test_a_server_that_accepts_and_never_answers(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            point_at(f"http://127.0.0.1:{listener.getsockname()[1]}", monkeypatch)
            began = time.monotonic()
            with pytest.raises(hub.HubUnreachable, match="cannot be reached"):
                fetch()
            assert time.monotonic() - began > 2
            listener.settimeout(0)
            listener.accept()
            with pytest.raises(BlockingIOError):  # it was asked once
                listener.accept()

    def test_a_proxy_that_answers_in_the_place_of_the_hub_but_not_for_the_file(
        self, cache: Path, server: Server
    ) -> None:
        server.silent = True
        with pytest.raises(hub.HubUnreachable, match="cannot be reached"):
            fetch()
        assert not server.stop.is_set()

    def test_a_name_server_that_never_answers(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        point_at("http://hub.invalid", monkeypatch)
        asleep = threading.Event()
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: asleep.wait(HANGING))
        with pytest.raises(hub.HubUnreachable, match="no answer within"):
            fetch()
        asleep.set()

    def test_a_name_that_the_hub_does_not_allow(self, cache: Path) -> None:
        with pytest.raises(BadInput, match="cannot be a repository"):
            hub.fetch("some/re--po", FILE, notify=print)

    def test_without_huggingface_hub(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "huggingface_hub", None)
        with pytest.raises(NotInstalled) as caught:
            fetch()
        assert caught.value.remedy == 'pip install "evim-deploy[torch]"'


class TestNames:
    def test_published(self) -> None:
        assert hub.published(parse_model("m4")) == (REPO, FILE)
        assert hub.published(parse_model("m1_dist")) == ("timm/efficientvim_m1_dist.in1k", FILE)

    def test_published_are_those_of_timm(self) -> None:
        timm = pytest.importorskip("timm", minversion="1.0.30")
        there = {f"timm/{name}" for name in timm.list_pretrained("efficientvim*")}
        assert {hub.published(model)[0] for model in PUBLISHED_MODELS.values()} <= there
        for name in PUBLISHED_MODELS:  # timm's first tag is its default
            default = timm.get_pretrained_cfg(name).hf_hub_id
            assert parse_weights(f"timm:{name}").repository()[0] == default

    @pytest.mark.parametrize(
        ("spec", "expected"),
        [
            ("hf:some/repo", ("some/repo", FILE)),
            ("hf:some/repo/weights.pth", ("some/repo", "weights.pth")),
            ("hf:some/repo/a/b.pth", ("some/repo", "a/b.pth")),
            ("timm:efficientvim_m4", ("timm/efficientvim_m4.e300_in1k", FILE)),
            ("timm:efficientvim_m4.e450_in1k", (REPO, FILE)),
            ("timm:efficientvim_m2_dist", ("timm/efficientvim_m2_dist.in1k", FILE)),
        ],
    )
    def test_sources(self, spec: str, expected: tuple[str, str]) -> None:
        assert parse_weights(spec).repository() == expected

    @pytest.mark.parametrize(
        "spec",
        [
            "hf:",
            "hf:repo",
            "hf:/repo",
            "hf:a/",
            "hf:a/b/../c",
            "hf:a/b//c",
            "hf:a b/c",
            "hf:../b",
            "timm:",
            "timm:a/b",
            "x:a/b",
        ],
    )
    def test_sources_that_are_none(self, spec: str) -> None:
        with pytest.raises(BadInput, match="Invalid source of weights on the hub"):
            parse_weights(spec).repository()
