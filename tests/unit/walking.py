"""Sampler tables walked in float64, for comparison with whoever else walks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from unclip.diffusion.table import SamplerTable
from unclip.diffusion.update import thresholded

Toy = Callable[[torch.Tensor, int], torch.Tensor]


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def walk(table: SamplerTable, network: Toy, x: torch.Tensor, noise: torch.Tensor | None = None) -> list[torch.Tensor]:
    """Follows a table in float64; noise: one row per step."""
    before, path = torch.zeros_like(x), []
    for i, t in enumerate(table.timesteps):
        out, deviation = network(x, int(t)), torch.as_tensor(table.sigma[i])
        if table.learned:
            out, raw = out.chunk(2, dim=1)
            share = (raw + 1) / 2
            log_variance = share * table.log_variance_high[i] + (1 - share) * table.log_variance_low[i]
            deviation = deviation * torch.exp(log_variance / 2)
        x0 = (table.c_skip[i] * x + table.c_out[i] * out).clamp(-table.clip, table.clip)
        if table.threshold is not None:
            x0 = torch.stack([thresholded(row, table.threshold) for row in x0])
        x = table.c_x[i] * x + table.c_x0[i] * x0 + table.c_x0_before[i] * before
        if noise is not None:
            x = x + deviation * noise[i]
        before = x0
        path.append(x)
    return path


def assert_paths_agree(ours: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor], tolerance: float = 1e-9) -> None:
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other.double(), rtol=tolerance, atol=tolerance)
