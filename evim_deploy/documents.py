"""JSON from files that anybody may have made."""

from __future__ import annotations

import json
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
