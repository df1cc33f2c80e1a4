"""Previews of latents: their colours, their shape, and that they are small files."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from decoder_svc.previews import preview_map, previewed
from decoder_svc.servicer import preview

CPU, SCALE = torch.device("cpu"), 8
COLOURS = {"red": (1, -1, -1), "green": (-1, 1, -1), "blue": (-1, -1, 1), "white": (1, 1, 1), "black": (-1, -1, -1)}
# Latents that hold a block's mean colour: mixed, in another order, moved, and one that is none of it.
MIX = torch.tensor([[0.2, -0.5, 0.9], [1.0, 0.3, -0.2], [-0.4, 0.8, 0.1], [0.6, 0.6, 0.6]])
OFFSET = torch.tensor([0.1, -0.2, 0.3, 0.0])


def analytic(inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    means = functional.avg_pool2d(inputs["pixels"], SCALE)
    return torch.einsum("lc,bchw->blhw", MIX, means) + OFFSET[:, None, None]


@pytest.fixture(scope="module")
def fitted() -> torch.Tensor:
    return preview_map(analytic, SCALE, CPU)


def flag() -> torch.Tensor:
    """float32 ``[3, 32, 40]``: five stripes, each of one colour, from left to right."""
    stripes = torch.tensor(list(COLOURS.values()), dtype=torch.float32).T
    return stripes.repeat_interleave(SCALE, 1)[:, None].expand(3, 4 * SCALE, 5 * SCALE)


def test_colours_come_out_as_they_went_in(fitted: torch.Tensor) -> None:
    latents = analytic({"pixels": flag()[None]})[0]
    shown = previewed(latents, fitted)
    torch.testing.assert_close(shown, flag()[:, ::SCALE, ::SCALE], rtol=0, atol=0.02)


def test_a_preview_is_a_small_file_of_a_pixel_for_each_latent_in_the_pictures_shape(fitted: torch.Tensor) -> None:
    told = preview(analytic({"pixels": flag()[None]})[0], fitted)
    image = Image.open(io.BytesIO(told.data))
    assert (image.size, told.width, told.height, told.media_type) == ((5, 4), 5, 4, "image/webp")
    assert len(told.data) < 1000


def test_a_preview_of_pixels_is_those_pixels() -> None:
    pixels = flag()
    assert torch.equal(previewed(pixels, None), pixels)


def test_the_map_of_an_encoder_that_tells_nothing_shows_one_colour() -> None:
    def deaf(inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        height, width = inputs["pixels"].shape[2:]
        return torch.zeros((1, 4, height // SCALE, width // SCALE))

    shown = previewed(torch.zeros(4, 2, 2), preview_map(deaf, SCALE, CPU))
    assert shown.isfinite().all()
    assert len(np.unique(shown.flatten(1).T.numpy(), axis=0)) == 1


def test_the_largest_pictures_preview_is_a_small_file(fitted: torch.Tensor) -> None:
    latents = torch.randn((4, 128, 128), generator=torch.Generator().manual_seed(0))
    assert len(preview(latents, fitted).data) < 100_000
