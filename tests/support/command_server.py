"""Run the command line in forks of a process with all imports done: a run starts in milliseconds, not seconds.

Each run is a separate process with its own environment, folder, streams and exit code. Each line of stdin is a
request, each line of stdout the exit code of a run.

    python command_server.py < requests > codes
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import importlib.util
import json
import os
import signal
import sys
from typing import Any, NoReturn


def preload() -> None:
    """Import the installed packages that commands import lazily."""
    import exporters
    import runtimes

    for kind in exporters.KINDS:
        for row in exporters.FORMATS.values():
            with contextlib.suppress(ImportError):
                exporters.load(row, kind)
    for engine in runtimes.ENGINES.values():
        with contextlib.suppress(ImportError):
            importlib.import_module(f"runtimes.{engine.name}")
    for name in (
        "evim_deploy.cli.main",
        "matplotlib.pyplot",
        "openvino",
        "pydantic",
        "safetensors.torch",
        "scipy.stats",
        "timm",
        "torchvision",
    ):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def serve() -> None:
    """Run the requests from stdin in order."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # output of imports must not mix with exit codes
    preload()
    gc.freeze()  # garbage collection in a fork writes to every object that it visits, which copies its memory page
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            _run(request)
        answers.write(f"{_code(child, request['timeout'])}\n")
        answers.flush()


def _run(request: dict[str, Any]) -> NoReturn:
    """Run the program in this process and exit."""
    from evim_deploy.cli import main

    for number, path in enumerate((os.devnull, request["stdout"], request["stderr"])):
        os.dup2(os.open(path, os.O_WRONLY if number else os.O_RDONLY), number)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    sys.argv = request["line"]
    code: str | int | None = 1
    try:
        main.run()
    except SystemExit as stop:
        code = stop.code or 0
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _code(child: int, timeout: float) -> int:
    """Wait for a child process and return its exit code; kill it after a timeout in seconds."""

    def kill(signum: int, frame: object) -> None:
        os.kill(child, signal.SIGKILL)

    signal.signal(signal.SIGALRM, kill)
    signal.setitimer(signal.ITIMER_REAL, timeout)
    _, status = os.waitpid(child, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    serve()
