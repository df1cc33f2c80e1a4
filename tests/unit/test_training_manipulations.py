"""What manipulations are measured by: which pictures, which changes, and how near."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from training.manipulations import asked, changes, likeness, signed, small
from training.pictures import Pair

STYLES = ("flat", "noto", "3d")


def pair(label: str, style: str, group: int) -> Pair:
    return Pair(label, (), style, np.zeros((8, 8, 4), np.uint8), group)


TAUGHT = [pair(f"thing {i}", style, i % 4) for i in range(40) for style in STYLES]
HELD_OUT = TAUGHT[:98:2]  # 49, as of the embedded checkpoint


def test_a_hundred_pictures_are_a_hundred_different_questions() -> None:
    found = asked(HELD_OUT, 100)
    assert len({(question.pair.key, question.background) for question in found}) == len(found) == 100


def test_half_of_the_changes_are_of_style_and_a_quarter_each_of_background_and_concept() -> None:
    found = changes(HELD_OUT, TAUGHT, STYLES, 100)
    assert Counter(change.kind for change in found) == {"style": 50, "background": 25, "concept": 25}
    assert all(change.after != change.picture.caption for change in found)
    assert len({(change.picture.caption, change.after) for change in found}) >= 99  # one is measured twice


def test_a_concept_changes_into_another_of_its_kind() -> None:
    groups = {f"a {p.style} emoji of a {p.label}": p.group for p in TAUGHT}
    for change in changes(HELD_OUT, TAUGHT, STYLES, 100):
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
