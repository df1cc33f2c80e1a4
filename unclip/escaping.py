"""Text of strangers on lines of ours."""

from __future__ import annotations

import re

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")  # of terminals, lines, directions


def escaped(text: str) -> str:
    """``text`` with its control characters written as in JSON, so that it is one line wherever it is shown."""
    return CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
