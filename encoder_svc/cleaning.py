"""What is made of a caption before a checkpoint's tokenizer reads it: its manifest names one of these, or none.

The name is a version as well: what it does to any caption must never change, since checkpoints were taught with it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from functools import partial

import ftfy
from ftfy import fixes

from unclip.errors import CheckpointError
from unclip.wire.captions import INVISIBLE

Cleaning = Callable[[str], str]

# What ``ftfy.fix_text`` does, in its order, until nothing changes. CLIP's own tokenizer has ftfy's defaults and then
# unescapes what is still HTML; here ftfy does, beside a "<" too.
REPAIRS: tuple[Cleaning, ...] = (
    fixes.unescape_html,
    ftfy.fix_encoding,
    fixes.fix_c1_controls,
    fixes.fix_latin_ligatures,
    fixes.fix_character_width,
    fixes.uncurl_quotes,
    fixes.fix_line_breaks,
    fixes.fix_surrogates,
    fixes.remove_terminal_escapes,
    fixes.remove_control_chars,
    partial(unicodedata.normalize, "NFC"),
)
# Each undoes one level of "&amp;amp;amp;…", of which a caption may have a thousand: 64 of those took ftfy four seconds.
MAX_ROUNDS = 32


def plain(caption: str) -> str:
    """As it is: the tokenizer's own behaviour, which is what Karlo was taught with."""
    return caption


def ftfy_1(caption: str) -> str:
    """As ftfy 6.3 repairs text: HTML entities, typographic quotes, ligatures, full-width letters, text that was decoded
    as another encoding; then without characters that do not show, in NFC, and with one
    space wherever there are any."""
    fixed = INVISIBLE.sub("", repaired(caption))
    return " ".join(unicodedata.normalize("NFC", fixed).split())


def repaired(text: str) -> str:
    """As ``ftfy.fix_text`` repairs one line; what more than `MAX_ROUNDS` rounds would still change stays as it is."""
    for _ in range(MAX_ROUNDS):
        before = text
        for repair in REPAIRS:
            text = repair(text)
        if text == before:
            break
    return text


CLEANINGS: Mapping[str, Cleaning] = {"": plain, "ftfy-1": ftfy_1}


def cleaning_of(name: str) -> Cleaning:
    """The cleaning that a manifest names. Raises CheckpointError for one that is not known here."""
    if name not in CLEANINGS:
        known = ", ".join(filter(None, CLEANINGS))
        raise CheckpointError(f"checkpoint: cleaning must be one of {known}, or unset; got {name!r:.100}")
    return CLEANINGS[name]
