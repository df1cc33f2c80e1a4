"""Odd pictures: what is legal is seen as people see it, exactly; what is not is refused by name and in words."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tests.contract.gateways import pixels_of, png
from tests.contract.odd_inputs.files import RGB, chunk, exif, png_of, turned
from tests.contract.odd_inputs.no_pictures import ILLEGAL
from tests.contract.odd_inputs.picture_cases import LEGAL, NOISE, Case, iccp, in_srgb
from tests.contract.odd_inputs.profiles import ADOBE_RGB, DISPLAY_P3, PRESS
from tests.contract.services import SAME, Array, gap
from tests.tiny import FINAL
from unclip import Client, Edit, Sampling
from unclip.client import Notice
from unclip.errors import InvalidRequest

QUICK = {"seed": 1, "prior_candidates": 1, "prior": Sampling(steps=1), "decoder": Sampling(steps=1), "resampling": 1}
CORNER = np.zeros((FINAL, FINAL), np.bool_)
CORNER[:2, :2] = True


@pytest.mark.parametrize(("data", "seen"), [pytest.param(*case[1:], id=case[0]) for case in LEGAL])
def test_what_an_edit_keeps_of_an_odd_picture_is_what_people_see(client: Client, data: bytes, seen: Array) -> None:
    [made] = client.edit(data, "a cat", png(CORNER), **QUICK)  # type: ignore[arg-type]
    assert (pixels_of(made)[~CORNER] == seen[~CORNER]).all()


def test_models_see_of_odd_pictures_what_people_see(client: Client) -> None:
    """Where a stage decodes the file."""
    for start in range(0, len(LEGAL), 16):
        batch: list[Case] = LEGAL[start : start + 16]
        files = client.embed(images=[data for _, data, _ in batch]).images
        plain = client.embed(images=[png(seen) for _, _, seen in batch]).images
        for (name, _, _), one, other in zip(batch, files, plain, strict=True):
            assert gap(one.values, other.values) < SAME, name


@pytest.mark.parametrize(("data", "words"), [pytest.param(*case[1:], id=case[0]) for case in ILLEGAL])
def test_what_is_no_legal_picture_is_refused_by_name(client: Client, data: bytes, words: tuple[str, ...]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        client.vary(data)
    [violation] = refused.value.violations
    assert violation.field == "image.data"
    assert not [word for word in words if word not in violation.description], violation.description


def test_all_that_is_no_picture_is_told_at_once(client: Client) -> None:
    with pytest.raises(InvalidRequest) as refused:
        client.embed(images=[png(CORNER), b"nothing", ILLEGAL[-1][1]])
    assert [violation.field for violation in refused.value.violations] == ["images[1].data", "images[2].data"]


def test_a_large_picture_is_seen_so_too(client: Client) -> None:
    """Which a worker process of the gateway makes a smaller one of."""
    rows = np.add.outer(np.arange(1100) // 5, np.arange(1100) // 6) % 256
    pixels = np.dstack([rows, rows[::-1], rows[:, ::-1]]).astype(np.uint8)
    told = iccp(DISPLAY_P3), chunk(b"eXIf", exif(6))
    odd = png_of(turned(pixels, 6).astype(int) * 257, RGB, 16, *told)
    plain = png(in_srgb(Image.fromarray(pixels), DISPLAY_P3))
    one, other, unconverted = client.embed(images=[odd, plain, png(pixels)]).images
    assert gap(one.values, other.values) < SAME < gap(one.values, unconverted.values)


BROKEN = png_of(NOISE, RGB, 8, iccp(b"nothing"))


def test_a_profile_that_cannot_be_used_is_told_by_every_answer(client: Client) -> None:
    of_inks = png_of(NOISE, RGB, 8, iccp(PRESS))
    sound = png_of(NOISE, RGB, 8, iccp(ADOBE_RGB))
    [made] = client.interpolate(sound, BROKEN, seed=1)
    assert [(notice.kind, notice.field) for notice in made.notices] == [("profile_unusable", "to_image")]
    assert "colours are taken for sRGB's" in made.notices[0].message
    assert not client.vary(sound, seed=1)[0].notices
    told = client.embed(images=[sound, BROKEN, png(CORNER), of_inks]).notices
    assert [notice.field for notice in told] == ["images[1]", "images[3]"]
    asked = Edit(of_inks, "a cat", BROKEN, **QUICK)  # type: ignore[arg-type]
    streamed = [event.field for event in client.stream(asked) if isinstance(event, Notice)]
    assert streamed == ["image", "mask"]
