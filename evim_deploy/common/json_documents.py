"""JSON: read from files that anybody may have made, and written so that every reader takes it."""

from __future__ import annotations

import json
import math
from itertools import accumulate
from typing import Any

_STEPS = {"[": 1, "{": 1, "]": -1, "}": -1}
_RECORD_DEPTH = 2
_DEEPEST = 200  # Python's own limit may stand so high that the C stack ends before it


def parse_json(content: str | bytes) -> Any:
    """A document of no absurd depth.

    Raises:
        ValueError: It is no JSON, or nested too deep.
    """
    text = content.decode() if isinstance(content, bytes) else content
    if max(accumulate(_STEPS.get(character, 0) for character in text), default=0) > _DEEPEST:
        raise ValueError("nested too deep")
    return json.loads(text)


def dump_json(document: Any) -> str:
    """The text of a document: a value a line, but a line for each record and for each list of numbers.

    A record is an object or a list with no container inside, or an element of a list with flat containers inside. The
    samples of a round then take one line, and a changed round shows as one changed line.

    Raises:
        ValueError: A number is not finite.
    """
    return _lines(document, "", 1) + "\n"


def _lines(value: Any, indent: str, flat_depth: int) -> str:
    """The text of a value that stands at an indent; a container of up to ``flat_depth`` levels is one line."""
    if _depth(value) <= flat_depth:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    inner = indent + " "
    if isinstance(value, dict):
        items = [f"{json.dumps(key, ensure_ascii=False)}: {_lines(each, inner, 1)}" for key, each in value.items()]
        return "{\n" + ",\n".join(inner + item for item in items) + f"\n{indent}}}"
    items = [_lines(each, inner, _RECORD_DEPTH) for each in value]
    return "[\n" + ",\n".join(inner + item for item in items) + f"\n{indent}]"


def _depth(value: Any) -> int:
    """Levels of containers; 0 for a number or a text."""
    if not isinstance(value, dict | list | tuple):
        return 0
    return 1 + max(map(_depth, value.values() if isinstance(value, dict) else value), default=0)


def finite(value: Any) -> Any:
    """A value of dictionaries, lists and tuples with null for every number that is not finite, which JSON lacks."""
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
