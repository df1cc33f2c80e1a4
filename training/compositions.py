"""What was never shown together: a thing in a colour, a thing in a number. Which of the captions a judge prefers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.captions import COUNTS, PEOPLE, caption_of, countable, in_colour, plural, with_article, without_colour
from training.colours import COLOURS, main_colour
from training.judge import Judge
from training.pictures import Pair
from training.split import Split


@dataclass(frozen=True)
class Choice:
    """A caption among others that differ from it in one word. options: all of them; right: which was asked for."""

    options: tuple[str, ...]
    right: int

    @property
    def caption(self) -> str:
        """What the model is asked for."""
        return self.options[self.right]


def colour_choices(pairs: Iterable[Pair], split: Split) -> list[Choice]:
    """Every thing that is held out in a colour, in that colour among all, in the first style that could show it."""
    found: dict[str, Choice] = {}
    for pair in pairs:
        thing = without_colour(pair.label)
        wanted = [colour for colour in COLOURS if in_colour(pair.label, colour) in split.colours]
        if not wanted or thing in found or pair.group == PEOPLE or main_colour(pair.rgba) is None:
            continue
        said = tuple(caption_of(with_article(in_colour(pair.label, colour)), pair.style) for colour in COLOURS)
        found[thing] = Choice(said, list(COLOURS).index(wanted[0]))
    return list(found.values())


def count_choices(pairs: Iterable[Pair], split: Split) -> list[Choice]:
    """Every thing that is held out in a number, in that number beside one and the other numbers."""
    found: dict[str, Choice] = {}
    for pair in pairs:
        wanted = [count for count in COUNTS if f"{count} {plural(pair.label)}" in split.counts]
        if not wanted or pair.label in found or not countable(pair):
            continue
        things = [with_article(pair.label), *(f"{count} {plural(pair.label)}" for count in COUNTS)]
        said = tuple(caption_of(thing, pair.style) for thing in things)
        found[pair.label] = Choice(said, 1 + list(COUNTS).index(wanted[0]))
    return list(found.values())


def preferred(judge: Judge, choices: Sequence[Choice], made: npt.NDArray[np.uint8]) -> float:
    """Share of pictures ``[len(choices), H, H, 3]`` whose nearest caption among their options is the right one."""
    seen = judge.see_all(made)
    return float(
        np.mean(
            [
                int(np.argmax(judge.read_all(choice.options) @ picture)) == choice.right
                for choice, picture in zip(choices, seen, strict=True)
            ]
        )
    )
