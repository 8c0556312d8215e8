"""Which of our modules may import which: one direction, from what is true of the model to the command line."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("evim_deploy", "exporters", "runtimes", "latency")

# Each module, or package with all that is in it, and what it may import of ours besides itself. The first
# line that fits counts. ``evim_deploy`` itself is a docstring and a version, and open to all.
TABLE: tuple[tuple[str, str], ...] = (
    # --- what is true of the model, whatever the framework
    ("evim_deploy.common.errors", ""),
    ("evim_deploy.graph.quantised", ""),
    ("evim_deploy.graph.ir", "codes"),
    ("evim_deploy.graph.fixed_point", "codes graph"),
    ("evim_deploy.weights.background", ""),
    ("evim_deploy.common.versions", ""),
    ("evim_deploy.common.numerics", "artifact"),
    ("evim_deploy.artifact.trace", ""),
    ("evim_deploy.common.progress", ""),
    ("evim_deploy.common.threads", ""),
    ("evim_deploy.common.json_documents", ""),
    ("evim_deploy.artifact.parity", "documents"),
    ("evim_deploy.__main__", "cli"),
    ("evim_deploy.catalog.variants", "errors"),
    ("evim_deploy.artifact.target", "errors parity.result preprocessing quantise.quantisation variants"),
    ("evim_deploy.artifact.descriptions", "artifact digits"),
    ("evim_deploy.catalog.network_name", "errors preprocessing"),
    (
        "evim_deploy.manifest",
        """artifact contents documents errors networks.name preprocessing quantise.quantisation quantise.schemes
        variants""",
    ),
    ("evim_deploy.graph.shapes", "graph"),
    ("evim_deploy.graph.half_precision", "codes errors graph"),
    ("evim_deploy.images.samples", ""),
    ("evim_deploy.images.preprocessing", "errors image_samples"),
    ("evim_deploy.images.published_transform", "errors preprocessing"),
    ("evim_deploy.labels", "digits documents errors variants"),
    ("evim_deploy.images.digits", "errors preprocessing"),
    ("evim_deploy.common.system_errors", "errors"),
    ("evim_deploy.common.publish", "errors machine"),
    ("evim_deploy.images.photographs", "preprocessing"),
    # --- what is in a file of a format, whoever made it
    ("evim_deploy.formats.onnx_writer", "publish"),
    ("evim_deploy.formats", "documents errors"),
    ("evim_deploy.inspection", "artifact contents documents errors"),
    # --- the reference and its rewrites
    ("evim_deploy.networks.efficientvim.model", "graph variants"),
    ("evim_deploy.graph.interpreter", "codes graph"),
    ("evim_deploy.networks.efficientvim.lowering", "codes graph model preprocessing"),
    ("evim_deploy.graph.rewrites", "codes graph"),
    ("evim_deploy.networks.efficientvim.seeded", "model photographs preprocessing variants"),
    # --- fewer bits
    ("evim_deploy.artifact.quantisation", "codes documents"),
    ("evim_deploy.common.reproducible", ""),
    (
        "evim_deploy.networks.efficientvim.quantise_target",
        "artifact digits graph progress quantise reference reproducible",
    ),
    ("evim_deploy.quantise", "codes digits errors evaluate graph photographs preprocessing reparam rounding"),
    # --- checkpoints
    ("evim_deploy.weights.shards", "documents errors"),
    ("evim_deploy.networks.efficientvim.checkpoint", "errors model shards variants"),
    ("evim_deploy.weights.hub", "background errors shards variants"),
    (
        "evim_deploy.networks.efficientvim.weights",
        "artifact checkpoint digits errors hub model shards untrained variants",
    ),
    # --- the comparison knows what it compares, and no format or engine
    ("evim_deploy.networks.runnable", "codes evaluate fixed_point graph"),
    (
        "evim_deploy.networks.protocols",
        """arrays artifact graph layers lowering model network parity.result preprocessing published quantise reparam
        rounding trace""",
    ),
    ("evim_deploy.proof.outputs", "arrays artifact errors network photographs preprocessing reference"),
    (
        "evim_deploy.proof.operations",
        """artifact codes documents evaluate fixed_point graph lowering model parity.result preprocessing rounding
        shapes trace""",
    ),
    (
        "evim_deploy.networks",
        """arrays artifact checkpoint contents errors hub layers manifest network parity.result photographs
        preprocessing published reparam shards threads trace untrained variants weights""",
    ),
    ("evim_deploy.golden", "artifact errors parity"),
    ("evim_deploy.proof.operations.plot", "errors layers"),
    # --- the formats, the engines, the clock: they know artifacts and graphs, never each other
    (
        "exporters",
        """about errors artifact codes contents evaluate graph machine preprocessing quantise.apply quantise.schemes
        shapes variants""",
    ),
    ("runtimes", "errors artifact contents documents inspection.core_ml machine threads trace"),
    ("evim_deploy.common.host", ""),
    # --- what a user asks for: here everything meets
    ("evim_deploy.commands.request", "artifact errors quantise.schemes variants exporters"),
    ("evim_deploy.networks.open", "artifact errors networks preprocessing reference variants weights"),
    ("evim_deploy.proof.origin", "errors manifest reference sources"),
    ("evim_deploy.accuracy.classifier", "arrays errors manifest preprocessing runtimes"),
    ("evim_deploy.accuracy.measures", ""),
    ("evim_deploy.accuracy.classes", "errors variants"),
    ("evim_deploy.accuracy", "* runtimes"),
    (
        "evim_deploy.commands.build",
        "artifact contents errors inspection.core_ml parity.result reference reparam.rewrite tools exporters runtimes",
    ),
    (
        "evim_deploy.commands.rebuild",
        "artifact build errors manifest parity.result publish machine reference exporters",
    ),
    ("evim_deploy.commands.verify", "* exporters runtimes"),
    ("evim_deploy.commands.export", "* exporters runtimes"),
    ("evim_deploy.commands.predict", "* exporters runtimes"),
    ("evim_deploy.commands.self_test", "* exporters runtimes"),
    ("evim_deploy.commands.doctor", "* exporters runtimes evim_deploy.common.host"),
    # --- the clock: what is timed, how, and what may be said of it; its documents know nothing of models
    ("latency.results", "documents errors"),
    ("latency.paper", ""),
    ("latency.settings", ""),
    ("latency.breakdown", ""),
    ("latency.statistics", ""),
    ("latency.judgement", "errors latency.results latency.statistics"),
    ("latency.compare", "errors latency.judgement latency.results latency.statistics"),
    (
        "latency.report",
        """documents errors publish latency.breakdown latency.judgement latency.paper latency.results latency.settings
        latency.statistics""",
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
        (
            "evim_deploy.graph.ir",
            "from evim_deploy.networks.efficientvim.model import EfficientViM",
            "evim_deploy.networks.efficientvim.model",
        ),
        ("evim_deploy.catalog.variants", "import evim_deploy.artifact.target", "evim_deploy.artifact.target"),
        ("evim_deploy.proof.outputs", "def f():\n    import runtimes", "runtimes"),
        (
            "evim_deploy.graph.rewrites.gate",
            "from evim_deploy.networks.efficientvim.lowering import lower",
            "evim_deploy.networks.efficientvim.lowering",
        ),
        ("evim_deploy.graph.rewrites.gate", "from ..model import Block", "evim_deploy.networks.efficientvim.model"),
        ("exporters.onnx.graph", "from runtimes import Array", "runtimes"),
        ("exporters.onnx.graph", "from evim_deploy import lowering", "evim_deploy.networks.efficientvim.lowering"),
        ("runtimes.litert", "if TYPE_CHECKING:\n    import exporters.tflite.graph", "exporters.tflite.graph"),
        ("runtimes.litert", "from evim_deploy.proof.outputs import check", "evim_deploy.proof.outputs"),
        ("evim_deploy.common.host", "from exporters import FORMATS", "exporters"),
        ("evim_deploy.common.host", "importlib.import_module(f'exporters.{name}')", "exporters"),
        ("evim_deploy.commands.export", "from evim_deploy.cli import console", "evim_deploy.cli"),
        ("evim_deploy.commands.verify", "from latency.plan import plan", "latency.plan"),
        ("latency.report.html", "from latency.session import Session", "latency.session"),
        ("latency.statistics", "import torch\nfrom latency.peers import Peer", "latency.peers"),
    ],
)
def test_the_check_finds_a_wrong_import(module: str, source: str, fault: str) -> None:
    assert f"{module} imports {fault}" in faults(module, ast.parse(source))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        (
            "exporters.onnx.graph",
            "import numpy\nfrom evim_deploy import __version__\nfrom evim_deploy.graph.ir import Graph",
        ),
        ("evim_deploy.graph.rewrites.gate", "from .rewrite import Rewrite"),
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
