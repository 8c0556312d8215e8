"""Search for an onnx2tf environment, and the messages for a missing or unusable environment."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import exporters
from evim_deploy.cli import doctor as command
from evim_deploy.commands.doctor import examine
from evim_deploy.common.errors import NotInstalled
from exporters.tflite import onnx2tf_environment
from exporters.tflite.onnx2tf_environment import VARIABLE, Environment, find

TENSORFLOW = "2.21.0"
COMMANDS = ('pipx install "onnx2tf[tensorflow]"', 'uv tool install "onnx2tf[tensorflow]"')
PLACES = (
    "prefix/onnx2tf",
    "on_path",
    "home/.local/share/pipx/venvs/onnx2tf",
    "home/.local/pipx/venvs/onnx2tf",
    "home/Library/Application Support/pipx/venvs/onnx2tf",
    "home/.local/share/uv/tools/onnx2tf",
    "prefix",
)
"""Search locations in order of priority, relative to the host's folder."""


def environment(folder: Path, version: str | None = "2.6.9", tensorflow: str | None = TENSORFLOW) -> Path:
    """Create a Python environment with the metadata of installed packages, without the packages."""
    packages = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    packages.mkdir(parents=True)
    (folder / "bin").mkdir()
    (folder / "bin" / "python").symlink_to(sys._base_executable)  # type: ignore[attr-defined]
    (folder / "bin" / "onnx2tf").write_text("")
    (folder / "bin" / "onnx2tf").chmod(0o755)
    (folder / "pyvenv.cfg").write_text(f"home = {Path(sys._base_executable).parent}\n")  # type: ignore[attr-defined]
    for name, number in {"onnx2tf": version, "tensorflow": tensorflow}.items():
        if number:
            record = packages / f"{name}-{number}.dist-info"
            record.mkdir()
            (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n")
    return folder


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root folder of a host without onnx2tf; its home and programs are below it."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(tmp_path / "programs"))
    for name in (VARIABLE, "XDG_DATA_HOME", "PIPX_HOME", "UV_TOOL_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "prefix"))
    return tmp_path


def put_on_path(folder: Path, program: Path) -> None:
    """Link to the program of the tool's environment from a folder in PATH, like pipx and uv."""
    (folder / "programs").mkdir()
    (folder / "programs" / "onnx2tf").symlink_to(program)


@pytest.mark.parametrize("first", range(len(PLACES)))
def test_first_location_with_onnx2tf_is_used(alone: Path, first: int) -> None:
    for number, place in list(enumerate(PLACES))[first:]:
        environment(alone / place, f"2.{number}.0")
    if (alone / "on_path").exists():
        put_on_path(alone, alone / "on_path" / "bin" / "onnx2tf")
    assert find() == Environment(alone / PLACES[first] / "bin" / "python", f"2.{first}.0", TENSORFLOW)


@pytest.mark.parametrize(
    ("variable", "value", "place"),
    [
        ("XDG_DATA_HOME", "data", "data/pipx/venvs/onnx2tf"),
        ("XDG_DATA_HOME", "data", "data/uv/tools/onnx2tf"),
        ("PIPX_HOME", "pipx", "pipx/venvs/onnx2tf"),
        ("UV_TOOL_DIR", "tools", "tools/onnx2tf"),
    ],
)
def test_environment_variables_move_tool_folders(
    alone: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, place: str
) -> None:
    environment(alone / place)
    with pytest.raises(NotInstalled):
        find()
    monkeypatch.setenv(variable, str(alone / value))
    assert find().python == alone / place / "bin" / "python"


@pytest.mark.parametrize("named", ["", "bin/python", "bin/onnx2tf"])
def test_variable_takes_priority_over_all_locations(alone: Path, monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    environment(alone / PLACES[0], "2.0.0")
    monkeypatch.setenv(VARIABLE, str(environment(alone / "named", "1.29.24") / named))
    assert find() == Environment(alone / "named" / "bin" / "python", "1.29.24", TENSORFLOW)


def test_variable_may_be_a_link_to_the_program(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_on_path(alone, environment(alone / "elsewhere") / "bin" / "onnx2tf")
    monkeypatch.setenv(VARIABLE, str(alone / "programs" / "onnx2tf"))
    assert find().python == alone / "elsewhere" / "bin" / "python"


def test_relative_path_starts_at_the_working_directory(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment(alone / "named")
    monkeypatch.chdir(alone)
    monkeypatch.setenv(VARIABLE, "named")
    assert find().python == alone / "named" / "bin" / "python"


@pytest.mark.parametrize("named", ["nowhere", "empty", "other", "other/bin/python"])
def test_variable_without_onnx2tf_is_rejected(alone: Path, monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    """The search does not fall back to other locations."""
    environment(alone / PLACES[0])
    (alone / "empty").mkdir()
    environment(alone / "other", None)
    monkeypatch.setenv(VARIABLE, str(alone / named))
    with pytest.raises(NotInstalled) as caught:
        find()
    assert caught.value.cause == f"{VARIABLE} is {alone / named}, which has no onnx2tf."
    assert all(each in caught.value.remedy for each in COMMANDS)


def test_missing_environment_message_has_the_install_commands(alone: Path) -> None:
    with pytest.raises(NotInstalled) as caught:
        exporters.require(exporters.FORMATS["tflite"], "torch_module")
    assert caught.value.cause == onnx2tf_environment.MISSING
    assert all(each in caught.value.remedy for each in COMMANDS)
    exporters.require(exporters.FORMATS["tflite"], "graph")
    exporters.require(exporters.FORMATS["onnx"], "torch_module")


def without_python(folder: Path) -> None:
    (folder / "bin" / "python").unlink()
    (folder / "bin" / "python").symlink_to(folder / "removed")


UNUSABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "an old one": (lambda folder: environment(folder, "1.28.8"), r"onnx2tf 1\.28\.8 .* is not supported"),
    "a later one": (lambda folder: environment(folder, "3.0rc1"), r"onnx2tf 3\.0rc1 .* is not supported"),
    "no TensorFlow": (lambda folder: environment(folder, tensorflow=None), r"onnx2tf 2\.6\.9 .* lacks TensorFlow"),
    "no Python": (lambda folder: without_python(environment(folder)), r"The Python of onnx2tf, .*, does not run"),
}


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize(("make", "said"), UNUSABLE.values(), ids=UNUSABLE)
def test_unusable_environment_is_rejected_with_its_reason(
    alone: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], object], said: str, named: bool
) -> None:
    """The search does not fall back to another environment."""
    environment(alone / PLACES[-2])
    make(alone / PLACES[0])
    if named:
        monkeypatch.setenv(VARIABLE, str(alone / PLACES[0]))
    with pytest.raises(NotInstalled, match=said) as caught:
        find()
    assert all(each in caught.value.remedy for each in (*COMMANDS, "--force"))


def test_doctor_reports_the_converter_environment(alone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = environment(alone / PLACES[0])
    report = examine()
    (converter,) = report.converters
    assert (converter.name, converter.health, converter.version) == ("onnx2tf", "yes", "2.6.9")
    assert (converter.tensorflow, converter.python) == (TENSORFLOW, str(folder / "bin" / "python"))
    command._show(report)
    said = capsys.readouterr().out
    assert f"convert other networks to tflite: yes (2.6.9, TensorFlow {TENSORFLOW}, {converter.python})" in said


def test_doctor_reports_the_missing_converter(alone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = examine()
    (converter,) = report.converters
    assert converter.version is converter.tensorflow is converter.python is None
    assert all(each in converter.health for each in COMMANDS)
    command._show(report)
    assert f"convert other networks to tflite: {converter.health}" in capsys.readouterr().out


def test_versions_are_read_once_per_process(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment(alone / PLACES[0])
    calls = []
    run = onnx2tf_environment.subprocess.run
    monkeypatch.setattr(
        onnx2tf_environment.subprocess, "run", lambda *args, **options: (calls.append(args), run(*args, **options))[1]
    )
    assert [find().version for _ in range(3)] == ["2.6.9"] * 3
    assert len(calls) == 1
