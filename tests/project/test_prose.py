"""Docstrings and messages are plain English: two habits that make them hard to read are refused."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(
    path for package in ("evim_deploy", "exporters", "runtimes", "latency") for path in (ROOT / package).rglob("*.py")
)

FRAGMENT = re.compile(r"(What|Where|Whose|Of|That|Between|As)\b")
"""Begins a docstring that is a clause without its subject."""

NEGATED_NOUN = re.compile(r" (is|are) no ")
"""'x is no resolution' instead of 'Invalid resolution x'."""


def fragments(tree: ast.Module) -> Iterator[str]:
    """The first lines of docstrings that begin with a clause; strings below assignments are docstrings, too."""
    for node in ast.walk(tree):
        for statement in getattr(node, "body", []) if not isinstance(node, ast.Lambda | ast.IfExp) else []:
            match statement:
                case ast.Expr(value=ast.Constant(value=str(text))) if FRAGMENT.match(text):
                    yield text.splitlines()[0]


def negated_nouns(tree: ast.Module) -> Iterator[str]:
    """The parts of string literals with a negated noun, except for docstrings."""
    docstrings = {
        id(statement.value)
        for node in ast.walk(tree)
        if not isinstance(node, ast.Lambda | ast.IfExp)
        for statement in getattr(node, "body", [])
        if isinstance(statement, ast.Expr)
    }
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if id(node) not in docstrings and NEGATED_NOUN.search(text):
                yield text


def faults(path: Path) -> list[str]:
    tree = ast.parse(path.read_text("utf-8"))
    return [*fragments(tree), *negated_nouns(tree)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_and_messages_are_plain(path: Path) -> None:
    assert faults(path) == []


@pytest.mark.parametrize(
    "source",
    [
        '"""What a file holds."""',
        'def f() -> None:\n    """Of an artifact."""',
        'class A:\n    """As :func:`f`."""\n    x = 1\n    """Where it is."""',
        'LIMIT = 3\n"""That a message names."""',
    ],
)
def test_a_docstring_without_a_subject_is_found(source: str) -> None:
    assert list(fragments(ast.parse(source)))


@pytest.mark.parametrize(
    "source",
    [
        'raise ValueError(f"{x!r} is no resolution")',
        'cause = f"{n} classes are no classification."\nraise BadInput(cause, "Give more.")',
        'CAUSE = "{} is no file"',
    ],
)
def test_a_message_with_a_negated_noun_is_found(source: str) -> None:
    assert list(negated_nouns(ast.parse(source)))


@pytest.mark.parametrize(
    "source",
    [
        '"""The contents of a file. What it holds is read once; it is no cache."""',
        'def f() -> None:\n    """Assemble the parts; often they are no files."""',
        'raise ValueError(f"Invalid resolution {x!r}.")',
        'LIMIT = 3\n"""The names in a message."""\nf = lambda: "a note"',
    ],
)
def test_plain_english_passes(source: str) -> None:
    tree = ast.parse(source)
    assert [*fragments(tree), *negated_nouns(tree)] == []
