"""Reads the fields of a request, JSON's or a form's, every broken rule at once; null, or an empty field, is none."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from unclip.web.errors import HttpError
from unclip.wire.violations import Violations

NUMBER = re.compile(r"[+-]?(?:\d{1,40}(?:\.\d{0,40})?|\.\d{1,40})(?:[eE][+-]?\d{1,3})?", re.ASCII)
WHOLE = re.compile(r"[+-]?\d{1,20}", re.ASCII)
INT64 = 2**63
LARGEST = 1_000_000  # of what is no whole number; the gateway's own limits are far within
NAME = re.compile(r"[A-Za-z0-9_.\[\]-]{1,64}")


class Fields:
    """The fields of one request. typed: whether numbers come as such; in a form they are texts."""

    def __init__(self, values: Mapping[str, Any], typed: bool) -> None:
        self._left = {name: value for name, value in values.items() if value is not None and (typed or value != "")}
        self._typed, self._broken = typed, Violations()

    def refuse(self, name: str, description: str) -> None:
        """``name`` breaks a rule."""
        self._broken.add(name, description)

    def text(self, name: str) -> str | None:
        """A text."""
        value = self._left.pop(name, None)
        if value is not None and not isinstance(value, str):
            self.refuse(name, f"must be a string; got {kind_of(value)}")
            return None
        return value

    def choice(self, name: str, *allowed: str) -> str | None:
        """One of ``allowed``."""
        value = self.text(name)
        if value is not None and value not in allowed:
            self.refuse(name, f"must be one of {', '.join(allowed)}; got {shown(value)}")
            return None
        return value

    def whole(self, name: str, low: int = -INT64, high: int = INT64 - 1) -> int | None:
        """A whole number of ``low`` to ``high``."""
        value = self._left.pop(name, None)
        if isinstance(value, str) and not self._typed and WHOLE.fullmatch(value):
            value = int(value)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            self.refuse(name, f"must be an integer; got {kind_of(value)}")
        elif not low <= value <= high:
            limits = f"{low} to {high}" if low < high else f"{low}"
            self.refuse(name, f"must be {limits}; got {shown(str(value))}")
        else:
            return value
        return None

    def number(self, name: str) -> float | None:
        """A number."""
        value = self._left.pop(name, None)
        if isinstance(value, str) and not self._typed and NUMBER.fullmatch(value):
            value = float(value)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.refuse(name, f"must be a number; got {kind_of(value)}")
        elif abs(value) > LARGEST:
            self.refuse(name, f"must be -{LARGEST} to {LARGEST}; got {shown(str(value))}")
        else:
            return float(value)
        return None

    def flag(self, name: str) -> bool:
        """True or false, the default."""
        value = self._left.pop(name, None)
        if isinstance(value, str) and not self._typed and value in ("true", "false"):
            return value == "true"
        if value is not None and not isinstance(value, bool):
            self.refuse(name, f"must be a boolean; got {kind_of(value)}")
        return value is True

    def done(self) -> None:
        """Raises InvalidRequest with every broken rule, or HttpError for a field that nobody knows."""
        self._broken.raise_if_any()
        if self._left:
            name = next(iter(self._left))
            known = name if NAME.fullmatch(name) else "one of them"
            raise HttpError(400, "unknown_parameter", f"Unknown parameter: '{known}'.", param=known)


def required(name: str) -> HttpError:
    """The error for a field that must be there."""
    return HttpError(400, "missing_required_parameter", f"Missing required parameter: '{name}'.", param=name)


def kind_of(value: object) -> str:
    """What ``value`` is, as JSON calls it, and no more of it than fits a line."""
    match value:
        case bool():
            return "a boolean"
        case str():
            return f"the string {shown(value)}"
        case int() | float():
            return f"the number {shown(str(value))}"
        case list():
            return "an array"
    return "an object"


def shown(value: str) -> str:
    """A caller's own text, short and of printable ASCII."""
    return ascii(value[:40])
