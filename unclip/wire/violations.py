"""Collects every rule a request breaks, so that a caller learns of all of them at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from unclip.errors import FieldViolation, InvalidRequest
from unclip.wire.captions import CONTROL, blank, one_line
from unclip.wire.limits import MAX_CAPTION_BYTES

Value = TypeVar("Value")


class Violations:
    """The broken rules of one request."""

    def __init__(self) -> None:
        self._found: list[FieldViolation] = []

    def add(self, field: str, description: str) -> None:
        """``field`` breaks a rule; ``description`` names limit and value."""
        self._found.append(FieldViolation(field, description))

    def include(self, error: InvalidRequest) -> None:
        """Takes over the violations of an error."""
        self._found.extend(error.violations)

    def take(self, read: Callable[[], Value]) -> Value | None:
        """What ``read`` gives; None where it raises InvalidRequest, which is noted."""
        try:
            return read()
        except InvalidRequest as error:
            self.include(error)
            return None

    def raise_if_any(self) -> None:
        """Raises InvalidRequest with everything found so far."""
        if self._found:
            raise InvalidRequest(self._found)

    def number(self, field: str, value: float, low: float, high: float) -> None:
        """``value`` must lie in [low, high]; NaN does not."""
        if not low <= value <= high:
            self.add(field, f"must be {low:g} to {high:g}; got {value:g}")

    def count(self, field: str, count: int, low: int, high: int) -> None:
        """A list must hold low to high values."""
        if not low <= count <= high:
            self.add(field, f"must hold {low} to {high} values; got {count}")

    def caption(self, field: str, caption: str, *, allow_empty: bool = False) -> str:
        """``caption`` on one line, empty where it is blank: at most 4 KiB of UTF-8 without control characters."""
        size = len(caption.encode("utf-8", "replace"))
        if blank(caption) and not allow_empty:
            found = f"; got nothing but blanks, {len(caption)} of them" if caption else ""
            self.add(field, f"must not be empty{found}")
        if size > MAX_CAPTION_BYTES:
            self.add(field, f"must be at most {MAX_CAPTION_BYTES} bytes of UTF-8; got {size}")
        if control := CONTROL.search(caption):
            found = f"U+{ord(control[0]):04X} at position {control.start()}"
            self.add(field, f"must not contain control characters; got {found}")
        return one_line(caption)
