"""The wheel has all files and works in a new environment."""

from __future__ import annotations

import json
import shutil
import site
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The path of a wheel built from the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a copy, so that files of an older build do not get into the wheel
    shutil.copytree(
        ROOT, source, ignore=shutil.ignore_patterns(".*", "build", "*.egg-info", "artifacts", "__pycache__")
    )
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", folder, source], check=True, capture_output=True
    )
    (path,) = folder.glob("*.whl")
    return path


def _environment(folder: Path, wheel: Path, *options: str) -> Path:
    """Create an environment with the wheel, and return its folder of programs."""
    venv.create(folder, with_pip=True)
    programs = folder / ("Scripts" if sys.platform == "win32" else "bin")
    command = [programs / "python", "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", *options, wheel]
    subprocess.run(command, check=True, capture_output=True)
    return programs


def _run(program: Path, *args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *args], cwd=cwd, capture_output=True, text=True, timeout=300, check=False)


def test_wheel_has_all_packages_and_their_data(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for needed in (
        "evim_deploy/data/imagenet1k.txt",
        "evim_deploy/data/imagenet1k_wordnet.txt",
        "evim_deploy/data/photographs/cat.png",
        "evim_deploy/data/digits/digits.npz",
        "evim_deploy/data/digits/efficientvim_digits.safetensors",
        "evim_deploy/py.typed",
        "exporters/coreml/graph.py",
        "evim_deploy/cli/verify.py",
        "evim_deploy/formats/mil.py",
        "evim_deploy/inspection/rules.py",
        "evim_deploy/proof/operations/compare.py",
        "evim_deploy/proof/outputs/checker.py",
        "runtimes/litert/process.py",
        "runtimes/mil/operations/convolution.py",
        "evim_deploy/common/host.py",
        "evim_deploy/artifact/manifest.schema.json",
        "latency/results.schema.json",
        "latency/data/paper.json",
        "latency/report/template.html",
        "latency/report/style.css",
    ):
        assert needed in names
    assert not [name for name in names if name.startswith(("tests/", "training/", "ios-demo/"))]


@pytest.mark.slow
def test_base_install_is_small_and_names_the_missing_extra(wheel: Path, tmp_path: Path) -> None:
    programs = _environment(tmp_path / "base", wheel)
    models = _run(programs / "evim-deploy", "models", "--json", cwd=tmp_path)
    assert len(json.loads(models.stdout)["models"]) == 9
    refused = _run(programs / "evim-deploy", "export", "m1", cwd=tmp_path)
    assert refused.returncode == 4
    assert 'pip install "evim-deploy[coreml]"' in refused.stderr
    refused = _run(programs / "evim-deploy", "bench", "m1", cwd=tmp_path)
    assert refused.returncode == 4
    assert 'pip install "evim-deploy[bench]"' in refused.stderr
    listed = _run(programs / "python", "-m", "pip", "list", "--format", "json", cwd=tmp_path)
    installed = {package["name"].lower() for package in json.loads(listed.stdout)}
    assert not installed & {"torch", "tensorflow", "onnx", "coremltools"}


@pytest.mark.slow
def test_installed_wheel_exports_and_predicts(wheel: Path, tmp_path: Path) -> None:
    """A path file gives access to the large packages of this environment; evim-deploy comes from the wheel."""
    programs = _environment(tmp_path / "lent", wheel, "--no-deps")
    (own,) = (tmp_path / "lent").glob("lib/python*/site-packages")
    (own / "lent.pth").write_text("\n".join(site.getsitepackages()))
    where = _run(programs / "python", "-c", "import evim_deploy; print(evim_deploy.__file__)", cwd=tmp_path)
    assert where.stdout.strip().startswith(str(own))
    exported = _run(
        programs / "evim-deploy", "export", "m1", "-f", "onnx", "-r", "64", "-w", "random", "--json", cwd=tmp_path
    )
    assert exported.returncode == 0, exported.stderr
    (artifact,) = json.loads(exported.stdout)["artifacts"]
    assert artifact["parity"]["status"] == "pass"
    photograph = own / "evim_deploy" / "data" / "photographs" / "cat.png"
    predicted = _run(programs / "evim-deploy", "predict", artifact["path"], str(photograph), cwd=tmp_path)
    assert predicted.returncode == 0, predicted.stderr
    assert "UNTRAINED" in predicted.stdout
