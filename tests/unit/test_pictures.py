"""Contact sheets and animations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFont

from unclip.client.sheets import MARGIN, animate, contact_sheet, on_paper, pad, wrap

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def plain(colour: tuple[int, int, int], side: int = 128) -> Image.Image:
    return Image.new("RGB", (side, side), colour)


def test_a_sheet_shows_every_picture_in_its_place() -> None:
    sheet = contact_sheet([plain(RED), plain(GREEN), plain(BLUE)], ["red", "green", "blue"], columns=2)

    middle = MARGIN + 64
    below = (sheet.height - MARGIN) // 2 + middle
    assert sheet.getpixel((middle, middle)) == RED
    assert sheet.getpixel((middle + 128 + MARGIN, middle)) == GREEN
    assert sheet.getpixel((middle, below)) == BLUE


def test_a_caption_is_written_below_its_picture() -> None:
    with_caption = np.asarray(contact_sheet([plain(RED)], ["a red square"]))
    without = np.asarray(contact_sheet([plain(RED)], ["-"]))

    below = MARGIN + 128
    assert (with_caption[:below] == without[:below]).all()
    assert (with_caption[below:] < 128).sum() > (without[below:] < 128).sum()


def test_a_small_picture_is_enlarged_by_a_whole_factor() -> None:
    sheet = contact_sheet([plain(RED, side=48)], ["red"])

    assert sheet.width == 3 * 48 + 2 * MARGIN


def test_a_sheet_without_pictures_or_with_a_missing_caption_is_refused() -> None:
    with pytest.raises(ValueError, match="0 and 0"):
        contact_sheet([], [])
    with pytest.raises(ValueError, match="1 and 0"):
        contact_sheet([plain(RED)], [])


def test_a_long_caption_is_broken_into_lines_that_fit() -> None:
    font = ImageFont.load_default(14)
    text = "a flat emoji of an incomprehensibilities-antidisestablishmentarianism of unusual size"

    lines = wrap(text, font, 128)

    assert len(lines) > 2
    assert all(font.getlength(line) <= 128 for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_what_is_transparent_shows_the_paper() -> None:
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))

    assert on_paper(clear).getpixel((0, 0)) == (255, 255, 255)


def test_a_padded_picture_lies_on_a_transparent_canvas() -> None:
    canvas = pad(plain(RED, side=8), left=1, top=2, right=3, bottom=4)

    assert canvas.size == (12, 14)
    assert canvas.getchannel("A").getbbox() == (1, 2, 9, 10)
    assert canvas.getpixel((1, 2)) == canvas.getpixel((8, 9)) == (*RED, 255)


def test_a_padded_picture_stays_as_transparent_as_it_was_and_is_set_upright() -> None:
    hole = Image.new("RGBA", (8, 4), (0, 0, 255, 90))
    hole.getexif()[0x0112] = 6  # turned by a quarter

    assert pad(hole, 1, 1, 1, 1).size == (6, 10)
    assert pad(hole, 1, 1, 1, 1).getpixel((2, 2)) == (0, 0, 255, 90)


def test_a_picture_is_not_padded_by_less_than_nothing() -> None:
    with pytest.raises(ValueError, match="-1"):
        pad(plain(RED), left=-1)


def test_an_animation_goes_there_and_back_without_loss(tmp_path: Path) -> None:
    path = animate([plain(RED), plain(GREEN), plain(BLUE)], tmp_path / "new" / "walk.webp")

    with Image.open(path) as film:
        colours = []
        for index in range(getattr(film, "n_frames", 1)):
            film.seek(index)
            colours.append(film.convert("RGB").getpixel((5, 5)))
    assert colours == [RED, GREEN, BLUE, GREEN]


def test_one_frame_is_an_animation_too(tmp_path: Path) -> None:
    assert animate([plain(RED)], tmp_path / "still.webp").stat().st_size > 0


def test_frames_of_different_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one size"):
        animate([plain(RED), plain(RED, side=64)], tmp_path / "walk.webp")
