"""An autoencoder's passes in bounded memory: few pictures at a time, and large ones in tiles.

Its maps are as large as the picture, half a gigabyte each at `AT_ONCE`, where the decoder's are an eighth of its sides.
So what one pass holds is counted in latents, however large a picture is and however many share a tick.

Tiles fade into one another where they overlap, which hides what they do not agree about: norms and attention see all of
a tile, where they would see all of the picture.
"""

from __future__ import annotations

import itertools
import math

import torch

from unclip.networks.interface import Network, Tensors

# Latents of one pass: 1024 x 1024 px, or 1536 x 640, the largest pictures of either family. These are not tiled: norms
# that see only a tile change the picture, though nobody sees where tiles met.
AT_ONCE = 128 * 128
SIDE = 128  # of the largest tile, in latents
OVERLAP = 24  # of neighbouring tiles at least, in latents


def bounded(network: Network, port: str, pixels_in: int, pixels_out: int) -> Network:
    """``network``, half an autoencoder, with at most `AT_ONCE` latents in a pass.

    port: its only input, ``[B, C, H, W]``. pixels_in, pixels_out: to a side of a latent, of its input and its output;
    1 where that is latents.
    """

    def few_at_once(batch: torch.Tensor) -> torch.Tensor:
        latents = batch[0, 0].numel() // pixels_in**2
        return torch.cat([network({port: some}) for some in torch.split(batch, max(1, AT_ONCE // latents))])

    def forward(inputs: Tensors) -> torch.Tensor:
        batch = inputs[port]
        height, width = (side // pixels_in for side in batch.shape[2:])
        if height * width <= AT_ONCE:
            return few_at_once(batch)
        whole: torch.Tensor | None = None
        for rows, down in tiles_of(height, pixels_out):
            for columns, across in tiles_of(width, pixels_out):
                made = few_at_once(batch[:, :, scaled(rows, pixels_in), scaled(columns, pixels_in)])
                if whole is None:
                    whole = made.new_zeros((*made.shape[:2], height * pixels_out, width * pixels_out))
                share = torch.outer(down, across).to(made)
                whole[:, :, scaled(rows, pixels_out), scaled(columns, pixels_out)] += share * made
        assert whole is not None
        return whole

    return forward


def tiles_of(length: int, pixels: int) -> list[tuple[slice, torch.Tensor]]:
    """Tiles along an axis of ``length`` latents, all of one size, each with its share of what is made of it, float32
    ``[pixels * size]``, 0 to 1. The shares of a place are 1 together."""
    count = max(1, math.ceil((length - OVERLAP) / (SIDE - OVERLAP)))
    size = math.ceil((length + (count - 1) * OVERLAP) / count)
    starts = [index * (length - size) // max(1, count - 1) for index in range(count)]
    tiles = [(slice(start, start + size), torch.ones(size * pixels)) for start in starts]
    for (before, falling), (after, rising) in itertools.pairwise(tiles):
        common = (before.stop - after.start) * pixels
        rise = (torch.arange(common) + 0.5) / common
        falling[-common:], rising[:common] = 1 - rise, rise
    return tiles


def scaled(part: slice, by: int) -> slice:
    """The same part of an axis with ``by`` times as many places."""
    return slice(part.start * by, part.stop * by)
