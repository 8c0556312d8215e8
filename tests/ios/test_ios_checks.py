"""The script of the iOS checks: hosts without Swift, failures, and references to files and options."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pages import GUIDES, blocks

ROOT = Path(__file__).parents[2]
IOS = ROOT / "ios-demo"
CHECK = IOS / "check.sh"
WORKFLOW = ROOT / ".github" / "workflows" / "ios.yml"
DOCUMENTS = (IOS / "README.md", IOS / "MEASURING.md")


TYPECHECKED = pytest.mark.skipif(
    sys.platform == "darwin" or not shutil.which("swiftc"),
    reason="not run on this host: it needs Swift, and on a Mac Xcode checks the types",
)


def copied(folder: Path) -> Path:
    """Copy the ios-demo folder, without models."""
    return Path(shutil.copytree(IOS, folder / "ios-demo", ignore=shutil.ignore_patterns("Models", ".build")))


def typecheck(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([folder / "ios-demo" / "typecheck.sh"], capture_output=True, text=True)


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the checks with only the programs of a folder, /usr/bin and /bin in PATH."""
    return subprocess.run([CHECK], env={"PATH": f"{folder}:/usr/bin:/bin"}, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("swift", "words"),
    [(None, "Swift is not installed"), ("Swift version 5.10.1 (swift-5.10.1-RELEASE)", "needs Swift 6 or later")],
)
def test_checks_without_swift_report_that_they_did_not_run(tmp_path: Path, swift: str | None, words: str) -> None:
    if any(Path(folder, "swift").exists() for folder in ("/usr/bin", "/bin")):
        pytest.skip("the system's own folders have Swift: run it where Swift is elsewhere or not there")
    if swift:
        (tmp_path / "swift").write_text(f"#!/bin/sh\necho {shlex.quote(swift)}\n")
        (tmp_path / "swift").chmod(0o755)
    result = check(tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("ios-demo: not run on this host: ")
    assert words in result.stdout


def test_failing_swift_command_ends_the_checks(tmp_path: Path) -> None:
    """A recent Swift whose commands fail ends the checks with its exit code."""
    (tmp_path / "swift").write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Swift version 6.3" || exit 7\n')
    (tmp_path / "swift").chmod(0o755)
    assert check(tmp_path).returncode == 7


@TYPECHECKED
def test_typecheck_detects_an_error_in_code_for_apple_platforms(tmp_path: Path) -> None:
    """The model is declared nonisolated: the types match, but two threads could share it."""
    source = copied(tmp_path) / "EvimKit" / "Sources" / "EvimCoreML" / "EvimModel.swift"
    text = source.read_text("utf-8")
    assert "        let model: MLModel\n" in text
    source.write_text(
        text.replace("        let model: MLModel\n", "        nonisolated let model: MLModel\n", 1), "utf-8"
    )
    result = typecheck(tmp_path)
    assert result.returncode != 0
    assert source.name in result.stdout + result.stderr


@TYPECHECKED
def test_swift_samples_in_documents_compile(tmp_path: Path) -> None:
    """Each sample compiles as a file of the app; docs/ declares the other symbols that it needs."""
    ios = copied(tmp_path)
    for declared in (ROOT / "docs" / "declarations" / "swift").iterdir():
        shutil.copytree(declared, ios / "Declarations" / declared.name)
    samples = [block.text for page in (DOCUMENTS[0], *GUIDES) for block in blocks(page, "swift")]
    assert len(samples) == 5
    for number, sample in enumerate(samples):
        (ios / "EvimDemo" / f"Sample{number}.swift").write_text(sample, "utf-8")
    result = typecheck(tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "not Apple's SDK" in result.stdout
    assert len([line for line in samples[0].splitlines() if line]) <= 10


def test_scripts_are_executable_and_valid_bash() -> None:
    for script in (CHECK, IOS / "typecheck.sh"):
        assert os.access(script, os.X_OK), f"chmod +x {script}"
        assert subprocess.run(["bash", "-n", script]).returncode == 0


def test_workflow_refers_to_existing_files() -> None:
    workflow = yaml.safe_load(WORKFLOW.read_text("utf-8"))
    (job,) = workflow["jobs"].values()
    commands = "\n".join(step.get("run", "") for step in job["steps"])
    for path in set(re.findall(r"ios-demo/[\w./-]+\w", commands)):
        assert (ROOT / path).exists(), path
    (scheme,) = set(re.findall(r"-scheme (\w+)", commands))
    assert (IOS / f"{scheme}.xcodeproj" / "xcshareddata" / "xcschemes" / f"{scheme}.xcscheme").is_file()
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in re.findall(r"\bmake ([\w-]+)", commands):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_documents_refer_to_existing_files(document: Path) -> None:
    text = document.read_text("utf-8")
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (document.parent / link).exists(), link
    for path in set(re.findall(r"ios-demo/[\w./-]+\w", text)):
        assert (ROOT / path).exists(), path


def test_documents_state_which_checks_were_never_run() -> None:
    assert "has not been run" in WORKFLOW.read_text("utf-8")
    assert "Never run where this was written" in DOCUMENTS[0].read_text("utf-8")


def test_launch_options_match_the_documents_and_the_workflow() -> None:
    """Documents and workflow use only the options of LaunchArguments, and every option is documented."""
    source = (IOS / "EvimKit" / "Sources" / "EvimCore" / "Benchmark" / "LaunchArguments.swift").read_text("utf-8")
    (cases,) = re.findall(r"enum Option[^{]*\{\s*case ([\w, ]+)", source)
    known = {f"--{name.strip()}" for name in cases.split(",")}
    table = set(re.findall(r"`(--\w+)", DOCUMENTS[1].read_text("utf-8").split("## Modes")[0])) - {"--import"}
    assert table == known
    launched = re.findall(r"simctl launch[^|]*", WORKFLOW.read_text("utf-8"))
    options = {option for line in launched for option in re.findall(r"--\w+", line)} - {"--console"}
    assert options
    assert options <= known
