"""Squares out of pictures: what is kept stays as it was, and nothing of what is repainted gets into it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from gateway.requests.fitting import MAX_FITTED, Subject, covering, letterbox
from unclip.wire.images import from_pixels, to_pixels

RED, WHITE = (255, 0, 0), (255, 255, 255)


def subject(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], lost: slice | None = None) -> Subject:
    """``pixels`` of which the columns ``lost`` are not kept."""
    kept = np.ones(pixels.shape[:2], np.bool_)
    if lost is not None:
        kept[:, lost] = False
    return Subject(pixels, kept)


def noise(height: int, width: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_every_one_of_256_values_comes_back_from_a_known_pixel() -> None:
    values = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    known = subject(values).known(resampling=1)
    assert known.pixels.dtype == np.float32
    assert np.abs(known.pixels).max() == 1
    assert (np.asarray(from_pixels(known.pixels)) == values).all()


@pytest.mark.parametrize(("height", "width"), [(16, 16), (16, 21), (20, 16)])
def test_a_picture_that_is_large_enough_already_keeps_every_pixel(height: int, width: int) -> None:
    pixels = noise(height, width)
    top, left = (height - 16) // 2, (width - 16) // 2
    assert (subject(pixels).cropped().fitted((16, 16)).pixels == pixels[top : top + 16, left : left + 16]).all()


def test_letterboxing_puts_every_pixel_in_the_middle_and_keeps_the_bars_white() -> None:
    pixels = noise(10, 16)
    fitted = subject(pixels, slice(0, 4)).fitted((16, 16))
    assert (fitted.pixels[3:13] == pixels).all()
    assert (np.delete(fitted.pixels, np.s_[3:13], 0) == 255).all()
    assert fitted.kept[:3].all()
    assert fitted.kept[13:].all()
    assert (fitted.kept[3:13] == (np.arange(16) >= 4)).all()


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(0, 2**32 - 1),
)
def test_a_pixel_is_kept_when_all_that_it_covers_are(height: int, width: int, tall: int, wide: int, seed: int) -> None:
    kept = np.random.default_rng(seed).uniform(size=(height, width)) < 0.9
    found = covering(kept, tall, wide)
    for y, x in np.ndindex(tall, wide):  # in whole numbers, scaled by the other size
        rows = [r for r in range(height) if r * tall < (y + 1) * height and (r + 1) * tall > y * height]
        columns = [c for c in range(width) if c * wide < (x + 1) * width and (c + 1) * wide > x * width]
        assert found[y, x] == kept[np.ix_(rows, columns)].all()


@given(
    hnp.arrays(np.bool_, st.tuples(st.integers(1, 24), st.integers(1, 24))),
    st.integers(1, 24),
    st.integers(1, 24),
    st.tuples(*[st.integers(0, 255)] * 3),
    st.integers(0, 255),
)
def test_the_colour_of_what_is_repainted_never_gets_into_what_is_kept(
    kept: np.ndarray[tuple[int, ...], np.dtype[np.bool_]],
    height: int,
    width: int,
    colour: tuple[int, int, int],
    other: int,
) -> None:
    pixels = np.where(kept[..., None], np.array(colour, np.uint8), np.uint8(other))
    small = Subject(pixels, kept).resized(width, height)
    assert (small.pixels[small.kept] == colour).all()


@pytest.mark.parametrize("size", [(8, 8), (13, 7), (40, 56)])
def test_where_all_is_kept_resizing_is_bicubic(size: tuple[int, int]) -> None:
    # Far from black and white, where Pillow cuts off what its first pass overshoots and rounds the rest.
    smooth = np.asarray(Image.fromarray(noise(5, 5) // 2 + 64).resize((32, 24), Image.Resampling.BICUBIC))
    plain = np.asarray(Image.fromarray(smooth).resize(size, Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(subject(smooth).resized(*size).pixels - plain).max() <= 1


def test_a_picture_resized_in_strips_is_the_one_resized_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    large = subject(noise(300, 200), slice(50, 60))
    whole = large.resized(64, 48)
    monkeypatch.setattr("gateway.requests.fitting.ROWS", 7)
    strips = large.resized(64, 48)
    assert (strips.pixels == whole.pixels).all()
    assert (strips.kept == whole.kept).all()


def test_the_smaller_picture_of_an_edit_knows_what_the_larger_one_knows_wholly() -> None:
    kept = np.ones((16, 16), np.bool_)
    kept[5, 9] = False
    base = Subject(noise(16, 16), kept).resized(4, 4)
    assert np.argwhere(~base.kept).tolist() == [[1, 2]]


def test_a_letterboxed_picture_is_whole_and_its_bars_are_white() -> None:
    boxed = letterbox(Image.new("RGB", (30, 10), RED))
    assert boxed.size == (30, 30)
    assert [boxed.getpixel((15, y)) for y in (0, 9, 10, 19, 20, 29)] == [WHITE, WHITE, RED, RED, WHITE, WHITE]
    assert boxed.getpixel((0, 15)) == boxed.getpixel((29, 15)) == RED


@pytest.mark.parametrize("size", [(4096, 1), (1, 4096), (4096, 3000), (1024, 1025)])
def test_a_letterboxed_picture_is_never_larger_than_the_stages_may_be_sent(size: tuple[int, int]) -> None:
    boxed = letterbox(Image.new("RGB", size, RED))
    assert boxed.size == (MAX_FITTED, MAX_FITTED)
    assert boxed.getpixel((511, 511)) == RED


def test_pixels_survive_the_way_through_a_stage() -> None:
    pixels = noise(8, 8)
    assert (np.asarray(from_pixels(to_pixels(Image.fromarray(pixels)))) == pixels).all()
