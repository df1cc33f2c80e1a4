"""What manipulations are measured by: which pictures, which changes, and how near."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from training.captions import hue_of
from training.changes import asked, by_kind, changes
from training.manipulations import likeness, signed, small
from training.pictures import Pair

STYLES = ("flat", "noto", "3d")


def pair(label: str, style: str, group: int) -> Pair:
    return Pair(label, (), style, np.zeros((8, 8, 4), np.uint8), group)


TAUGHT = [pair(f"thing {i}", style, i % 4) for i in range(40) for style in STYLES]
HELD_OUT = TAUGHT[:98:2]
RED = np.full((8, 8, 4), (230, 30, 30, 255), np.uint8)
COLOURED = [replace(one, rgba=RED, group=3 if one.group == 1 else one.group) for one in HELD_OUT]


def test_a_hundred_pictures_are_a_hundred_different_questions() -> None:
    found = asked(HELD_OUT, 100)
    assert len({(question.pair.key, question.background) for question in found}) == len(found) == 100


def test_half_of_the_pictures_are_on_white_and_all_styles_are_among_the_first() -> None:
    found = asked(HELD_OUT, len(HELD_OUT) * 7)
    assert len({(question.pair.key, question.background) for question in found}) == len(found)
    first = found[: len(HELD_OUT)]
    assert len({question.pair.key for question in first}) == len(first)
    assert abs(sum(question.background == "white" for question in first) - len(first) / 2) < 1
    assert {question.pair.style for question in first[:12]} == set(STYLES)


def test_changes_are_of_every_kind_in_turn_and_all_different() -> None:
    found = changes(COLOURED, TAUGHT, STYLES, 100)
    assert Counter(change.kind for change in found) == dict.fromkeys(("style", "background", "colour", "concept"), 25)
    assert all(change.after != change.picture.caption for change in found)
    assert len({(change.picture.caption, change.after) for change in found}) == 100
    assert len({change.picture.caption for change in found[:16]}) == 16


def test_few_pictures_are_changed_again_and_in_other_ways() -> None:
    found = changes(COLOURED[:3], TAUGHT, STYLES, 24)
    assert len({(change.picture.caption, change.after) for change in found}) == 24


def test_a_drawing_without_a_main_colour_gets_no_other() -> None:
    assert hue_of(HELD_OUT[0]) is None
    assert {change.kind for change in changes(HELD_OUT, TAUGHT, STYLES, 30)} == {"style", "background", "concept"}


def test_a_thing_is_asked_for_in_a_colour_that_it_has_not() -> None:
    assert hue_of(COLOURED[0]) == "red"
    found = [change for change in changes(COLOURED, TAUGHT, STYLES, 100) if change.kind == "colour"]
    assert found
    assert not any(" red " in change.after for change in found)


def test_looks_are_the_changes_in_which_the_thing_stays() -> None:
    wanted = changes(COLOURED, TAUGHT, STYLES, 40)
    counted = {kind: int(inside.sum()) for kind, inside in by_kind(wanted)}
    assert counted == {"style": 10, "background": 10, "colour": 10, "concept": 10, "looks": 30, "all": 40}


def test_a_concept_changes_into_another_of_its_kind() -> None:
    groups = {f"a {p.style} emoji of a {p.label}": p.group for p in [*TAUGHT, *COLOURED]}
    for change in changes(COLOURED, TAUGHT, STYLES, 100):
        if change.kind == "concept":
            assert groups[change.after] == change.picture.pair.group


def test_likeness_is_the_mean_of_each_pictures_psnr() -> None:
    black, grey, white = (np.full((1, 8, 8, 3), value, np.uint8) for value in (0, 128, 255))
    far = likeness(signed(black), signed(white))
    near = likeness(signed(black), signed(grey))
    assert far == pytest.approx(0.0, abs=1e-4)
    assert near == pytest.approx(20 * np.log10(255 / 128), abs=1e-4)
    both = likeness(signed(np.concatenate([black, black])), signed(np.concatenate([white, grey])))
    assert both == pytest.approx((far + near) / 2)


def test_pictures_are_compared_at_the_decoders_size() -> None:
    chequered = np.indices((8, 8)).sum(axis=0) % 2
    fine = np.repeat((chequered * 255).astype(np.uint8)[None, ..., None], 3, axis=-1)
    flat = np.full_like(fine, 128)
    assert likeness(small(fine, 2), small(flat, 2)) > likeness(signed(fine), signed(flat)) + 10
