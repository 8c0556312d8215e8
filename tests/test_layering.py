"""Which of our modules may import which: one direction, from what is true of the model to the command line."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("evim_deploy", "exporters", "runtimes", "latency")

# Each module, or package with all that is in it, and what it may import of ours besides itself. The first
# line that fits counts. ``evim_deploy`` itself is a docstring and a version, and open to all.
TABLE: tuple[tuple[str, str], ...] = (
    # --- what is true of the model, whatever the framework
    ("evim_deploy.errors", ""),
    ("evim_deploy.codes", ""),
    ("evim_deploy.graph", "codes"),
    ("evim_deploy.fixed_point", "codes graph"),
    ("evim_deploy.background", ""),
    ("evim_deploy.tools", ""),
    ("evim_deploy.arrays", "artifact"),
    ("evim_deploy.trace", ""),
    ("evim_deploy.progress", ""),
    ("evim_deploy.threads", ""),
    ("evim_deploy.documents", ""),
    ("evim_deploy.parity.result", "documents"),
    ("evim_deploy.__main__", "cli"),
    ("evim_deploy.variants", "errors"),
    ("evim_deploy.artifact", "errors parity.result preprocessing quantise.quantisation variants"),
    ("evim_deploy.about", "artifact digits"),
    ("evim_deploy.networks.name", "errors preprocessing"),
    (
        "evim_deploy.manifest",
        """artifact contents documents errors networks.name preprocessing quantise.quantisation quantise.schemes
        variants""",
    ),
    ("evim_deploy.shapes", "graph"),
    ("evim_deploy.rounding", "codes errors graph"),
    ("evim_deploy.image_samples", ""),
    ("evim_deploy.preprocessing", "errors image_samples"),
    ("evim_deploy.published", "errors preprocessing"),
    ("evim_deploy.labels", "digits documents errors variants"),
    ("evim_deploy.digits", "errors preprocessing"),
    ("evim_deploy.machine", "errors"),
    ("evim_deploy.publish", "errors machine"),
    ("evim_deploy.photographs", "preprocessing"),
    # --- what is in a file of a format, whoever made it
    ("evim_deploy.contents.onnx_file", "publish"),
    ("evim_deploy.contents", "documents errors"),
    ("evim_deploy.inspection", "artifact contents documents errors"),
    # --- the reference and its rewrites
    ("evim_deploy.model", "graph variants"),
    ("evim_deploy.evaluate", "codes graph"),
    ("evim_deploy.lowering", "codes graph model preprocessing"),
    ("evim_deploy.reparam", "codes graph"),
    ("evim_deploy.untrained", "model photographs preprocessing variants"),
    # --- fewer bits
    ("evim_deploy.quantise.quantisation", "codes documents"),
    ("evim_deploy.reproducible", ""),
    ("evim_deploy.quantise.find", "artifact digits graph progress quantise reference reproducible"),
    ("evim_deploy.quantise", "codes digits errors evaluate graph photographs preprocessing reparam rounding"),
    # --- checkpoints
    ("evim_deploy.shards", "documents errors"),
    ("evim_deploy.checkpoint", "errors model shards variants"),
    ("evim_deploy.hub", "background errors shards variants"),
    ("evim_deploy.weights", "artifact checkpoint digits errors hub model shards untrained variants"),
    # --- the comparison knows what it compares, and no format or engine
    ("evim_deploy.network", "codes evaluate fixed_point graph"),
    (
        "evim_deploy.reference",
        """arrays artifact graph layers lowering model network parity.result preprocessing published quantise reparam
        rounding trace""",
    ),
    ("evim_deploy.parity", "arrays artifact errors network photographs preprocessing reference"),
    (
        "evim_deploy.layers",
        """artifact codes documents evaluate fixed_point graph lowering model parity.result preprocessing rounding
        shapes trace""",
    ),
    (
        "evim_deploy.networks",
        """arrays artifact checkpoint contents errors hub layers manifest network parity.result photographs
        preprocessing published reparam shards threads trace untrained variants weights""",
    ),
    ("evim_deploy.golden", "artifact errors parity"),
    ("evim_deploy.plot", "errors layers"),
    # --- the formats, the engines, the clock: they know artifacts and graphs, never each other
    (
        "exporters",
        """about errors artifact codes contents evaluate graph machine preprocessing quantise.apply quantise.schemes
        shapes variants""",
    ),
    ("runtimes", "errors artifact contents documents inspection.core_ml machine threads trace"),
    ("latency.environment", ""),
    # --- what a user asks for: here everything meets
    ("evim_deploy.request", "artifact errors quantise.schemes variants exporters"),
    ("evim_deploy.sources", "artifact errors networks preprocessing reference variants weights"),
    ("evim_deploy.origin", "errors manifest reference sources"),
    ("evim_deploy.classifier", "arrays errors manifest preprocessing runtimes"),
    ("evim_deploy.accuracy.measures", ""),
    ("evim_deploy.accuracy.classes", "errors variants"),
    ("evim_deploy.accuracy", "* runtimes"),
    (
        "evim_deploy.build",
        "artifact contents errors inspection.core_ml parity.result reference reparam.rewrite tools exporters runtimes",
    ),
    ("evim_deploy.rebuild", "artifact build errors manifest parity.result publish machine reference exporters"),
    ("evim_deploy.verify", "* exporters runtimes"),
    ("evim_deploy.export", "* exporters runtimes"),
    ("evim_deploy.predict", "* exporters runtimes"),
    ("evim_deploy.self_test", "* exporters runtimes"),
    ("evim_deploy.doctor", "* exporters runtimes latency.environment"),
    # --- the clock: what is timed, how, and what may be said of it; its documents know nothing of models
    ("latency.enums", ""),
    ("latency.results", "documents errors latency.enums"),
    ("latency.paper", ""),
    ("latency.settings", "latency.enums"),
    ("latency.breakdown", ""),
    ("latency.statistics", ""),
    ("latency.decision", "latency.statistics"),
    ("latency.judgement", "errors latency.decision latency.enums latency.results latency.statistics"),
    ("latency.compare", "errors latency.decision latency.judgement latency.results latency.statistics"),
    (
        "latency.report",
        """documents errors publish latency.breakdown latency.decision latency.enums latency.judgement latency.paper
        latency.results latency.settings latency.statistics""",
    ),
    ("latency", "* exporters runtimes"),
    ("evim_deploy.cli", "* exporters runtimes latency"),
    ("evim_deploy", ""),
)
ANYTHING = "*"  # all of evim_deploy but the command line, which nothing imports


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
        for name in names:
            if name.split(".")[0] in PACKAGES and (name in MODULES or "." not in name):
                yield name


def inside(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def rule_for(module: str) -> tuple[str, tuple[str, ...]]:
    """The line of the table that a module falls under: its subject, and what it may import."""
    subject, allowed = next((subject, allowed) for subject, allowed in TABLE if inside(module, subject))
    return subject, tuple(
        name if name == ANYTHING or name.partition(".")[0] in PACKAGES else f"evim_deploy.{name}"
        for name in allowed.split()
    )


def faults(module: str, tree: ast.Module, is_package: bool = False) -> list[str]:
    """The imports that the table does not allow."""
    subject, allowed = rule_for(module)

    def may(name: str) -> bool:
        if name == "evim_deploy" or (inside(name, subject) and subject != "evim_deploy"):
            return True
        if ANYTHING in allowed and inside(name, "evim_deploy") and not inside(name, "evim_deploy.cli"):
            return True
        return any(inside(name, package) for package in allowed)

    return [f"{module} imports {name}" for name in imported(tree, module, is_package) if not may(name)]


def parse(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text("utf-8"))


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module: str) -> None:
    assert faults(module, parse(module), MODULES[module].name == "__init__.py") == []


def test_the_table_names_what_there_is() -> None:
    assert [subject for subject, _ in TABLE if subject not in MODULES] == []


def test_every_module_has_a_line_of_its_own() -> None:
    """A new module is placed in the table by whoever adds it."""
    assert [module for module in MODULES if rule_for(module)[0] == "evim_deploy" != module] == []


def test_no_line_of_the_table_makes_a_circle() -> None:
    ranks: dict[str, int] = {}

    def rank(subject: str, above: tuple[str, ...] = ()) -> int:
        assert subject not in above, f"{' -> '.join(above)} -> {subject}"
        if subject not in ranks:
            below = [rule_for(name)[0] for name in rule_for(subject)[1] if name != ANYTHING]
            ranks[subject] = 1 + max((rank(name, (*above, subject)) for name in below), default=0)
        return ranks[subject]

    assert {rank(subject) for subject, _ in TABLE}


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("evim_deploy.graph", "from evim_deploy.model import EfficientViM", "evim_deploy.model"),
        ("evim_deploy.variants", "import evim_deploy.artifact", "evim_deploy.artifact"),
        ("evim_deploy.parity", "def f():\n    import runtimes", "runtimes"),
        ("evim_deploy.reparam.gate", "from evim_deploy.lowering import lower", "evim_deploy.lowering"),
        ("evim_deploy.reparam.gate", "from ..model import Block", "evim_deploy.model"),
        ("exporters.onnx", "from runtimes import Array", "runtimes"),
        ("exporters.onnx", "from evim_deploy import lowering", "evim_deploy.lowering"),
        ("runtimes.litert", "if TYPE_CHECKING:\n    import exporters.tflite", "exporters.tflite"),
        ("runtimes.litert", "from evim_deploy.parity import check", "evim_deploy.parity"),
        ("latency.environment", "from exporters import FORMATS", "exporters"),
        ("latency.environment", "importlib.import_module(f'exporters.{name}')", "exporters"),
        ("evim_deploy.export", "from evim_deploy.cli import console", "evim_deploy.cli"),
        ("evim_deploy.verify", "from latency.plan import plan", "latency.plan"),
        ("latency.report.html", "from latency.session import Session", "latency.session"),
        ("latency.statistics", "import torch\nfrom latency.peers import Peer", "latency.peers"),
    ],
)
def test_the_check_finds_a_wrong_import(module: str, source: str, fault: str) -> None:
    assert f"{module} imports {fault}" in faults(module, ast.parse(source))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("exporters.onnx", "import numpy\nfrom evim_deploy import __version__\nfrom evim_deploy.graph import Graph"),
        ("evim_deploy.reparam.gate", "from .rewrite import Rewrite"),
        ("evim_deploy.cli.export", "from evim_deploy.cli import console\nimport runtimes"),
        ("runtimes.onnxruntime", "import onnxruntime\nfrom runtimes import Array"),
    ],
)
def test_the_check_lets_a_right_import_pass(module: str, source: str) -> None:
    assert faults(module, ast.parse(source)) == []


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_is(module: str) -> None:
    docstring = ast.get_docstring(parse(module))
    assert docstring
    assert docstring.splitlines()[0].rstrip().endswith((".", ":")) or "\n" in docstring
