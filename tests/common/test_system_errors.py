"""Full disks, closed streams, names too long and other troubles of a machine: each is told as what it is."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from command import PROGRAM, _environment, run

import exporters
from evim_deploy.artifact.target import Target
from evim_deploy.catalog.variants import parse_model
from evim_deploy.commands.export import export
from evim_deploy.commands.request import Request
from evim_deploy.common.errors import BadInput, Damaged, ParityFailed
from evim_deploy.common.publish import refuse_overwrite, staging
from evim_deploy.common.system_errors import problem_in, problem_of

NO_SPACE = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


# --- which errors are the machine's ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (NO_SPACE, "The disk of /data is full."),
        (OSError(errno.EDQUOT, "quota"), "The disk quota of /data is used up."),
        (caused(ValueError("conversion failed"), NO_SPACE), "The disk of /data is full."),
        (RuntimeError("Error writing file: No space left on device"), "The disk of /data is full."),
        (PermissionError(errno.EACCES, "no", "/x/y"), "/x/y cannot be opened or written: Permission denied."),
        (OSError(errno.EROFS, "no", b"/x/y"), "/x/y cannot be written: Read-only file system."),
        (OSError(errno.ENAMETOOLONG, "no", "/x/" + "y" * 300), "is too long."),
        (OSError(errno.EMFILE, "no"), "Too many files are open."),
        (MemoryError(), "There is not enough memory."),
        (RuntimeError("[MIL FileWriter]: Unknown error occurred while writing data to the file."), "/data cannot be"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "There is not enough memory."),
        (FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"), "temporary files"),
    ],
)
def test_problems_of_the_machine(error: Exception, said: str) -> None:
    found = problem_of(error, Path("/data"))
    assert found is not None
    assert found.exit_code == 3
    assert said in found.cause
    assert found.remedy


@pytest.mark.parametrize(
    "error", [ValueError("wrong"), FileNotFoundError(errno.ENOENT, "No such file", "x"), KeyError("a"), OSError("odd")]
)
def test_a_fault_is_none_of_the_machine(error: Exception, tmp_path: Path) -> None:
    assert problem_of(error, tmp_path) is None
    assert problem_in(str(error), tmp_path) is None


def test_a_full_place_is_to_blame_whatever_was_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10))
    found = problem_of(ValueError("a converter's own words"), tmp_path / "gone", tmp_path)
    assert found is not None
    assert f"The disk of {tmp_path / 'gone'} is full." in found.cause


def test_a_hidden_folder_is_named_by_its_parent(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=f"The disk of {tmp_path} is full"), staging(tmp_path) as folder:
        raise OSError(errno.ENOSPC, "full", str(folder / "model.onnx"))
    assert list(tmp_path.iterdir()) == []


def test_a_fault_within_staging_stays_one(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), staging(tmp_path):
        raise ZeroDivisionError


# --- what converters make of them ------------------------------------------------------------------------


def failing(error: Exception) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


TARGET = Target(
    format="onnx",
    precision="fp32",
    height=8,
    width=8,
    batch=1,
    task="classify",
    output="logits",
    preprocess=True,
    labels=("a", "b", "c"),
)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (caused(RuntimeError("export failed"), NO_SPACE), r"The disk of .* is full"),
        (RuntimeError("an odd network"), "cannot (write|convert) the network: an odd network"),
    ],
)
@pytest.mark.parametrize(("format_", "function"), [("onnx", "torch.onnx.export"), ("coreml", "torch.jit.trace")])
def test_a_full_disk_is_not_the_networks_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format_: str, function: str, error: Exception, said: str
) -> None:
    exporter = exporters.load(exporters.FORMATS[format_], "torch_module")
    monkeypatch.setattr(function, failing(error))
    with pytest.raises(BadInput, match=said):
        exporter.build(torch.nn.Flatten().eval(), TARGET, tmp_path / "network")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("OSError: [Errno 28] No space left on device", r"The disk of .* is full"),
        ("ERROR: an odd network", "onnx2tf cannot convert the network: ERROR: an odd network"),
    ],
)
def test_a_full_disk_in_a_converters_own_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, said: str
) -> None:
    from exporters.tflite import onnx2tf_environment
    from exporters.tflite import torch_module as tflite

    program = tmp_path / "program.py"
    program.write_text(f"print({words!r})\nraise SystemExit(1)\n")
    here = onnx2tf_environment.Environment(Path(sys.executable), "2.6.9", "2.21.0")
    monkeypatch.setattr(tflite, "_PROGRAM", program)
    monkeypatch.setattr(onnx2tf_environment, "find", lambda: here)
    with pytest.raises(BadInput, match=said.replace("[", r"\[")):
        tflite.converted(tmp_path)


def test_a_file_that_was_only_just_written_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same finding of a file that a user gives is another matter: see the tests of `verify`."""

    def prove(path: Path, *_: object) -> None:
        raise Damaged(f"LiteRT crashes on {path} (SIGABRT).")

    monkeypatch.setattr("evim_deploy.proof.prove.prove_functions", prove)
    request = Request(model=parse_model("digits"), formats=("onnx",), sizes=((32, 32),), output_dir=tmp_path)
    with pytest.raises(ParityFailed) as caught:
        export(request)
    assert "was written wrongly: LiteRT crashes on efficientvim_digits_32x32_fp32.onnx (SIGABRT)." in caught.value.cause
    assert "please report it" in caught.value.remedy
    assert "again" not in caught.value.remedy
    assert list(tmp_path.iterdir()) == []


# --- names -----------------------------------------------------------------------------------------------


def test_a_name_that_is_too_long_is_refused_before_any_work(tmp_path: Path) -> None:
    longest = tmp_path / ("n" * 245 + ".onnx")
    refuse_overwrite([longest], False)
    with pytest.raises(BadInput, match="has 251 bytes"):
        refuse_overwrite([tmp_path / "new" / ("n" * 246 + ".onnx")], False)
    with pytest.raises(BadInput, match="has 254 bytes"):  # bytes, of which a letter may have several
        refuse_overwrite([tmp_path / ("\u00e9" * 127)], False)


@pytest.mark.parametrize(
    "line",
    [
        ("inspect", "{}.onnx"),
        ("verify", "{}.mlpackage"),
        ("report", "{}.json"),
        ("export", "digits", "-f", "onnx", "--labels", "{}.txt"),
    ],
)
def test_a_path_that_is_too_long_is_told(tmp_path: Path, line: tuple[str, ...]) -> None:
    result = run(*(part.format(tmp_path / ("n" * 300)) for part in line))
    assert result.returncode == 3
    assert "File name too long" in result.stderr
    assert "damaged" not in result.stderr


# --- streams ---------------------------------------------------------------------------------------------


def shell(script: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a script of bash in which ``$P`` is the program."""
    return subprocess.run(
        ["bash", "-c", script],
        env=_environment({"P": str(PROGRAM), **env}),
        capture_output=True,
        text=True,
        timeout=300,
    )


needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")


@needs_full
@pytest.mark.parametrize("line", ["models", "models --json", "--version", "--help", "doctor"])
def test_a_full_stdout_is_told(line: str) -> None:
    result = shell(f"$P {line} > /dev/full")
    assert result.returncode == 3
    assert result.stderr.startswith("Error: The results cannot be written to standard output: No space left on device.")
    assert len(result.stderr.splitlines()) == 2


def test_a_closed_stdout_is_told_before_any_work(tmp_path: Path) -> None:
    result = shell(f"$P export digits -f onnx -o {tmp_path / 'out'} >&-")
    assert (result.returncode, result.stderr.splitlines()[0]) == (3, "Error: Standard output is closed.")
    assert not (tmp_path / "out").exists()


@needs_full
@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-", "<&-", "2>&- <&-"])
def test_a_stderr_that_takes_nothing_stops_nothing(redirection: str) -> None:
    result = shell(f"$P models {redirection}")
    assert result.returncode == 0
    assert "efficientvim_m1" in result.stdout


@needs_full
@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-", "--json >/dev/full"])
def test_the_exit_code_says_it_where_no_message_can(redirection: str) -> None:
    assert shell(f"$P export nothing {redirection}").returncode == 2


@pytest.mark.parametrize("line", ["models", "models --json", "--help"])
def test_a_reader_that_goes_away_is_no_error(line: str) -> None:
    result = shell(f"$P {line} | head -1; exit ${{PIPESTATUS[0]}}")
    assert (result.returncode, result.stderr) == (0, "")


@needs_full
def test_artifacts_are_complete_where_the_results_cannot_be_told(tmp_path: Path) -> None:
    result = shell(f"$P export digits -f onnx -r 32 --no-verify -o {tmp_path} --quiet > /dev/full")
    assert result.returncode == 3
    assert "the files are complete" in result.stderr
    assert len(list(tmp_path.iterdir())) == 2


def test_names_that_the_terminal_cannot_show(tmp_path: Path) -> None:
    env = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    result = shell(f"$P export digits -f onnx -r 32 --no-verify -o {tmp_path}/d\u00e9j\u00e0\u4e2d --quiet", **env)
    assert result.returncode == 0, result.stderr
    assert len(list(tmp_path.rglob("*.onnx"))) == 1
    missing = shell(f"$P inspect {tmp_path}/\u4e2d.onnx", **env)
    assert missing.returncode == 3
    assert "Traceback" not in missing.stderr


@pytest.mark.parametrize(
    ("name", "env"), [("$'d\\xff'", {}), ("d\u00e9j\u00e0", {"LC_ALL": "POSIX", "PYTHONUTF8": "0"})]
)
def test_names_that_are_no_text_are_refused(tmp_path: Path, name: str, env: dict[str, str]) -> None:
    result = shell(f"$P export digits -f onnx -o {tmp_path}/{name}", **env)
    assert result.returncode == 3
    assert "is not text in this system's encoding" in result.stderr
    assert list(tmp_path.iterdir()) == []
