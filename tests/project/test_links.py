"""Links in the project's pages are valid.

Links to files and headings of this project must exist. External links are only checked for their form, because the
tests run without a network: a moved page is not detected.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from pages import PAGES, ROOT, anchors, links


def faults(path: Path) -> list[str]:
    """The invalid links of a page, each with the reason."""
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
def test_links_are_valid(page: Path) -> None:
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
def test_invalid_link_is_detected(tmp_path: Path, link: str, fault: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# A page\n\n| a |\n|---|\n| [b]({link}) |\n", "utf-8")
    assert faults(page) == [f"{link}: {fault}"]


def test_valid_links_pass(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    headings = "# A `page`, *twice*!\n\n## Twice\n\n## Twice\n\n"
    page.write_text(
        f"{headings}[a](#a-page-twice) [b](#twice) [c](page.md#twice-1) [d](https://example.org/a#b)\n", "utf-8"
    )
    assert faults(page) == []


def test_every_page_is_linked_from_the_readme() -> None:
    """Links from README.md lead to every page in docs/, directly or through other pages."""
    reached, ahead = set(), [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page not in reached:
            reached.add(page)
            targets = (page.parent / unquote(urlsplit(link).path) for link in links(page) if not urlsplit(link).scheme)
            ahead += [target.resolve() for target in targets if target.suffix == ".md"]
    assert {page for page in PAGES if page.is_relative_to(ROOT / "docs")} <= reached
