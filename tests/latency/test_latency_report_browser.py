"""The HTML report in a real browser: light, dark, on a phone, printed, and without errors."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from latency_files import absent, make_results, mixers, sweep, table_e
from PIL import Image

from latency.report.writing import render

CHROMIUM = shutil.which("chromium")
PHONE, DESKTOP = 390, 1280

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="not run on this host: no chromium; apt-get install chromium")

MEASURE = """
<script>
addEventListener("load", () => {
  const measured = [...document.querySelectorAll("iframe")].map((frame) => {
    const page = frame.contentDocument, root = page.documentElement;
    const boxes = [...page.querySelectorAll(".scroll")];
    return {
      width: frame.clientWidth,
      scrolls: root.scrollWidth > root.clientWidth,
      inside: boxes.filter((box) => box.scrollWidth > box.clientWidth).length,
      sticky: getComputedStyle(page.querySelector("tbody th")).position,
      font: parseFloat(getComputedStyle(page.body).fontSize),
      drawn: [...page.querySelectorAll(".plot svg")].map((svg) => svg.getBoundingClientRect().height),
      paints: getComputedStyle(page.querySelector(".plot svg text")).fill,
    };
  });
  document.body.dataset.measured = JSON.stringify(measured);
});
</script>
"""
"""Part of the test page, not of the report."""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = make_results(
        [*table_e(), *sweep(), *mixers(), *absent()], complete=False, incomplete_because="the budget of 600 s ended"
    )
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render([results], ".html"), "utf-8")
    return path


def browse(path: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Open a file in the browser without a network."""
    assert CHROMIUM
    line = [
        *(CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"),
        *("--disable-dev-shm-usage", "--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND"),
        *("--enable-logging=stderr", f"--user-data-dir={path.parent / 'profile'}", *flags, path.as_uri()),
    ]
    result = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    return result


def screenshot(path: Path, name: str, *flags: str) -> Image.Image:
    picture = path.with_name(f"{name}.png")
    browse(path, f"--window-size={DESKTOP},1600", f"--screenshot={picture}", *flags)
    with Image.open(picture) as image:
        return image.convert("RGB")


@pytest.fixture(scope="module")
def measured(page: Path) -> list[dict[str, Any]]:
    """The widths of a phone and of a desktop, in frames of a test page."""
    frames = "".join(f'<iframe src="report.html" width="{width}" height="800"></iframe>' for width in (PHONE, DESKTOP))
    around = page.with_name("around.html")
    around.write_text(f"<!doctype html><style>iframe {{ border: 0 }}</style><body>{frames}{MEASURE}</body>", "utf-8")
    dom = browse(around, "--allow-file-access-from-files", "--dump-dom").stdout
    found = re.search(r'data-measured="([^"]+)"', dom)
    assert found, dom[-500:]
    values: list[dict[str, Any]] = json.loads(unescape(found[1]))
    return values


def test_nothing_scrolls_sideways_but_tables_in_their_boxes(measured: list[dict[str, Any]]) -> None:
    phone, desktop = measured
    assert (phone["width"], desktop["width"]) == (PHONE, DESKTOP)
    assert not phone["scrolls"]
    assert not desktop["scrolls"]
    assert phone["inside"] > 3
    assert phone["sticky"] == "sticky"


def test_it_is_readable_and_drawn(measured: list[dict[str, Any]]) -> None:
    for each in measured:
        assert each["font"] >= 16
        assert len(each["drawn"]) >= 4
        assert min(each["drawn"]) > 50
        assert re.fullmatch(r"rgb\(\d+, \d+, \d+\)", each["paints"])


def test_the_browser_has_no_complaint(page: Path) -> None:
    result = browse(page, "--dump-dom")
    assert "CONSOLE" not in result.stderr
    assert result.stdout.count("<svg") == page.read_text("utf-8").count("<svg")


def test_a_complaint_would_be_heard(page: Path) -> None:
    bad = page.with_name("bad.html")
    bad.write_text(page.read_text("utf-8").replace("</body>", '<img src="https://example.org/x.png"></body>'), "utf-8")
    assert "CONSOLE" in browse(bad, "--dump-dom").stderr


@pytest.mark.parametrize(("name", "scheme", "is_dark"), [("light", 1, False), ("dark", 0, True)])
def test_it_follows_the_reader_s_theme(page: Path, name: str, scheme: int, is_dark: bool) -> None:
    image = screenshot(page, name, f"--blink-settings=preferredColorScheme={scheme}")
    assert image.size == (DESKTOP, 1600)
    background = sum(image.getpixel((3, 3))) / 3  # type: ignore[arg-type]
    assert background < 40 if is_dark else background > 240
    grey = image.convert("L")
    darkest, lightest = grey.getextrema()
    assert (lightest > 200) if is_dark else (darkest < 60)  # type: ignore[operator]
    assert len(image.getcolors(1 << 24) or ()) > 100


def test_it_prints(page: Path) -> None:
    pdf = page.with_name("report.pdf")
    browse(page, f"--print-to-pdf={pdf}", "--no-pdf-header-footer", "--blink-settings=preferredColorScheme=0")
    content = pdf.read_bytes()
    assert content.startswith(b"%PDF")
    assert len(content) > 20_000
    pages = len(re.findall(rb"/Type\s*/Page\b(?!s)", content))
    assert 3 <= pages <= 20
