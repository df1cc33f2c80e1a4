"""Small pictures of latents without the autoencoder: each latent's colour is nearly a linear function of it."""

from __future__ import annotations

import torch
from torch.nn import functional

from unclip.networks.interface import Network

BLOCKS = 8  # sides of the picture that the map is fitted to, in blocks of one colour: 256 px, which cost little memory
SOFT = 1e-3  # share of the latents' variance added for stability


@torch.inference_mode()
def preview_map(encoder: Network, scale: int, device: torch.device) -> torch.Tensor:
    """The map of an autoencoder's latents to colours, float32 ``[C + 1, 3]``, the last row its offset.

    Fitted by least squares to what ``encoder`` makes of blocks of colours, each of 4 x 4 latents: how latents hold
    colours is all that is asked here, and no picture is needed for that. scale: pixels to a side of a latent.
    """
    colours = torch.rand((1, 3, BLOCKS, BLOCKS), generator=torch.Generator().manual_seed(0)) * 2 - 1
    small = functional.interpolate(colours, scale_factor=4.0, mode="nearest")
    latents = encoder({"pixels": functional.interpolate(small, scale_factor=float(scale), mode="nearest").to(device)})
    rows = latents[0].float().cpu().flatten(1).T.double()
    rows = torch.cat([rows, torch.ones(len(rows), 1, dtype=torch.float64)], 1)
    wanted = small[0].flatten(1).T.double()
    squares = rows.T @ rows
    soft = SOFT * squares.diagonal().mean() * torch.eye(len(squares), dtype=torch.float64)
    fitted: torch.Tensor = torch.linalg.solve(squares + soft, rows.T @ wanted)
    return fitted.float()


def previewed(predicted: torch.Tensor, latent_rgb: torch.Tensor | None) -> torch.Tensor:
    """What is shown of a prediction on its way: pixels ``[3, H, W]`` as they are, latents ``[C, h, w]`` as a picture of
    one pixel each; about in [-1, 1]."""
    if latent_rgb is None:
        return predicted
    return torch.einsum("chw,cd->dhw", predicted, latent_rgb[:-1]) + latent_rgb[-1][:, None, None]
