"""Links in the project's pages lead somewhere.

Files and anchors of this project are looked up. What is elsewhere is looked at for its form alone: the tests have no
network, so a page that has moved is not found here.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from pages import PAGES, ROOT, anchors, links


def faults(path: Path) -> list[str]:
    """The links of a page that lead nowhere, and why."""
    found = []
    for link in links(path):
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            if parts.scheme != "https" or "." not in parts.netloc or " " in unquote(link):
                found.append(f"{link}: not an https address")
            continue
        target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        if not target.exists():
            found.append(f"{link}: no such file")
        elif parts.fragment and (target.suffix != ".md" or parts.fragment not in anchors(target)):
            found.append(f"{link}: no such heading")
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert faults(page) == []


@pytest.mark.parametrize(
    ("link", "fault"),
    [
        ("other.md", "no such file"),
        ("pictures/none.svg", "no such file"),
        ("#nowhere", "no such heading"),
        ("page.md#nowhere", "no such heading"),
        ("http://example.org", "not an https address"),
        ("https://example.org/a%20b", "not an https address"),
        ("https://", "not an https address"),
    ],
)
def test_a_link_that_leads_nowhere_is_found(tmp_path: Path, link: str, fault: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# A page\n\n| a |\n|---|\n| [b]({link}) |\n", "utf-8")
    assert faults(page) == [f"{link}: {fault}"]


def test_links_that_lead_somewhere_pass(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    headings = "# A `page`, *twice*!\n\n## Twice\n\n## Twice\n\n"
    page.write_text(
        f"{headings}[a](#a-page-twice) [b](#twice) [c](page.md#twice-1) [d](https://example.org/a#b)\n", "utf-8"
    )
    assert faults(page) == []


def test_every_page_is_reached_from_the_first() -> None:
    """From README.md, by links alone."""
    reached, ahead = set(), [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page not in reached:
            reached.add(page)
            targets = (page.parent / unquote(urlsplit(link).path) for link in links(page) if not urlsplit(link).scheme)
            ahead += [target.resolve() for target in targets if target.suffix == ".md"]
    assert {page for page in PAGES if page.is_relative_to(ROOT / "docs")} <= reached
