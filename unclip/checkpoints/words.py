"""Which words of a caption a checkpoint was never taught, and which of its own may be meant.

Plain rules for English: capitals, plurals and possessives make no other word of one, and words that carry no picture
are everybody's. Looking a word up takes some microseconds, whatever the word and however large the vocabulary.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

from unclip.checkpoints.vocabulary import Vocabulary

# Articles, prepositions, conjunctions, pronouns, auxiliary verbs, and what asks for a picture.
CARRY_NO_PICTURE = """
a an the this that these those some any each every all both either neither no not nor and or but so as than then if
of in on at by for from to into onto with without within out up down off over under above below beneath beside besides
between behind near next along across around against through before after inside outside upon toward towards like about
i me my mine you your yours he him his she her hers it its we us our ours they them their theirs who whom whose
which what where when why how there here one ones
is are was were am be been being do does did has have had having can could will would shall should may might must
very too also just only please show shows shown showing make makes made draw draws drawn give want
"""
EVERYBODYS = frozenset(CARRY_NO_PICTURE.split())
BETWEEN = re.compile(r"[\s!-&(-/:-@[-`{-~“”«»„…–—]+")  # spaces and signs; an apostrophe may be within a word
IRREGULAR = {
    "children": "child",
    "feet": "foot",
    "geese": "goose",
    "men": "man",
    "mice": "mouse",
    "oxen": "ox",
    "people": "person",
    "teeth": "tooth",
    "women": "woman",
}
ENDINGS = {"ies": ("y", "ie"), "ves": ("f", "fe", "ve"), "es": ("", "e"), "s": ("",)}  # of plurals, and of one thing
MISSPELT = range(4, 31)  # letters of a word that may be another one with a slip: shorter ones are like too many


class KnownWords:
    """The words of a vocabulary, and of ``also``, texts that stand around captions."""

    def __init__(self, vocabulary: Vocabulary, also: Iterable[str] = ()) -> None:
        names = {word for text in vocabulary.names() for word in words_of(text)}
        others = {word for text in (*vocabulary.words, *also) for word in words_of(text)}
        self._known = {form for word in names | others | EVERYBODYS for form in forms(word)}
        self._slips: dict[str, str] = {}  # a word, and what is left of it without one of its letters: the word
        meant = sorted((word for word in names if len(word) in MISSPELT), reverse=True)
        for word in meant:
            self._slips |= dict.fromkeys(without_one(word), word)
        self._slips |= zip(meant, meant, strict=True)

    def unknown(self, caption: str) -> dict[str, str]:
        """The words of ``caption`` that were never taught, each once, as it was written first, and in their order; with
        each a word of the vocabulary that may be meant, else ""."""
        found: dict[str, str] = {}
        seen = set[str]()
        for written in pieces(caption):
            word = plain(written)
            if word not in seen and self._known.isdisjoint(forms(word)):
                found[written] = self._meant(word)
            seen.add(word)
        return found

    def _meant(self, word: str) -> str:
        """A word that differs by one letter more, less, or another, or by two that changed places; not by its first."""
        if len(word) not in MISSPELT:
            return ""
        return next((self._slips[rest] for rest in (word, *without_one(word)) if rest in self._slips), "")


def has_word(text: str, word: str) -> bool:
    """Whether a text has a word, in whatever number, or begins one of its words with it."""
    wanted = forms(plain(word))
    return any(found.startswith(plain(word)) or not wanted.isdisjoint(forms(found)) for found in words_of(text))


def words_of(text: str) -> Iterator[str]:
    """The words of a text, in small letters and without "'s"."""
    return map(plain, pieces(text))


def pieces(text: str) -> Iterator[str]:
    """The words of a text as they are written, emoji among them. Signs are none."""
    for piece in BETWEEN.split(text):
        stripped = piece.strip("'’‘。、！？")
        if any(char.isalnum() or unicodedata.category(char) == "So" for char in stripped):
            yield stripped


def plain(word: str) -> str:
    """As words are compared."""
    return re.sub(r"['’](s|S)$", "", word).casefold().replace("’", "'")


def forms(word: str) -> set[str]:
    """A word, and what it may be the plural of."""
    found = {word, IRREGULAR.get(word, word)}
    if word.endswith("men"):
        found.add(f"{word[:-3]}man")
    for ending, singulars in ENDINGS.items():
        if word.endswith(ending) and not word.endswith("ss"):
            one = {word[: -len(ending)] + singular for singular in singulars}
            found |= {each for each in one if len(each) > (1 if ending == "s" else 2)}
    return found


def without_one(word: str) -> Iterator[str]:
    """A word without each of its letters in turn, but the first."""
    return (word[:index] + word[index + 1 :] for index in range(1, len(word)))
