"""What is said of a picture: plain English for its drawing, colour, number and background."""

from __future__ import annotations

import re
from random import Random

import numpy as np
import pytest

from training.captions import countable, in_colour, plain_caption, plural, varied_caption
from training.concepts import CONCEPTS as LEARNED
from training.concepts import STYLES
from training.pictures import Pair

CONCEPTS = LEARNED.read_text().splitlines()


def pair(
    label: str, style: str = "flat", tags: tuple[str, ...] = (), group: int = 4, synonyms: tuple[str, ...] = ()
) -> Pair:
    return Pair(label, tags, style, np.zeros((8, 8, 4), np.uint8), group, synonyms)


@pytest.mark.parametrize(
    ("label", "style", "caption"),
    [
        ("red apple", "flat", "a flat emoji of a red apple"),
        ("eagle", "flat", "a flat emoji of an eagle"),
        ("unicorn", "emojione", "an emojione emoji of a unicorn"),
        ("grapes", "flat", "a flat emoji of grapes"),
        ("octopus", "flat", "a flat emoji of an octopus"),
        ("bus", "flat", "a flat emoji of a bus"),
        ("popcorn", "flat", "a flat emoji of popcorn"),
    ],
)
def test_a_caption_is_a_sentence_with_its_article(label: str, style: str, caption: str) -> None:
    assert plain_caption(label, style) == caption


def test_every_caption_is_plain_words_that_name_the_concept() -> None:
    random = Random(0)
    for label in CONCEPTS:
        for style in STYLES:
            caption = varied_caption(pair(label, style), random.choice(("white", "blue")), random)
            assert re.fullmatch(r"[a-z0-9ñéãô ,.!'“”-]+", caption.lower()), caption
            assert label.replace("’", "'") in caption


def test_some_captions_name_the_style_and_some_do_not() -> None:
    said = [varied_caption(pair("pear"), "white", Random(seed)) for seed in range(200)]

    assert 0.5 < np.mean(["flat" in caption for caption in said]) < 0.8
    assert {"a pear", "a pear, flat style", "pear, flat emoji", "a flat emoji of a pear"} <= set(said)
    assert any(re.match("an emoji of|a picture of|a drawing of", caption) for caption in said)


def test_a_background_is_named_unless_it_is_white() -> None:
    item = pair("red apple", tags=("fruit",))
    for seed in range(50):
        assert "background" not in varied_caption(item, "white", Random(seed))
        assert varied_caption(item, "blue", Random(seed)).endswith(" on a blue background")


def test_synonyms_and_tags_are_sometimes_said() -> None:
    item = pair("automobile", tags=("vehicle",), synonyms=("car",))
    said = [varied_caption(item, "white", Random(seed)) for seed in range(300)]

    assert 0.05 < np.mean([re.search(r"\bcar\b", caption) is not None for caption in said]) < 0.3
    assert any(caption.endswith(", vehicle") for caption in said)


@pytest.mark.parametrize(
    ("label", "many"),
    [
        ("mushroom", "mushrooms"),
        ("dog face", "dog faces"),
        ("mouse", "mice"),
        ("cherry", "cherries"),
        ("monkey", "monkeys"),
        ("fox", "foxes"),
        ("torch", "torches"),
        ("tomato", "tomatoes"),
        ("yo-yo", "yo-yos"),
        ("snowman", "snowmen"),
        ("tropical fish", "tropical fish"),
        ("maple leaf", "maple leaves"),
    ],
)
def test_more_than_one_is_said_as_english_says_it(label: str, many: str) -> None:
    assert plural(label) == many
    assert varied_caption(pair(label), "white", Random(0), count="two").startswith(("two", "a ", "an "))
    assert many in varied_caption(pair(label), "white", Random(0), count="two")


@pytest.mark.parametrize("label", ["grapes", "person juggling", "face with tongue", "cloud with rain", "thumbs up"])
def test_what_cannot_be_counted_is_not(label: str) -> None:
    assert not countable(pair(label))
    assert not countable(pair("farmer", group=1))


@pytest.mark.parametrize(
    ("label", "blue"),
    [("red apple", "blue apple"), ("pear", "blue pear"), ("light blue heart", "blue heart"), ("orange", "blue orange")],
)
def test_a_colour_takes_the_place_of_the_one_a_label_begins_with(label: str, blue: str) -> None:
    assert in_colour(label, "blue") == blue
