"""Scanner of the string literals in Swift sources and of the calls around them.

Only the Swift compiler on macOS extracts localisable strings. This scanner supports comments, both kinds of literals,
interpolations, and the innermost call around a literal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\", "'": "'"}


@dataclass(frozen=True)
class Literal:
    """A string literal.

    Attributes:
        path: The file.
        line: The line number, from 1.
        key: The text, with ``%@`` for each interpolation: the key of a string catalogue if it is localised.
        call: The name of the innermost call that has the literal as an argument; empty outside of calls.
        label: The argument's label; empty for an argument without a label.
    """

    path: Path
    line: int
    key: str
    call: str
    label: str


def literals(path: Path) -> list[Literal]:
    """The literals of a Swift file, including literals inside interpolations."""
    source = path.read_text("utf-8")
    found: list[tuple[int, str]] = []
    masked = _mask(source, 0, len(source), found)
    return [
        Literal(path, source.count("\n", 0, start) + 1, key, *_place(masked, start)) for start, key in sorted(found)
    ]


def _mask(source: str, start: int, end: int, found: list[tuple[int, str]]) -> str:
    """Blank comments and literals of the code between two indices; add the literals to ``found``."""
    code: list[str] = []
    place = start
    while place < end:
        comment = _COMMENT.match(source, place, end)
        if comment:
            code.append(" " * len(comment[0]))
            place = comment.end()
        elif source[place] == '"':
            after, key = _literal(source, place, found)
            found.append((place, key))
            code.append(" " * (after - place))
            place = after
        else:
            code.append(source[place])
            place += 1
    return "".join(code)


def _literal(source: str, start: int, found: list[tuple[int, str]]) -> tuple[int, str]:
    """The index after the literal at ``start``, and its key."""
    quotes = '"""' if source.startswith('"""', start) else '"'
    place = start + len(quotes)
    pieces: list[str] = []
    while not source.startswith(quotes, place):
        if source[place] != "\\":
            pieces.append(source[place])
            place += 1
        elif source[place + 1] == "(":
            close = _closing(source, place + 1, found)
            pieces.append("%@")
            place = close + 1
        elif source[place + 1] == "\n":  # an escaped line break in a multi-line literal
            place += 2
            pieces.append("\0")
        else:
            pieces.append(_ESCAPES[source[place + 1]])
            place += 2
    return place + len(quotes), _unindented("".join(pieces)) if quotes == '"""' else "".join(pieces)


def _unindented(text: str) -> str:
    """Remove the indentation of the closing quotes from each line of a multi-line literal."""
    *lines, last = text.removeprefix("\n").replace("\0", "\0\n").split("\n")
    return "\n".join(line.removeprefix(last) for line in lines).replace("\0\n", "")


def _closing(source: str, start: int, found: list[tuple[int, str]]) -> int:
    """The index of the parenthesis that closes the one at ``start``."""
    depth, place = 0, start
    while True:
        if source[place] == '"':
            after, key = _literal(source, place, found)
            found.append((place, key))
            place = after
            continue
        depth += {"(": 1, ")": -1}.get(source[place], 0)
        if depth == 0:
            return place
        place += 1


def _place(code: str, start: int) -> tuple[str, str]:
    """The call that has the literal as an argument, and the label of the argument."""
    label = re.search(r"(\w+)\s*:\s*$", code[:start])
    depth = 0
    for place in range(start - 1, -1, -1):
        depth += {")": 1, "]": 1, "}": 1, "(": -1, "[": -1, "{": -1}.get(code[place], 0)
        if depth < 0:
            name = re.search(r"[\w.]*$", code[:place])
            call = name[0].rsplit(".", 1) if code[place] == "(" and name else [""]
            return call[-1], label[1] if label else ""
    return "", label[1] if label else ""


def all_literals(folder: Path) -> Iterator[Literal]:
    """The literals of all Swift files in a folder."""
    for path in sorted(folder.rglob("*.swift")):
        yield from literals(path)
