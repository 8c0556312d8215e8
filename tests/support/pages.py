"""Parser of the project's Markdown pages: fenced blocks, links and anchors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "ios-demo/*.md", "ios-demo/Models/*.md", "benchmarks/*.md", "training/*.md")
    for path in ROOT.glob(pattern)
)
GUIDES = sorted((ROOT / "docs").glob("*.md"))

_PARSER = MarkdownIt("commonmark").enable("table")


@dataclass(frozen=True)
class Block:
    """A fenced block: page, first line in the page, language, words after the language, and text."""

    page: str
    line: int
    language: str
    words: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(path: Path, *languages: str) -> list[Block]:
    """The fenced blocks of a page in these languages, in order."""
    found = []
    for token in _PARSER.parse(path.read_text("utf-8")):
        if token.type == "fence" and token.map:
            language, *words = token.info.split() or [""]
            page = str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name
            found.append(Block(page, token.map[0] + 1, language, tuple(words), token.content))
    return [block for block in found if block.language in languages]


def code_spans(path: Path) -> list[str]:
    """The inline code of a page."""
    return [token.content for token in _tokens(path) if token.type == "code_inline"]


def links(path: Path) -> list[str]:
    """The targets of the links and pictures of a page."""
    targets = []
    for token in _tokens(path):
        if token.type in ("link_open", "image"):
            targets.append(str(token.attrGet("href" if token.type == "link_open" else "src")))
    return targets


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub derives them."""
    found: set[str] = set()
    tokens = _PARSER.parse(path.read_text("utf-8"))
    for opening, inline in pairwise(tokens):
        if opening.type == "heading_open":
            words = "".join(child.content for child in inline.children or [])
            base = re.sub(r"[^\w\- ]", "", words.strip().lower()).replace(" ", "-")
            number = sum(
                anchor == base or re.fullmatch(f"{re.escape(base)}-\\d+", anchor) is not None for anchor in found
            )
            found.add(f"{base}-{number}" if number else base)
    return found


def _tokens(path: Path) -> Iterator[Token]:
    for token in _PARSER.parse(path.read_text("utf-8")):
        yield token
        yield from token.children or []
