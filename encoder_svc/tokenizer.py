"""From captions to the ids that CLIP's text encoder takes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from transformers import CLIPTokenizer

from encoder_svc.cleaning import cleaning_of
from unclip.checkpoints.checkpoint import Checkpoint, loading
from unclip.checkpoints.words import KnownWords


@dataclass(frozen=True, eq=False)
class Tokens:
    """Of one caption. ids: int64 ``[L]``; mask: bool ``[L]``, which of them are the caption's; the others are padding.

    count: tokens that the caption has, its start and end among them. left_out: the end of its text beyond L of them.
    unknown: words of the rest that the checkpoint was never taught, and what each may stand for: see `KnownWords`.
    decoder_ids: int64 ``[L]``, for a text encoder of the decoder's own, None where there is none.
    """

    ids: torch.Tensor
    mask: torch.Tensor
    count: int
    left_out: str
    unknown: Mapping[str, str] = field(default_factory=dict)
    decoder_ids: torch.Tensor | None = None


class Tokenizer:
    """A checkpoint's tokenizer, for captions of ``context`` tokens, L. Threads may share it: it is never set anew."""

    def __init__(self, checkpoint: Checkpoint, context: int, component: str = "tokenizer") -> None:
        """Raises CheckpointError."""
        self._clean = cleaning_of(checkpoint.cleaning)
        self._context = context
        # Without a vocabulary nobody knows what a word is to the checkpoint.
        taught = checkpoint.vocabulary
        self._taught = None if taught is None else KnownWords(taught, [checkpoint.caption_template])
        with loading(component):
            # By its own folder: given the whole one, libraries also look at files beside the components.
            self._words = CLIPTokenizer.from_pretrained(checkpoint.place(component), local_files_only=True)
        ends = {self._words.bos_token, self._words.eos_token, self._words.unk_token}
        # But the padding: that of Karlo is "!", which in its captions is read as padding is. A checkpoint that reads it
        # as the sign that it is has split_special_tokens in its tokenizer_config.json.
        special = (set(self._words.all_special_tokens) - {self._words.pad_token}) | ends
        self._special = re.compile("|".join(re.escape(token) for token in sorted(special, key=len, reverse=True)))

    def __call__(self, captions: Sequence[str]) -> list[Tokens]:
        """The tokens of each: what exceeds L of them is cut, the end token kept."""
        texts = [self._special.sub(as_text, self._clean(caption)) for caption in captions]
        # Neither cut nor padded by the tokenizer, which would have to be set anew for each.
        batch = self._words(texts, padding=False, truncation=False, return_offsets_mapping=True, verbose=False)
        return [self._of(*each) for each in zip(texts, batch.input_ids, batch.offset_mapping, strict=True)]

    def _of(self, text: str, ids: list[int], places: list[tuple[int, int]]) -> Tokens:
        kept, end = ids, len(text)
        if len(ids) > self._context:
            kept, end = [*ids[: self._context - 1], ids[-1]], places[self._context - 1][0]
        padded = torch.full((self._context,), self._words.pad_token_id)
        padded[: len(kept)] = torch.tensor(kept)
        unknown = self._taught.unknown(text[: whole_words(text, end)]) if self._taught else {}
        return Tokens(padded, torch.arange(self._context) < len(kept), len(ids), text[end:].strip(), unknown)


def as_text(special: re.Match[str]) -> str:
    """A special token's name as it is read where it is no token but text: by its words and signs."""
    return " ".join(re.findall(r"\w+|\W+", special[0]))


def whole_words(text: str, end: int) -> int:
    """Where the last word ends that is whole before ``end``."""
    while 0 < end < len(text) and not text[end].isspace() and not text[end - 1].isspace():
        end -= 1
    return end
