"""Pictures and settings at the edge of what is asked for, through the gateway: each has a defined answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.contract.gateways import apart, noise_picture, png
from tests.contract.requests import sound
from tests.contract.services import SAME, Array, Services, gap
from unclip import Client, GeneratedImage
from unclip.errors import InvalidRequest

Ask = Callable[[Client, bytes], GeneratedImage]


def varied(client: Client, picture: bytes, **options: Any) -> GeneratedImage:
    [made] = client.vary(picture, seed=1, eta=0.0, **options)
    return made


def diffed(client: Client, picture: bytes, **options: Any) -> GeneratedImage:
    [made] = client.text_diff(picture, "a dog", "a cat", thetas=[0.3], seed=1, **options)
    return made


def interpolated(client: Client, picture: bytes, **options: Any) -> GeneratedImage:
    [made] = client.interpolate(picture, png(np.full((24, 24, 3), 90, np.uint8)), ts=[0.2], seed=1, **options)
    return made


takes_a_picture = pytest.mark.parametrize("ask", [varied, diffed, interpolated])


@takes_a_picture
def test_what_is_transparent_shows_white(client: Client, ask: Ask) -> None:
    pixels = noise_picture(24, 24, channels=4)
    shown = Image.alpha_composite(Image.new("RGBA", (24, 24), "white"), Image.fromarray(pixels)).convert("RGB")
    assert apart(ask(client, png(pixels)), ask(client, png(np.asarray(shown)))) <= 1


@takes_a_picture
def test_a_picture_that_is_not_square_is_cropped_in_the_middle_or_letterboxed(client: Client, ask: Any) -> None:
    wide = noise_picture(24, 96)
    cut = wide.copy()
    cut[:, :16] = cut[:, -16:] = 0  # outside the middle, and beyond what resizing looks at from there
    square = np.pad(wide, ((36, 36), (0, 0), (0, 0)), constant_values=255)
    cropped, boxed = (ask(client, png(wide), fit=fit) for fit in ("crop", "letterbox"))
    assert apart(cropped, ask(client, png(wide))) <= 1
    assert apart(cropped, ask(client, png(cut))) <= 1
    assert apart(boxed, ask(client, png(square))) <= 1
    assert apart(boxed, ask(client, png(cut), fit="letterbox")) > 1


def test_an_embedding_is_of_what_the_fit_leaves(client: Client) -> None:
    wide = noise_picture(24, 96)
    cut = wide.copy()
    cut[:, :16] = cut[:, -16:] = 0
    square = np.pad(wide, ((36, 36), (0, 0), (0, 0)), constant_values=255)

    def embedded(pixels: Array, fit: Any = "crop") -> Array:
        return client.embed(images=[png(pixels)], fit=fit).images[0].values

    assert gap(embedded(wide), embedded(cut)) < SAME
    assert gap(embedded(wide, "letterbox"), embedded(square)) < SAME
    assert gap(embedded(wide, "letterbox"), embedded(cut, "letterbox")) > SAME


def test_a_text_diff_of_a_caption_with_itself_is_the_reconstruction_at_any_theta(client: Client) -> None:
    picture = png(noise_picture(24, 24))
    frames = client.text_diff(picture, "a cat", "a cat", thetas=[0.0, 0.4, 1.0], seed=1)
    for frame in frames:
        assert apart(frame, varied(client, picture)) <= 1


def test_theta_0_is_the_reconstruction_whatever_the_captions(client: Client) -> None:
    picture = png(noise_picture(24, 24))
    [still] = client.text_diff(picture, "a dog", "a cat", thetas=[0.0], seed=1)
    assert apart(still, varied(client, picture)) <= 1


def test_between_a_picture_and_itself_lies_the_reconstruction_at_any_t(client: Client) -> None:
    picture = png(noise_picture(24, 24))
    for frame in client.interpolate(picture, picture, ts=[0.0, 0.3, 1.0], seed=1):
        assert apart(frame, varied(client, picture)) <= 1


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_a_flat_picture_has_an_inversion_too(client: Client, services: Services, grey: int) -> None:
    flat = np.full((24, 24, 3), grey, np.uint8)
    request = sound(services, "invert")
    request.image.data = png(flat)
    noise = services.result("invert", request)
    assert np.isfinite(noise).all()
    request.image.data = png(flat + np.uint8(9))
    assert gap(noise, services.result("invert", request)) > SAME
    assert apart(varied(client, png(flat)), varied(client, png(flat))) <= 1


@takes_a_picture
def test_a_picture_that_is_none_is_refused_by_name(client: Client, ask: Ask) -> None:
    with pytest.raises(InvalidRequest) as refused:
        ask(client, b"no picture")
    assert [violation.field for violation in refused.value.violations] == ["image.data"]
