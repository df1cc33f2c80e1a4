"""Files and JSON that strangers wrote."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

MAX_DEPTH = 64  # of objects and arrays within each other; ours are 4 deep
MAX_BYTES = 16 * 1024 * 1024  # of a file of JSON; ours have some kilobytes


def read_small_file(path: Path) -> bytes:
    """What is in a file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is a device, a pipe or a folder, which might never end, or larger than `MAX_BYTES`.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("it is no regular file")
    return read_bounded(path)


def read_bounded(path: Path) -> bytes:
    """What is in a file, which may be a pipe or a device.

    Raises:
        OSError: it cannot be read.
        ValueError: it is larger than `MAX_BYTES`.
    """
    with path.open("rb") as handle:
        data = handle.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES} bytes")
    return data


def read_json(text: str | bytes) -> Any:
    """The value that ``text`` is.

    Raises:
        ValueError: it is no JSON, which has neither NaN nor Infinity, no UTF-8, or nested deeper than anything of ours,
            which would overflow the call stack of whatever looks at it.
    """
    try:
        value = json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [item for each in level if isinstance(each, dict | list) for item in _inside(each)]
        if not level:
            return value
    raise ValueError(f"it is nested more than {MAX_DEPTH} deep")


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _inside(value: dict[str, Any] | list[Any]) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value
