"""JSON: read from files that anybody may have made, and written so that every reader takes it."""

from __future__ import annotations

import json
import math
from itertools import accumulate
from typing import Any

_STEPS = {"[": 1, "{": 1, "]": -1, "}": -1}
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


def finite(value: Any) -> Any:
    """A value of dictionaries, lists and tuples with null for every number that is not finite, which JSON lacks."""
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
