"""Formatting of numbers, sizes and sentences in reports: three significant digits, and a dash for unknown values."""

from __future__ import annotations

import math
from collections.abc import Iterable

from latency.statistics import Interval

UNKNOWN = "\N{EN DASH}"


def number(value: float | None) -> str:
    """Three significant digits without an exponent: ``0.122``, ``35.1``, ``20,700``."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    rounded = float(f"{value:.3g}")
    if rounded == 0:
        return "0"
    return f"{rounded:,.{max(0, 2 - math.floor(math.log10(abs(rounded))))}f}"


def duration(milliseconds: float) -> str:
    """Milliseconds with their unit, as seconds from one second on: ``35.1 ms``, ``1.24 s``."""
    return f"{number(milliseconds / 1e3)} s" if milliseconds >= 1e3 else f"{number(milliseconds)} ms"


def interval(ratio: Interval) -> str:
    """A ratio with its interval: ``0.880 [0.861, 0.902]``."""
    return f"{number(ratio.estimate)} [{number(ratio.low)}, {number(ratio.high)}]"


def percent(share: float | None) -> str:
    """A share of 1 in percent."""
    return UNKNOWN if share is None or not math.isfinite(share) else f"{100 * share:.1f} %"


def size(height: int, width: int) -> str:
    """Height by width, pixels."""
    return f"{height}\N{MULTIPLICATION SIGN}{width}"


def memory(count: int) -> str:
    """Bytes in binary units."""
    return f"{number(count / 2**30)} GiB" if count >= 2**30 else f"{number(count / 2**20)} MiB"


def listed(parts: Iterable[str]) -> str:
    """A list in words: ``a, b and c``."""
    words = list(parts)
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def sentence(text: str) -> str:
    """A sentence with a capital at its beginning and a full stop at its end."""
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '!', '?')) else '.'}"
