"""Captions as every model gets them: on one line, and empty where nothing of them shows.

Gateway, encoder and stubs read captions through this module. What a model has done beyond it, its manifest says
(``encoder_svc.cleaning``).
"""

from __future__ import annotations

import html
import re

# What front ends put between words, beside spaces: Unicode's mandatory line breaks, and tabs.
BREAK = re.compile(r"\r\n|[\t\n\v\f\r\x85\u2028\u2029]")
# Unicode's Default_Ignorable_Code_Point: nothing is drawn for these, and words that differ in them look the same.
IGNORABLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
INVISIBLE = re.compile(f"[{IGNORABLE}]")
BLANK = re.compile(rf"[\s\u2800{IGNORABLE}]*")  # with Braille's empty cell, which is no space to Unicode
# Unicode's category Cc, but for tabs and breaks.
CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")


def blank(caption: str) -> bool:
    """Whether nothing of ``caption`` shows: it is empty, or has but spaces and invisible characters, also as HTML's
    entities."""
    return BLANK.fullmatch(html.unescape(caption)) is not None


def one_line(caption: str) -> str:
    """``caption`` with breaks and tabs as spaces; empty where it is blank."""
    return "" if blank(caption) else BREAK.sub(" ", caption)
