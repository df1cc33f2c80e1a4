"""What is made of a caption before a checkpoint's tokenizer reads it: its manifest names one of these, or none.

The name is a version as well: what it does to any caption must never change, since checkpoints were taught with it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping

import ftfy

from unclip.errors import CheckpointError
from unclip.wire.captions import INVISIBLE

Cleaning = Callable[[str], str]

# CLIP's own tokenizer has ftfy's defaults and then unescapes what is still HTML; here ftfy does, beside a "<" too.
CONFIG = ftfy.TextFixerConfig(unescape_html=True, normalization="NFC")


def plain(caption: str) -> str:
    """As it is: the tokenizer's own behaviour, which is what Karlo was taught with."""
    return caption


def ftfy_1(caption: str) -> str:
    """As ftfy 6.3 repairs text: HTML entities, typographic quotes, ligatures, full-width letters, text that was decoded
    as another encoding; then without characters that do not show, in NFC, and with one
    space wherever there are any."""
    fixed = INVISIBLE.sub("", ftfy.fix_text(caption, CONFIG))
    return " ".join(unicodedata.normalize("NFC", fixed).split())


CLEANINGS: Mapping[str, Cleaning] = {"": plain, "ftfy-1": ftfy_1}


def cleaning_of(name: str) -> Cleaning:
    """The cleaning that a manifest names. Raises CheckpointError for one that is not known here."""
    if name not in CLEANINGS:
        known = ", ".join(filter(None, CLEANINGS))
        raise CheckpointError(f"checkpoint: cleaning must be one of {known}, or unset; got {name!r:.100}")
    return CLEANINGS[name]
