"""Pages in docs/: code runs or compiles, commands exist, pictures and tables match the current graphs."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
from command import photographs
from media_pipe import import_mediapipe
from pages import GUIDES, PAGES, ROOT, Block, blocks, code_spans
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

import evim_deploy.commands.export
from evim_deploy.catalog.network_name import NetworkName
from evim_deploy.catalog.terms import ModelFamily
from evim_deploy.catalog.variants import parse_model
from evim_deploy.cli.console import SETTINGS
from evim_deploy.cli.main import app
from evim_deploy.commands.export import export
from evim_deploy.commands.request import Request, plan_targets
from evim_deploy.common.errors import BadInput, NotInstalled, NotRunHere, ParityFailed, UsageProblem
from evim_deploy.common.progress import Progress
from evim_deploy.networks.onnx import open as onnx_file

DOCS = ROOT / "docs"
PACKAGES = ("evim_deploy", "exporters", "runtimes")
KOTLIN_DECLARATIONS = DOCS / "declarations" / "kotlin"
PYTHON = [page for page in GUIDES if blocks(page, "python")]


# --- Python: runs with small artifacts


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the code in the pages opens: ``model.*`` in each format and ``photo.jpg``."""
    folder = tmp_path_factory.mktemp("samples")
    request = Request(
        model=parse_model("m1"),
        formats=("onnx", "tflite", "coreml"),
        sizes=((64, 64),),
        weights="random",
        output_dir=folder,
        verify=False,
    )
    for artifact in export(request):
        path = Path(artifact["path"])
        path.rename(folder / f"model{path.suffix}")
        path.with_name(f"{path.name}.json").rename(folder / f"model{path.suffix}.json")
    shutil.copy(photographs()[0], folder / "photo.jpg")
    return folder


RUNS = {"macos": lambda: sys.platform == "darwin", "mediapipe": lambda: import_mediapipe() is not None}
"""Conditions for running a block, by the word after its language; without MediaPipe the page's test is skipped."""


def run_blocks(page: list[Block]) -> dict[str, Any]:
    """Run the blocks of a page in order in one namespace, and return the namespace."""
    namespace: dict[str, Any] = {"__name__": "__page__"}
    for block in page:
        code = compile("\n" * block.line + block.text, block.page, "exec")
        if all(RUNS[word]() for word in block.words):
            exec(code, namespace)
    return namespace


@pytest.mark.parametrize("page", PYTHON, ids=lambda path: path.name)
def test_python_samples_run(
    page: Path, samples: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(samples)
    run_blocks(blocks(page, "python"))
    assert capsys.readouterr().out.strip()


def test_python_samples_crop_like_the_evaluation() -> None:
    """The cropping lines of every page run on images with shapes that reveal differences in rounding."""
    texts = [block.text for page in PYTHON for block in blocks(page, "python") if "photo.resize" in block.text]
    assert len(texts) == 3
    lines = re.compile(r"^# the short side.*?^photo = photo\.crop.*?$", re.MULTILINE | re.DOTALL)
    (crop,) = {match for text in texts for match in lines.findall(text)}
    for size in [(640, 427), (427, 640), (150, 90), (333, 333)]:
        photo = Image.effect_noise(size, 100).convert("RGB")
        namespace: dict[str, Any] = {"Image": Image, "photo": photo, "width": 224, "height": 224}
        exec(crop, namespace)
        expected = Compose([Resize(256, InterpolationMode.BICUBIC), CenterCrop(224)])(photo)
        assert namespace["photo"].tobytes() == expected.tobytes(), size


@pytest.mark.parametrize("text", ["import onnxruntime\nonnxruntime.InferenceSession('none.onnx')", "1 +"])
def test_failing_python_sample_is_detected(text: str) -> None:
    with pytest.raises(Exception, match=r"none\.onnx|invalid syntax"):
        run_blocks([Block("page.md", 1, "python", (), text)])


# --- Kotlin: compiled if the host has a compiler. Swift is compiled with the app: see test_ios_checks.py


def kotlin_compiler() -> list[str] | None:
    """The command line of the Kotlin compiler in kotlin-jupyter-kernel; None without the package or Java."""
    kernel = importlib.util.find_spec("run_kotlin_kernel")
    if not kernel or not kernel.submodule_search_locations or not shutil.which("java"):
        return None
    jars = sorted((Path(kernel.submodule_search_locations[0]) / "jars").glob("*.jar"))
    (library,) = [jar for jar in jars if jar.name.startswith("kotlin-stdlib")]
    main = "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler"
    classes = ":".join(map(str, jars))
    return [
        "java",
        "-XX:TieredStopAtLevel=1",
        "-cp",
        classes,
        main,
        "-no-stdlib",
        "-no-reflect",
        "-Werror",
        "-cp",
        str(library),
    ]


KOTLIN = pytest.mark.skipif(
    not kotlin_compiler(),
    reason="not run on this host: it needs Java and kotlin-jupyter-kernel, which has the compiler",
)


def compile_kotlin(texts: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    for number, text in enumerate(texts):
        (folder / f"Sample{number}.kt").write_text(text, "utf-8")
    compiler = kotlin_compiler()
    assert compiler
    return subprocess.run(
        [*compiler, "-d", str(folder / "classes"), str(KOTLIN_DECLARATIONS), str(folder)],
        capture_output=True,
        text=True,
    )


@KOTLIN
def test_kotlin_samples_compile(tmp_path: Path) -> None:
    found = [block.text for page in GUIDES for block in blocks(page, "kotlin")]
    assert len(found) == 2
    result = compile_kotlin(found, tmp_path)
    assert result.returncode == 0, result.stderr


@KOTLIN
def test_invalid_kotlin_sample_is_detected(tmp_path: Path) -> None:
    (block,) = blocks(DOCS / "tflite.md", "kotlin")
    result = compile_kotlin([block.text.replace("readFloat()", "readFloats()")], tmp_path)
    assert result.returncode != 0
    assert "readFloats" in result.stderr


# --- commands: parsed by the program's own parser


def commands(path: Path) -> list[str]:
    """The evim-deploy commands in the blocks of a page, without the prompt."""
    lines = (line for block in blocks(path, "", "console", "sh") for line in block.text.splitlines())
    return [line.removeprefix("$ ") for line in lines if line.removeprefix("$ ").startswith("evim-deploy ")]


def mentions(path: Path) -> list[str]:
    """The evim-deploy commands in the sentences of a page; they may omit arguments."""
    return [text for text in code_spans(path) if text.startswith("evim-deploy ")]


def planned(request: Request, progress: Progress | None = None) -> list[dict[str, Any]]:
    """Replacement for ``export`` that only plans the targets."""
    assert plan_targets(request)
    return []


def parse(command: str) -> None:
    """Parse a command with the program's parser; an export is planned, too."""
    arguments = shlex.split(command, comments=True)[1:]
    if arguments[0] == "export":
        app(arguments, standalone_mode=False)
        return
    group = typer.main.get_command(app)
    with group.make_context("evim-deploy", list(arguments)) as context:
        name, subcommand, rest = group.resolve_command(context, list(arguments))
        assert subcommand
        subcommand.make_context(name, rest, parent=context).close()


@pytest.fixture
def no_export(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evim_deploy.commands.export, "export", planned)
    monkeypatch.setattr(
        onnx_file,
        "find_onnx",
        lambda path, preprocessing: NetworkName(family=ModelFamily.ONNX, source=path, size=(224, 224)),
    )
    for setting in ("quiet", "verbose"):
        monkeypatch.setattr(SETTINGS, setting, False)


@pytest.mark.usefixtures("no_export")
@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_in_pages_are_valid(page: Path) -> None:
    faults = {}
    for command in (*commands(page), *mentions(page)):
        try:
            parse(command)
        except Exception as error:
            is_incomplete = re.match("Missing parameter|.* requires an argument", str(error))
            if not (is_incomplete and command in mentions(page)):
                faults[command] = str(error)
    assert faults == {}


def test_pages_have_commands() -> None:
    assert all(commands(DOCS / name) for name in ("onnx.md", "coreml.md", "tflite.md"))


@pytest.mark.usefixtures("no_export")
@pytest.mark.parametrize(
    "command",
    [
        "evim-deploy export m4 --no-such-option",
        "evim-deploy export m4 --precision fp8",
        "evim-deploy export m4 -f tflite -r dynamic",
        "evim-deploy export m9",
        "evim-deploy verify model.onnx --layer",
        "evim-deploy convert model.onnx",
    ],
)
def test_invalid_command_is_detected(command: str) -> None:
    with pytest.raises(Exception, match=r"(?i)no such|(no|unknown) (precision|model)|does not support a dynamic"):
        parse(command)


# --- pictures and tables


@pytest.fixture(scope="module")
def pictures() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pictures", DOCS / "pictures.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look up the types of their fields here
    spec.loader.exec_module(module)
    return module


def test_pictures_match_the_current_graphs(pictures: ModuleType) -> None:
    described = pictures.describe_all()
    drawn = {path.stem: path.read_text("utf-8") for path in pictures.FOLDER.glob("*.svg")}
    assert drawn.keys() == described.keys()
    old = [name for name, text in described.items() if not drawn[name].startswith(pictures.stamp(text) + "<svg")]
    assert old == [], "run `python docs/pictures.py`"


def test_every_rewrite_has_a_picture_and_a_heading(pictures: ModuleType) -> None:
    assert {picture.rewrite for picture in pictures.PICTURES} == set(pictures.REWRITES)
    page = (DOCS / "rewrites.md").read_text("utf-8")
    for name in pictures.describe_all():
        assert f"](pictures/{name}.svg)" in page
    assert (
        page.count("\n## ") == len(pictures.REWRITES) + 3
    )  # the other headings: introduction, large images, a whole block


def test_changed_graph_has_another_picture(pictures: ModuleType) -> None:
    """A change of the rewritten graph changes the picture's description and therefore its stamp."""
    (picture,) = [each for each in pictures.PICTURES if each.name == "gate"]
    before, after = pictures.before_and_after(picture)
    drawn = pictures.beside(before, after, set(picture.beside))
    (node,) = [node for node in after.nodes if node.name == picture.root]
    after.substitute(node, type(node)(op="add", inputs=node.inputs, outputs=node.outputs))
    assert pictures.stamp(pictures.beside(before, after, {*picture.beside, picture.root})) != pictures.stamp(drawn)
    with pytest.raises(ValueError, match="does not match at"):
        pictures.before_and_after(pictures.Picture("gate", picture.rewrite, "heads.3.sum"))


def test_tables_match_the_current_graphs(pictures: ModuleType) -> None:
    page = (DOCS / "rewrites.md").read_text("utf-8")
    for table in pictures.tables().values():
        assert f"\n\n{table}\n" in page, "put in what `python docs/pictures.py` prints"


# --- messages on the page on troubleshooting


def own_messages() -> list[tuple[str, str]]:
    """The messages of the program on the page, each with its exit code."""
    page = (DOCS / "troubleshooting.md").read_text("utf-8")
    return re.findall(r"^\| `(.+?)` \| (\d) \|", page, re.MULTILINE)


@cache
def sources() -> str:
    """The source of the program, with adjacent string literals joined."""
    text = "".join(path.read_text("utf-8") for name in PACKAGES for path in sorted((ROOT / name).rglob("*.py")))
    return re.sub(r'"\s*\n\s*f?"', "", text)


def unsaid(message: str) -> list[str]:
    """The parts of a message, separated by ellipses, that are not in the source of the program."""
    text = sources()
    return [words for words in map(str.strip, message.split("...")) if words not in text]


def test_troubleshooting_messages_are_in_the_program() -> None:
    assert own_messages()
    assert {message: unsaid(message) for message, _ in own_messages() if unsaid(message)} == {}
    assert unsaid("... exists already, it seems.") == ["exists already, it seems."]


def test_troubleshooting_lists_all_exit_codes() -> None:
    page = (DOCS / "troubleshooting.md").read_text("utf-8")
    kinds = (UsageProblem, BadInput, NotInstalled, ParityFailed, NotRunHere)
    for kind in kinds:
        assert f"\n| {kind.exit_code} | " in page
    assert {int(code) for _, code in own_messages()} == {kind.exit_code for kind in kinds}
