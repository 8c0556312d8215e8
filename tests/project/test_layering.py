"""Imports follow the data flow in one direction, and no files import each other."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("evim_deploy", "exporters", "runtimes", "latency")

# Each room in the order of the data flow, and the rooms above it that it may import.
# ``evim_deploy`` itself is a docstring and a version, open to all.
TABLE: dict[str, str] = {
    "common": "",
    "images": "common",
    "catalog": "common images",
    "graph": "common",
    "formats": "common",
    "artifact": "common images catalog graph formats",
    "weights": "common images catalog",
    "quantise": "common images catalog graph artifact",
    "networks": "common images catalog graph formats artifact weights quantise",
    "inspection": "common formats artifact",
    "exporters": "common images catalog graph formats artifact quantise",
    "runtimes": "common formats artifact inspection",
    "proof": "common images catalog graph artifact networks runtimes",
    "accuracy": "common images catalog formats artifact networks runtimes proof",
    "commands": """common images catalog graph formats artifact quantise networks inspection exporters runtimes proof
        accuracy""",
    "latency": "common images catalog graph formats artifact quantise networks exporters runtimes proof",
    "cli": """common images catalog formats artifact quantise networks inspection exporters runtimes proof accuracy
        commands latency""",
    "__main__": "cli",
}


def modules() -> dict[str, Path]:
    """Our modules by their dotted names."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imported(tree: ast.Module, module: str, is_package: bool) -> Iterator[str]:
    """Our modules that a module names in an import, wherever in it: in functions and for types alone, too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")[: None if is_package and node.level == 1 else -node.level + is_package]
                base = ".".join([*parents, *filter(None, [base])])
            names = [base] + [f"{base}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            # the tables of formats and engines load their own rows: f"exporters.{...}"
            names = [ast.unparse(node.args[0]).strip("f'\"").partition(".")[0]]
        else:
            continue
        yield from (name for name in names if name in MODULES)


def room(module: str) -> str:
    """The row of the table that a module falls under: a folder of evim_deploy, or another package."""
    package, _, rest = module.partition(".")
    return rest.partition(".")[0] if package == "evim_deploy" else package


def faults(module: str, tree: ast.Module, is_package: bool = False) -> list[str]:
    """The imports that the table does not allow."""
    allowed = {"", room(module), *TABLE.get(room(module), "").split()}
    return [f"{module} imports {name}" for name in imported(tree, module, is_package) if room(name) not in allowed]


def circles(imports: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """The groups of modules that import each other, directly or through others."""
    reach: dict[str, set[str]] = {}
    for module in imports:
        seen: set[str] = set()
        ahead = list(imports[module])
        while ahead:
            name = ahead.pop()
            if name not in seen:
                seen.add(name)
                ahead += imports.get(name, ())
        reach[module] = seen
    groups = {tuple(sorted(each for each in reach if each in reach[m] and m in reach[each])) for m in reach}
    return sorted(list(group) for group in groups if group)


def parse(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text("utf-8"))


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module: str) -> None:
    assert faults(module, parse(module), MODULES[module].name == "__init__.py") == []


def test_the_table_has_a_row_for_each_room_and_no_other() -> None:
    assert {room(module) for module in MODULES} - {""} == set(TABLE)
    assert len(TABLE) <= 20


def test_a_row_names_rows_above_it_alone() -> None:
    rows = list(TABLE)
    assert [(row, name) for row in rows for name in TABLE[row].split() if name not in rows[: rows.index(row)]] == []


def test_no_row_allows_what_nothing_imports() -> None:
    used = {(room(m), room(n)) for m in MODULES for n in imported(parse(m), m, MODULES[m].name == "__init__.py")}
    assert [(row, name) for row in TABLE for name in TABLE[row].split() if (row, name) not in used] == []


def test_no_files_import_each_other() -> None:
    imports = {m: {*imported(parse(m), m, MODULES[m].name == "__init__.py")} - {m} for m in MODULES}
    assert circles(imports) == []


def test_a_circle_inside_a_room_is_seen() -> None:
    assert circles({"common.a": {"common.b"}, "common.b": {"common.c"}, "common.c": {"common.a"}, "d": set()}) == [
        ["common.a", "common.b", "common.c"]
    ]
    assert circles({"a": {"b"}, "b": {"c"}, "c": set()}) == []


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("evim_deploy.graph.ir", "from evim_deploy.networks.open import parse_source", "evim_deploy.networks.open"),
        ("evim_deploy.catalog.variants", "import evim_deploy.artifact.target", "evim_deploy.artifact.target"),
        ("evim_deploy.artifact.manifest", "def f():\n    from evim_deploy import quantise", "evim_deploy.quantise"),
        ("evim_deploy.graph.rewrites.gate", "from ...networks.open import parse_source", "evim_deploy.networks.open"),
        ("evim_deploy.networks.open", "def f():\n    import evim_deploy.proof.prove", "evim_deploy.proof.prove"),
        ("evim_deploy.proof.prove", "import exporters", "exporters"),
        ("exporters.onnx.graph", "from runtimes import Array", "runtimes"),
        ("exporters.onnx.graph", "from evim_deploy import networks", "evim_deploy.networks"),
        ("runtimes.coreml", "if TYPE_CHECKING:\n    import exporters.tflite.graph", "exporters.tflite.graph"),
        ("runtimes.coreml", "importlib.import_module(f'exporters.{name}')", "exporters"),
        ("evim_deploy.commands.export", "from evim_deploy.cli import console", "evim_deploy.cli.console"),
        ("evim_deploy.commands.verify", "from latency.plan import plan", "latency.plan"),
        ("latency.plan", "from evim_deploy.commands.verify import Verifier", "evim_deploy.commands.verify"),
    ],
)
def test_the_check_finds_a_wrong_import(module: str, source: str, fault: str) -> None:
    assert f"{module} imports {fault}" in faults(module, ast.parse(source))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("exporters.onnx.graph", "import numpy\nfrom evim_deploy import __version__\nimport evim_deploy.graph.ir"),
        ("evim_deploy.graph.rewrites.gate", "from .rewrite import Rewrite"),
        ("evim_deploy.cli.export", "from evim_deploy.cli import console\nimport runtimes"),
        ("runtimes.coreml", "import coremltools\nfrom runtimes import Array"),
    ],
)
def test_the_check_lets_a_right_import_pass(module: str, source: str) -> None:
    assert faults(module, ast.parse(source)) == []


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_is(module: str) -> None:
    docstring = ast.get_docstring(parse(module))
    assert docstring
    assert docstring.splitlines()[0].rstrip().endswith((".", ":")) or "\n" in docstring
