"""Classifier-free guidance (Ho & Salimans 2022, arXiv 2207.12598)."""

from __future__ import annotations

import math

import torch

LOWEST = 10_000.0  # parts of the highest frequency, as for timesteps


def guided(conditional: torch.Tensor, unconditional: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """``u + s (c - u)``: eq. 6 with s = w + 1.

    conditional, unconditional: ``[B, ...]``; scale: ``[B]``, 1 returns the conditional output.
    """
    per_row = scale.reshape(-1, *[1] * (conditional.dim() - 1))
    return unconditional + per_row * (conditional - unconditional)


def scale_embedding(scale: torch.Tensor, dim: int) -> torch.Tensor:
    """What a network distilled from guidance is told of its scale (Meng et al. 2022, arXiv 2210.03142).

    scale: float32 ``[B]``. Returns float32 ``[B, dim]``: sines, then cosines, as diffusers' latent consistency
    pipelines embed theirs.
    """
    half = dim // 2
    falling = torch.arange(half, dtype=torch.float32, device=scale.device) * -(math.log(LOWEST) / (half - 1))
    angles = 1000.0 * scale[:, None] * torch.exp(falling)
    return torch.nn.functional.pad(torch.cat([torch.sin(angles), torch.cos(angles)], dim=1), (0, dim % 2))
