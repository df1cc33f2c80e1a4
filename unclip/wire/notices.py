"""What an answer tells its caller beside what was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice

from unclip.api.type.v1 import notice_pb2
from unclip.enum_names import NoticeKind
from unclip.wire.by_name import PLAIN

SHOWN = 80  # characters of a caption in a message
SHOWN_WORDS, SHOWN_LETTERS = 5, 30  # of a caption in a message, and of a word


@dataclass(frozen=True)
class Notice:
    """What a caller may want to know of an answer. Nothing failed.

    kind: None for one that is younger than this code. field: of the request, as a refusal would name it. parts: of that
    field's text, as the model read it; of "caption_cut" the one that was left out, of "words_unknown" the words, of
    others none. message: all of it in a sentence.
    """

    kind: NoticeKind | None = None
    field: str = ""
    parts: tuple[str, ...] = ()
    message: str = ""

    @classmethod
    def from_proto(cls, message: notice_pb2.Notice, name: str = "") -> Notice:
        """The notice in a message."""
        return PLAIN.read(cls, message)

    def to_proto(self) -> notice_pb2.Notice:
        """The message."""
        return PLAIN.write(self, notice_pb2.Notice())

    @property
    def size(self) -> int:
        """Bytes of its texts, about."""
        return sum(map(len, (self.field, self.message, *self.parts)))


def caption_cut(field: str, count: int, read: int, left_out: str) -> Notice:
    """The caption in ``field`` has ``count`` tokens, of which the model reads ``read``; ``left_out``: the others."""
    shown = shortened(left_out, SHOWN)
    message = f'the caption has {count} tokens and the model reads the first {read}: left out is "{shown}"'
    return Notice("caption_cut", field, (left_out,), message)


def words_unknown(field: str, words: Mapping[str, str]) -> Notice:
    """The model was never taught these ``words`` of the caption in ``field``; with each the one that may be meant."""
    shown = [
        f'"{shortened(word, SHOWN_LETTERS)}"' + (f' (is "{meant}" meant?)' if meant else "")
        for word, meant in islice(words.items(), SHOWN_WORDS)
    ]
    if len(words) > SHOWN_WORDS:
        shown.append(f"and {len(words) - SHOWN_WORDS} more")
    message = f"the model was never taught {', '.join(shown)}: what it draws for that is a guess"
    return Notice("words_unknown", field, tuple(words), message)


def profile_unusable(field: str) -> Notice:
    """The picture in ``field`` has an ICC profile that nothing can be done with."""
    message = "the picture's ICC profile is broken, or for another kind of picture: its colours are taken for sRGB's"
    return Notice("profile_unusable", field, (), message)


def shortened(text: str, most: int) -> str:
    """``text`` in at most so many characters."""
    return text if len(text) <= most else text[: most - 1] + "…"
