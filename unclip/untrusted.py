"""JSON that strangers wrote."""

from __future__ import annotations

import json
from typing import Any

MAX_DEPTH = 64  # of objects and arrays within each other; ours are 4 deep


def read_json(text: str | bytes) -> Any:
    """The value that ``text`` is.

    Raises:
        ValueError: it is no JSON, no UTF-8, or nested deeper than anything of ours, which would end Python's stack in
            whatever looks at it.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [item for each in level if isinstance(each, dict | list) for item in _inside(each)]
        if not level:
            return value
    raise ValueError(f"it is nested more than {MAX_DEPTH} deep")


def _inside(value: dict[str, Any] | list[Any]) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value
