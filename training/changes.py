"""Which held-out pictures are manipulated, and into what."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count as numbers
from itertools import islice
from random import Random

import numpy as np
import numpy.typing as npt

from training.captions import before, caption_of, hue_of, in_colour, plain_caption, with_article
from training.colours import COLOURS
from training.pictures import BACKGROUNDS, WHITE, Pair
from training.questions import Question, questions

LOOKS = ("style", "background", "colour")  # kinds of change in which the thing itself stays


@dataclass(frozen=True)
class Change:
    """A picture and the caption that it shall come to. kind: what of it changes."""

    kind: str
    picture: Question
    after: str


def asked(held_out: list[Pair], count: int) -> list[Question]:
    """``count`` held-out pictures of all styles, every other one on white: first each once, then on the other kind of
    background, then on more colours."""
    order = shuffled(held_out)

    def on(turn: int, i: int) -> tuple[str, tuple[int, int, int]]:
        return WHITE if turn < 2 and (turn + i) % 2 == 0 else BACKGROUNDS[(max(turn, 1) + i // 2) % len(BACKGROUNDS)]

    turns = range(1 + len(BACKGROUNDS))
    return [Question(pair, *on(turn, i)) for turn in turns for i, pair in enumerate(order)][:count]


def shuffled(held_out: list[Pair]) -> list[Pair]:
    """The pairs in an order that is always the same and has nothing to do with their styles."""
    order = sorted(held_out, key=lambda pair: pair.key)
    Random(0).shuffle(order)
    return order


def changes(held_out: list[Pair], taught: list[Pair], styles: Sequence[str], count: int) -> list[Change]:
    """``count`` changes of held-out pictures on white, of style, background, colour and concept in turn.

    Colours are those of things that have one main colour; where none has, the other kinds take their share. A concept
    changes into the next one of its group (an animal into an animal), so that little else has to.
    """
    order = shuffled(held_out)
    pictures = questions(order)[: len(order)]
    groups = {pair.group: sorted({p.label for p in (*taught, *held_out) if p.group == pair.group}) for pair in order}

    def style(picture: Question, turn: int) -> str:
        place = styles.index(picture.pair.style) + 1 + turn % (len(styles) - 1)
        return plain_caption(picture.pair.label, styles[place % len(styles)])

    def background(picture: Question, turn: int) -> str:
        return before(picture.caption, BACKGROUNDS[(pictures.index(picture) + turn) % len(BACKGROUNDS)][0])

    def colour(picture: Question, turn: int) -> str:
        label = picture.pair.label
        others = [name for name in COLOURS if in_colour(label, name) != label and name != hue_of(picture.pair)]
        chosen = others[(pictures.index(picture) + turn) % len(others)]
        return caption_of(with_article(in_colour(label, chosen)), picture.pair.style)

    def concept(picture: Question, turn: int) -> str:
        labels = groups[picture.pair.group]
        place = labels.index(picture.pair.label) + 1 + turn % max(1, len(labels) - 1)
        return plain_caption(labels[place % len(labels)], picture.pair.style)

    coloured = [picture for picture in pictures if hue_of(picture.pair) is not None]
    # Each kind begins with a picture of its own, so that few changes are of many pictures.
    kinds = [_endless("style", pictures, style), _endless("background", _from(pictures, 0.25), background)]
    kinds += [_endless("colour", _from(coloured, 0.5), colour)] if coloured else []
    kinds += [_endless("concept", _from(pictures, 0.75), concept)]
    return list(islice((change for turn in zip(*kinds, strict=True) for change in turn), count))


def by_kind(wanted: Sequence[Change]) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
    """Every kind, then "looks", then "all", each with which of ``wanted`` are of it."""
    kinds = dict.fromkeys(change.kind for change in wanted)
    for name, inside in [*((kind, (kind,)) for kind in kinds), ("looks", LOOKS), ("all", tuple(kinds))]:
        yield name, np.array([change.kind in inside for change in wanted])


def _from(pictures: Sequence[Question], share: float) -> list[Question]:
    """All of them, turned so that they begin with the one at ``share`` of the way."""
    start = int(share * len(pictures))
    return [*pictures[start:], *pictures[:start]]


def _endless(kind: str, pictures: Sequence[Question], after: Callable[[Question, int], str]) -> Iterator[Change]:
    """Every picture's change, then every picture's next one, and so on."""
    for turn in numbers():
        for picture in pictures:
            yield Change(kind, picture, after(picture, turn))
