"""Questions about what was never shown together, and who answers them."""

from __future__ import annotations

from colorsys import hsv_to_rgb
from typing import Any

import numpy as np
import pytest

from training.colours import COLOURS
from training.compositions import Choice, colour_choices, count_choices, preferred
from training.pictures import Pair
from training.split import Split, combinations

SPLIT = Split(colours=frozenset({"blue apple"}), counts=frozenset({"three pears"}))


def disc(label: str, colour: tuple[int, int, int], style: str = "flat", group: int = 4) -> Pair:
    rgba = np.zeros((16, 16, 4), np.uint8)
    rgba[3:13, 3:13] = (*colour, 255)
    return Pair(label, (), style, rgba, group)


RAINBOW = {  # every colour word by one that it means
    name: (round(255 * r), round(255 * g), round(255 * b))
    for name, (r, g, b) in ((name, hsv_to_rgb(*colour)) for name, colour in COLOURS.items())
}
PAIRS = [
    disc("red apple", (120, 120, 120)),
    disc("red apple", (220, 20, 20), "noto"),
    disc("pear", (40, 180, 60), "3d"),
]


def test_no_colour_is_held_out_that_a_drawing_of_the_thing_has_by_itself() -> None:
    of_all_but_one = [disc("pear", rgb, style) for style, rgb in RAINBOW.items() if style != "purple"]
    assert combinations(of_all_but_one, 1, 0)[0] == {"purple pear"}
    assert not combinations([*of_all_but_one, disc("pear", RAINBOW["purple"], "purple")], 1, 0)[0]


def test_a_thing_is_asked_for_in_its_held_out_colour_in_a_style_that_has_one() -> None:
    (choice,) = colour_choices(PAIRS, SPLIT)

    assert choice.caption == "a noto emoji of a blue apple"
    assert len(set(choice.options)) == len(COLOURS)
    assert "a noto emoji of an orange apple" in choice.options


def test_a_thing_is_asked_for_in_its_held_out_number_beside_the_others() -> None:
    (choice,) = count_choices(PAIRS, SPLIT)

    assert choice.options == ("a 3d emoji of a pear", "a 3d emoji of two pears", "a 3d emoji of three pears")
    assert choice.right == 2


def test_the_judges_nearest_option_counts() -> None:
    class Eye:
        """Sees red and blue."""

        def see_all(self, pictures: Any) -> Any:
            return pictures.mean((1, 2))[:, [0, 2]]

        def read_all(self, captions: Any) -> Any:
            return np.array([[1.0, 0.0] if "red" in caption else [0.0, 1.0] for caption in captions])

    made = np.zeros((2, 4, 4, 3), np.uint8)
    made[0, ..., 0], made[1, ..., 0] = 200, 200

    share = preferred(Eye(), [Choice(("red", "blue"), 0), Choice(("red", "blue"), 1)], made)  # type: ignore[arg-type]

    assert share == pytest.approx(0.5)
