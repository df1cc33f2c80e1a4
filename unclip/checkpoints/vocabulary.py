"""What a checkpoint was taught to draw, as its unclip.json tells it: made by ``training``, read here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from unclip.errors import CheckpointError

# Of what strangers write; a thousand concepts have about 4,000 texts, 40 KB together.
MAX_TEXT = 100  # characters of a text
MAX_TEXTS, MAX_BYTES = 20_000, 256 * 1024  # of all fields together, in UTF-8
MAX_CAPTIONS = 64  # they are part of every answer about the model

Value = TypeVar("Value")


@dataclass(frozen=True)
class Vocabulary:
    """What can be asked for. Every text is as a caption has it, such as "red apple"; all may be empty.

    concepts: what there are pictures of. synonyms: another name of a concept, and the concept. styles: in which it was
    drawn. colours: in which things were shown that have another one by themselves. backgrounds: before which. counts:
    in how many, in words. words: others that captions had. captions: examples, the best to begin with first.
    """

    concepts: tuple[str, ...] = ()
    synonyms: Mapping[str, str] = field(default_factory=dict)
    styles: tuple[str, ...] = ()
    colours: tuple[str, ...] = ()
    backgrounds: tuple[str, ...] = ()
    counts: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    captions: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, value: Any) -> Vocabulary:
        """What unclip.json has under "vocabulary"; what is not known here is left.

        Raises:
            CheckpointError: it is anything else, or too much.
        """
        given = checked(value, dict, "")
        found = {one.name: given[one.name] for one in dataclasses.fields(cls) if one.name in given}
        for name, texts in found.items():
            for text in checked(texts, dict if name == "synonyms" else list, f".{name}"):
                checked_text(text, name)
        at_most("", MAX_TEXTS, "texts", sum(map(len, found.values())))
        at_most("", MAX_BYTES, "bytes", sum(len(text.encode()) for texts in found.values() for text in texts))
        at_most(".captions", MAX_CAPTIONS, "texts", len(found.get("captions", ())))
        concepts = set(found.get("concepts", ()))
        for name, concept in found.get("synonyms", {}).items():
            if not isinstance(concept, str) or concept not in concepts:
                raise refused(f".synonyms[{name!r}]", "one of the concepts", f"{concept!r:.60}")
        synonyms = found.pop("synonyms", {})
        return cls(synonyms=synonyms, **{name: tuple(texts) for name, texts in found.items()})

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads; what is empty is left out."""
        values = {one.name: getattr(self, one.name) for one in dataclasses.fields(self)}
        return {
            name: list(texts) if isinstance(texts, tuple) else dict(texts) for name, texts in values.items() if texts
        }

    def names(self) -> Iterator[str]:
        """What the picture of a caption can be told by: concepts and their synonyms, styles, colours, counts."""
        for texts in (self.concepts, self.synonyms, self.styles, self.colours, self.backgrounds, self.counts):
            yield from texts

    def only(self, wanted: Callable[[str], bool]) -> Vocabulary:
        """Those of its texts that are ``wanted``; a concept also where a synonym is, and then with all of them,
        which a message has in no order."""
        concepts = {text for text in self.concepts if wanted(text)}
        concepts |= {concept for text, concept in self.synonyms.items() if wanted(text)}
        rest = ("styles", "colours", "backgrounds", "counts", "words", "captions")
        return Vocabulary(
            tuple(text for text in self.concepts if text in concepts),
            {text: concept for text, concept in sorted(self.synonyms.items()) if concept in concepts},
            **{name: tuple(text for text in getattr(self, name) if wanted(text)) for name in rest},
        )


def checked(value: Any, kind: type[Value], where: str) -> Value:
    """``value``. Raises CheckpointError when it is not of that kind."""
    if not isinstance(value, kind):
        raise refused(where, "a JSON object" if kind is dict else "a list", f"{value!r:.60}")
    return value


def checked_text(text: Any, where: str) -> None:
    """Raises CheckpointError for what is no short line of text, or has characters that do not show."""
    if not isinstance(text, str) or not 0 < len(text) <= MAX_TEXT or not text.isprintable() or text != text.strip():
        raise refused(f".{where}", f"texts of 1 to {MAX_TEXT} characters that show", f"{text!r:.60}")


def at_most(where: str, limit: int, what: str, count: int) -> None:
    """Raises CheckpointError for more than the ``limit``."""
    if count > limit:
        raise refused(where, f"at most {limit} {what}", str(count))


def refused(where: str, rule: str, got: str) -> CheckpointError:
    """What is wrong with a vocabulary."""
    return CheckpointError(f"checkpoint: unclip.json: vocabulary{where} must be {rule}; got {got}")
