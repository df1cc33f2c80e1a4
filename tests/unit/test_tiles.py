"""An autoencoder's passes hold no more than so many latents, and what is made of tiles fits together."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch.nn import functional

from decoder_svc import tiles
from decoder_svc.tiles import AT_ONCE, OVERLAP, SIDE, bounded, tiles_of
from tests.stable_unclip import configs, toy
from tests.tiny import WIDTH, stir

SCALE = 8


class Enlarging:
    """Makes ``SCALE`` x ``SCALE`` pixels of each latent; remembers the shapes it was given."""

    def __init__(self) -> None:
        self.shapes: list[torch.Size] = []

    def __call__(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        self.shapes.append(inputs["latents"].shape)
        return functional.interpolate(inputs["latents"], scale_factor=float(SCALE), mode="nearest")


@pytest.mark.parametrize("shape", [(8, 4, 64, 64), (3, 4, 96, 96), (2, 4, 128, 128), (1, 4, 32, 192), (2, 4, 97, 300)])
def test_no_pass_holds_more_than_the_limit_and_the_whole_is_what_it_would_be(shape: tuple[int, ...]) -> None:
    latents, network = torch.randn(shape, generator=torch.Generator().manual_seed(0)), Enlarging()
    made = bounded(network, "latents", 1, SCALE)({"latents": latents})
    assert all(rows * height * width <= AT_ONCE for rows, _, height, width in network.shapes)
    torch.testing.assert_close(made, Enlarging()({"latents": latents}), rtol=0, atol=1e-6)
    if shape[2] * shape[3] <= AT_ONCE:
        assert {tuple(size[1:]) for size in network.shapes} == {shape[1:]}


def test_pixels_are_read_in_tiles_of_whole_latents() -> None:
    seen: list[torch.Size] = []

    def reading(inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        seen.append(inputs["pixels"].shape)
        return functional.avg_pool2d(inputs["pixels"], SCALE)

    pixels = torch.randn((1, 3, 136 * SCALE, 152 * SCALE), generator=torch.Generator().manual_seed(0))
    latents = bounded(reading, "pixels", SCALE, 1)({"pixels": pixels})
    torch.testing.assert_close(latents, functional.avg_pool2d(pixels, SCALE), rtol=0, atol=1e-6)
    assert len(seen) == 4
    assert all(side % SCALE == 0 and side <= SIDE * SCALE for size in seen for side in size[2:])


@pytest.mark.parametrize("pixels", [1, SCALE])
def test_tiles_of_any_length_share_every_place_and_overlap_enough(pixels: int) -> None:
    for length in range(1, 400):
        cut, shares = tiles_of(length, pixels), torch.zeros(length * pixels)
        for part, share in cut:
            assert part.stop - part.start == len(share) // pixels <= SIDE
            assert share.min() >= 0
            shares[part.start * pixels : part.stop * pixels] += share
        torch.testing.assert_close(shares, torch.ones_like(shares))
        assert (cut[0][0].start, cut[-1][0].stop) == (0, length)
        assert all(one[0].stop - other[0].start >= OVERLAP for one, other in itertools.pairwise(cut))


@torch.inference_mode()
def test_tiles_leave_no_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where tiles meet, a smooth picture's neighbouring pixels differ by as much as they do without tiles."""
    for name, latents in (("AT_ONCE", 24 * 24), ("SIDE", 24), ("OVERLAP", 6)):  # a quarter of all: it is a toy
        monkeypatch.setattr(tiles, name, latents)
    torch.manual_seed(0)
    network = AutoencoderKL.from_config(configs(toy(WIDTH))["vae"]).eval()
    stir(network)
    smooth = functional.interpolate(torch.randn(1, 4, 10, 10), size=(40, 40), mode="bicubic")

    def decode(inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        made: torch.Tensor = network.decode(inputs["latents"]).sample
        return made

    whole, tiled = decode({"latents": smooth}), bounded(decode, "latents", 1, SCALE)({"latents": smooth})
    [(first, _), (second, _)] = tiles_of(40, SCALE)
    meet = slice(second.start * SCALE, first.stop * SCALE)
    for axis in (2, 3):
        there, here = (picture.narrow(axis, meet.start, meet.stop - meet.start) for picture in (whole, tiled))
        without, with_tiles = (float(part.diff(dim=axis).abs().mean()) for part in (there, here))
        assert with_tiles <= 1.1 * without
