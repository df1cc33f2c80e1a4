"""What is said of a picture: plain words for a drawing, its style, colour, number, neighbour and background."""

from __future__ import annotations

import re
from random import Random

from training.colours import COLOURS, main_colour
from training.pictures import Pair

COUNTS = {"two": 2, "three": 3}
COLOUR_WORD = re.compile(r"(light blue|red|orange|yellow|green|blue|purple|pink|brown|black|white|grey) ")
# Labels that are plural, or no countable thing, and take no article.
BARE = {"bread", "popcorn", "sushi", "fire", "ice", "rice", "bacon", "salt", "butter", "wood"}
UNCOUNTED = re.compile(
    r" (with|of|in|on|and|without|behind|from|over|out|person|people|\w+ing|luggage|lacrosse|up|down) "
)
PEOPLE = 1  # emojibase's group
IRREGULAR = {"mouse": "mice", "foot": "feet", "tooth": "teeth", "leaf": "leaves", "loaf": "loaves", "wolf": "wolves"}
IRREGULAR |= {"knife": "knives", "scarf": "scarves", "man": "men", "woman": "women", "child": "children"}
IRREGULAR |= {"fish": "fish", "sheep": "sheep", "person": "people", "goose": "geese", "ox": "oxen", "bison": "bison"}
IRREGULAR |= {"deer": "deer", "squid": "squid", "shrimp": "shrimp", "blowfish": "blowfish", "jellyfish": "jellyfish"}


def is_plural(label: str) -> bool:
    """Whether a label takes no article: "grapes"."""
    return (label.endswith("s") and not label.endswith(("ss", "us", "bus", "glass", "lens"))) or label in BARE


def with_article(label: str) -> str:
    """A label as it stands in a sentence: "an eagle", "a bear", "grapes"."""
    if is_plural(label):
        return label
    return f"an {label}" if label[0].lower() in "aeiou" and not label.startswith(("uni", "one", "eu")) else f"a {label}"


def countable(pair: Pair) -> bool:
    """Whether one can say "two" of it: no people, no plural, no picture of a state, as faces and weather are called."""
    return not (pair.group == PEOPLE or is_plural(pair.label) or UNCOUNTED.search(f" {pair.label} "))


def plural(label: str) -> str:
    """More than one of a label that `countable` admits: "dog faces", "mice"."""
    head, last = label.rpartition(" ")[::2]
    if last in IRREGULAR:
        many = IRREGULAR[last]
    elif re.search(r"(mer|snow|wo)man$", last):
        many = f"{last[:-3]}men"
    elif re.search(r"(s|x|z|ch|sh)$", last):
        many = f"{last}es"
    elif re.search(r"[^aeiou]y$", last):
        many = f"{last[:-1]}ies"
    elif re.search(r"(tomat|potat|mang|volcan)o$", last):
        many = f"{last}es"
    else:
        many = f"{last}s"
    return f"{head} {many}".strip()


def without_colour(label: str) -> str:
    """A label less the colour it begins with: "red apple" is an apple."""
    return COLOUR_WORD.sub("", label, count=1) if COLOUR_WORD.match(label) else label


def hue_of(pair: Pair) -> str | None:
    """The colour word nearest to a drawing's main colour, or None where it has none, or shows a person."""
    main = None if pair.group == PEOPLE else main_colour(pair.rgba)
    if main is None:
        return None
    return min(COLOURS, key=lambda name: abs((COLOURS[name][0] - main[0] + 0.5) % 1 - 0.5))


def in_colour(label: str, colour: str) -> str:
    """A label in another colour: "blue apple"."""
    return f"{colour} {without_colour(label)}"


def plain_caption(label: str, style: str) -> str:
    """The caption every pair has: "a flat emoji of a red apple"."""
    return caption_of(with_article(label), style)


def caption_of(thing: str, style: str) -> str:
    """The same of anything that has its article or number: "a flat emoji of two red apples"."""
    return f"{with_article(style)} emoji of {thing}"


def varied_caption(pair: Pair, background: str, random: Random, colour: str | None = None, count: str = "") -> str:
    """One of the ways to say what a picture shows, in plain words, with its style or without.

    colour: the drawing has been given; count: of COUNTS, how many there are. The background is named unless white.
    """
    label = random.choice(pair.synonyms) if pair.synonyms and random.random() < 0.15 and not count else pair.label
    label = label if colour is None else in_colour(label, colour)
    thing = f"{count} {plural(label)}" if count else with_article(label)
    choice = random.random()
    if choice < 0.4:
        caption = caption_of(thing, pair.style)
    elif choice < 0.55:
        caption = f"{thing}, {pair.style} style"
    elif choice < 0.65:
        caption = f"{thing if count else label}, {pair.style} emoji"
    elif choice < 0.85:
        caption = thing
    else:
        caption = random.choice(("an emoji of", "a picture of", "a drawing of")) + f" {thing}"
    if pair.tags and random.random() < 0.1:
        caption += f", {random.choice(pair.tags)}"
    return before(caption.replace("’", "'"), background)


def couple_caption(first: Pair, relation: str, second: Pair, background: str) -> str:
    """What two drawings of one style show: "a flat emoji of a red apple next to a dog face"."""
    return before(f"{plain_caption(first.label, first.style)} {relation} {with_article(second.label)}", background)


def before(caption: str, background: str) -> str:
    """The caption with its background, which is named unless it is white; a fading one is "blue to pink"."""
    return caption if background == "white" else f"{caption} on a {background} background"
