"""JSON: read from files that are not trusted, and written without values that JSON lacks."""

from __future__ import annotations

import json
import math
from itertools import accumulate
from typing import Any

_STEPS = {"[": 1, "{": 1, "]": -1, "}": -1}
_RECORD_DEPTH = 2
_MAX_DEPTH = 200  # Python's own limit may be so high that the C stack overflows first


def parse_json(content: str | bytes) -> Any:
    """Parse a document of limited depth.

    Raises:
        ValueError: The content is not JSON, or is nested too deep.
    """
    text = content.decode() if isinstance(content, bytes) else content
    if max(accumulate(_STEPS.get(character, 0) for character in text), default=0) > _MAX_DEPTH:
        raise ValueError("nested too deep")
    return json.loads(text)


def dump_json(document: object) -> str:
    """The text of a document: one value a line, and one line for each record and each list of numbers.

    A record is an object or a list without containers inside, or an element of a list with flat containers inside. The
    samples of a round then take one line, and a changed round shows as one changed line.

    Raises:
        ValueError: A number is not finite.
    """
    return _lines(document, "", 1) + "\n"


def _lines(value: Any, indent: str, flat_depth: int) -> str:
    """The text of a value at an indent; a container of up to ``flat_depth`` levels takes one line."""
    if _depth(value) <= flat_depth:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    inner = indent + " "
    if isinstance(value, dict):
        items = [f"{json.dumps(key, ensure_ascii=False)}: {_lines(each, inner, 1)}" for key, each in value.items()]
        return "{\n" + ",\n".join(inner + item for item in items) + f"\n{indent}}}"
    items = [_lines(each, inner, _RECORD_DEPTH) for each in value]
    return "[\n" + ",\n".join(inner + item for item in items) + f"\n{indent}]"


def _depth(value: object) -> int:
    """Levels of containers; 0 for a number or a text."""
    if not isinstance(value, dict | list | tuple):
        return 0
    return 1 + max(map(_depth, value.values() if isinstance(value, dict) else value), default=0)


def finite(value: Any) -> Any:
    """A copy with None for every number that is not finite, which JSON lacks, in dictionaries, lists and tuples."""
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
