"""A local hub server with the paths and headers of the real hub, for tests of downloads."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

REPO, FILE = "timm/efficientvim_m4.e450_in1k", "model.safetensors"
CONTENT = bytes(range(256)) * 4000
COMMIT = "c0ffee" + "0" * 34
HANGING = 600
"""Seconds without a response from a silent server; longer than every timeout, even on a loaded machine."""


@dataclass
class Server:
    """State of a hub with one file, and its simulated faults."""

    url: str = ""
    content: bytes = CONTENT
    etag: str = hashlib.sha256(CONTENT).hexdigest()
    status: int = 200
    error: str = ""
    redirect: bool = False
    stop_after: int | None = None
    hang: bool = False
    silent: bool = False
    requests: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serving() -> Iterator[Server]:
    """Context manager that runs a hub server."""
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def answer(self) -> None:
            state.requests.append(f"{self.command} {self.path}")
            on_hub = self.path == f"/{REPO}/resolve/main/{FILE}"
            if state.silent and on_hub:
                state.stop.wait(HANGING)
            elif not on_hub and self.path != "/cdn/blob":
                self.send(404, {})
            elif state.status != 200:
                self.send(state.status, {"X-Error-Code": state.error, "X-Repo-Commit": COMMIT})
            elif on_hub and state.redirect:
                linked = {"X-Linked-Etag": f'"{state.etag}"', "X-Linked-Size": str(len(state.content))}
                self.send(302, {"Location": f"{state.url}/cdn/blob", "X-Repo-Commit": COMMIT, "ETag": '"x"', **linked})
            else:
                self.send(200, {"ETag": f'"{state.etag}"', "X-Repo-Commit": COMMIT}, state.content)

        def send(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body[: state.stop_after])
                self.wfile.flush()
                if state.hang:
                    state.stop.wait(HANGING)
                if state.stop_after is not None:
                    self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        state.url = f"http://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield state
        state.stop.set()
        http.shutdown()
        thread.join()


def use_alone(server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the server as this process's hub, with an empty cache below ``folder``."""
    from huggingface_hub import constants

    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    point_at(server.url, monkeypatch)
    monkeypatch.setattr(constants, "HF_HOME", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "hub"))
    monkeypatch.setattr(constants, "AGENT_HARNESSES_PATH", str(folder / "agents.json"), raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


def point_at(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
