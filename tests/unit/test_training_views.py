"""Views of drawings: what is in the picture is what the caption says, where it says it."""

from __future__ import annotations

import re
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest
import torch

from training.pictures import BACKGROUNDS, WHITE, Pair, composite
from training.split import Split
from training.views import BESIDE, Variety, Views

SIDE = 32
CPU = torch.device("cpu")
COLOURS = dict([WHITE, *BACKGROUNDS])


def square(label: str, colour: tuple[int, int, int], group: int = 4, style: str = "flat", left: int = 4) -> Pair:
    """A square of 16 px on nothing, ``left`` px from the left edge and in the middle of its height."""
    rgba = np.zeros((SIDE, SIDE, 4), np.uint8)
    rgba[8:24, left : left + 16] = (*colour, 255)
    return Pair(label, (), style, rgba, group)


RED, LIME = square("cherry", (255, 0, 0)), square("lime", (0, 255, 0))


def bytes_of(pictures: torch.Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """``[B, 3, S, S]`` in [-1, 1] as uint8 ``[B, S, S, 3]``."""
    found: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] = (
        ((pictures + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    )
    return found


def test_a_view_in_place_is_the_drawing_before_its_background() -> None:
    soft = Pair("glass", (), "flat", np.full((SIDE, SIDE, 4), (10, 200, 40, 100), np.uint8))

    for pair in (RED, soft):
        shown, captions = Views([pair], Variety(coloured=0.0), CPU).draw([0], Random(0), moved=False)

        assert np.abs(bytes_of(shown)[0].astype(int) - composite(pair.rgba, WHITE[1])).max() <= 1
        assert "background" not in captions[0]


def test_a_view_shows_the_background_its_caption_names() -> None:
    views = Views([RED], Variety(coloured=0.9), CPU)
    seen = set()
    for seed in range(80):
        shown, (caption,) = views.draw([0], Random(seed), moved=bool(seed % 2))
        found = re.search(r"on a (\w+) background", caption)
        name = found[1] if found else "white"
        assert bytes_of(shown)[0, 0, 0].tolist() == list(COLOURS[name]), caption
        seen.add(name)
    assert seen == set(COLOURS)


def test_a_fading_background_goes_from_the_first_colour_to_the_second() -> None:
    shown, (caption,) = Views([RED], Variety(coloured=1.0, fading=1.0), CPU).draw([0], Random(3), moved=False)

    first, second = re.search(r"on a (\w+) to (\w+) background", caption).groups()  # type: ignore[union-attr]
    picture = bytes_of(shown)[0]
    assert first != second
    assert picture[0, 0].tolist() == list(COLOURS[first])
    assert picture[-1, 0].tolist() == list(COLOURS[second])


def red_of(picture: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> tuple[np.ndarray[Any, Any], ...]:
    """(rows, columns) of the pixels that are red."""
    return np.nonzero((picture[..., 0] > 200) & (picture[..., 1] < 60))


def test_a_moved_drawing_is_whole_no_smaller_than_allowed_and_somewhere_else_each_time() -> None:
    views = Views([RED], Variety(coloured=0.0, smallest=0.6), CPU)
    shown = bytes_of(views.draw([0] * 40, Random(0))[0])
    places = set()
    for picture in shown:
        rows, columns = red_of(picture)
        width = np.ptp(columns) + 1
        assert 0.6 * 16 - 2 <= width <= 16 + 1
        assert abs(width - (np.ptp(rows) + 1)) <= 2
        places.add((rows.min(), columns.min()))
    assert len(places) > 10


@pytest.mark.parametrize(("group", "column"), [(4, SIDE - 4 - 16), (7, 4), (8, 4)])
def test_food_is_mirrored_and_what_may_bear_letters_is_not(group: int, column: int) -> None:
    views = Views([square("thing", (255, 0, 0), group)], Variety(coloured=0.0, smallest=1.0, mirrored=1.0), CPU)

    _, columns = red_of(bytes_of(views.draw([0], Random(0))[0])[0])

    assert columns.min() == column


def test_two_things_stand_as_the_caption_says() -> None:
    views = Views([RED, LIME], Variety(coloured=0.0, couples=1.0), CPU)
    said = set()
    for seed in range(40):
        shown, (caption,) = views.draw([0], Random(seed))
        picture = bytes_of(shown)[0]
        rows, columns = red_of(picture)
        other_rows, other_columns = np.nonzero((picture[..., 1] > 200) & (picture[..., 0] < 60))
        if not len(other_rows):
            assert "lime" not in caption
            continue
        relation = re.fullmatch(r"a flat emoji of a cherry (next to|above) a lime", caption)
        assert relation, caption
        if relation[1] == "next to":
            assert columns.max() < other_columns.min()
        else:
            assert rows.max() < other_rows.min()
        said.add(relation[1])
    assert said == set(BESIDE)


def test_two_things_are_of_one_style() -> None:
    views = Views([RED, square("lime", (0, 255, 0), style="noto")], Variety(couples=1.0), CPU)

    assert all("lime" not in views.draw([0], Random(seed))[1][0] for seed in range(20))


def test_one_seed_draws_one_batch() -> None:
    views = Views([RED, LIME], Variety(0.5, 0.5, 0.6, 0.5, 0.5), CPU)
    first, again, other = (views.draw([0, 1] * 4, Random(seed)) for seed in (5, 5, 6))

    assert torch.equal(first[0], again[0])
    assert first[1] == again[1]
    assert first[1] != other[1]


def test_a_lone_drawing_that_is_not_moved_is_not_mirrored_either() -> None:
    views = Views([square("thing", (255, 0, 0))], Variety(coloured=0.0, mirrored=1.0), CPU)

    still, moved = (bytes_of(views.draw([0], Random(0), moved=moved)[0])[0] for moved in (False, True))

    assert red_of(still)[1].min() == 4
    assert red_of(moved)[1].min() != 4


def captions_of(pair: Pair, hidden: Split, variety: Variety) -> str:
    """All that is said of many views."""
    views = Views([pair], variety, CPU, hidden)
    return "\n".join(views.draw([0] * 300, Random(0))[1])


def test_no_drawing_becomes_one_that_is_held_out_by_its_colour() -> None:
    heart = replace(square("red heart", (255, 0, 0)), synonyms=("heart",))
    turned = Variety(coloured=0.0, recoloured=0.9)
    assert "pink heart" in captions_of(heart, Split(), turned)
    assert "pink heart" in captions_of(heart, Split(frozenset({"noto/pink heart"})), turned)
    assert "pink heart" not in captions_of(heart, Split(frozenset({"flat/pink heart"})), turned)
    assert "pink heart" not in captions_of(heart, Split(colours=frozenset({"pink heart"})), turned)


def test_no_number_of_things_is_shown_that_is_held_out_of_them_in_their_new_colour() -> None:
    several = Variety(coloured=0.0, recoloured=0.9, counted=0.9)
    book = square("red book", (255, 0, 0))
    hidden = Split(counts=frozenset({"two blue books"}))
    assert "two blue books" in captions_of(book, Split(), several)
    said = captions_of(book, hidden, several)
    assert "two blue books" not in said
    assert {"three blue books", "two green books", "two red books"} <= set(re.findall(r"(?:two|three) \w+ books", said))
