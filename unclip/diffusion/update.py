"""The one update all samplers share, over rows that stand at different steps of different tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from unclip.diffusion.inpainting import Known
from unclip.diffusion.noise import NoiseKey, Stream, gaussian
from unclip.diffusion.table import SamplerTable, Threshold

COLUMNS = ("c_skip", "c_out", "c_x", "c_x0", "c_x0_before", "sigma", "renoise", "log_variance_low", "log_variance_high")


def advance(
    x: torch.Tensor,
    out: torch.Tensor,
    x0_before: torch.Tensor,
    tables: Sequence[SamplerTable],
    steps: Sequence[int],
    noise_of: Sequence[tuple[int, Stream, int]],
    known: Sequence[Known | None] = (),
) -> tuple[torch.Tensor, torch.Tensor]:
    """One step of every row.

    Args:
        x: float32 ``[B, ...]``, where the rows stand.
        out: float32 ``[B, ...]``, what the network says of them after guidance; with learned variance the channels
            are doubled, the second half saying where between its bounds the log-variance lies, -1 at the lower one.
        x0_before: float32 ``[B, ...]``, the rows' previous predictions; anything finite on a first step.
        tables, steps: each row's table and its step from 0.
        noise_of: each row's (seed, stream, row of the request).
        known: what is known of each row's picture, kept as `unclip.diffusion.inpainting` says; () is nothing of any.

    Returns:
        (x after the step, the clamped or thresholded x0 with known pixels in their place), both float32 ``[B, ...]``.
    """
    # Stacked on the host and sent once: ten small copies per step would cost more than the arithmetic.
    at = list(zip(tables, steps, strict=True))
    columns = [[getattr(table, name)[step] for table, step in at] for name in COLUMNS]
    host = np.array([*columns, [table.clip for table in tables]])
    c_skip, c_out, c_x, c_x0, c_x0_before, sigma, renoise, low, high, clip = (
        _column(value, x) for value in torch.from_numpy(host).to(x.device, torch.float32)
    )
    learned = [table.learned for table in tables]
    if out.shape[1] == 2 * x.shape[1]:
        out, raw = out.chunk(2, dim=1)
        share = (raw + 1) / 2
        deviation = torch.exp(0.5 * (share * high + (1 - share) * low))
        sigma = torch.where(_column(torch.tensor(learned, device=x.device), x), sigma * deviation, sigma)
    x0 = (c_skip * x + c_out * out).clamp(-clip, clip)
    for i, table in enumerate(tables):
        if table.threshold is not None:
            x0[i] = thresholded(x0[i], table.threshold)
    after = c_x * x + c_x0 * x0 + c_x0_before * x0_before
    if any(table.renoise[step] != 0 for table, step in at):
        sigma = torch.hypot(sigma, renoise)
    noisy = [i for i, (table, step) in enumerate(at) if table.sigma[step] != 0 or table.renoise[step] != 0]
    painted = [i for i, row in enumerate(known) if row is not None]
    drawing = sorted({*noisy, *(i for i in painted if tables[i].known_sigma[steps[i]] != 0)})
    drawn: dict[int, torch.Tensor] = {}
    if drawing:
        keys = [NoiseKey(*noise_of[i], step=steps[i] + 1) for i in drawing]
        drawn = dict(zip(drawing, gaussian(keys, x.shape[1:], x.device), strict=True))
    if noisy:
        # Only these rows: elsewhere a learned deviation may be infinite, and 0 times that is not 0.
        after[noisy] += sigma[noisy] * torch.stack([drawn[i] for i in noisy])
    for i in painted:
        row, (table, step) = known[i], at[i]
        assert row is not None
        level = float(table.known_signal[step]) * row.pixels
        if i in drawn:  # a pixel is known or unknown, so that one field of noise serves both
            level = level + float(table.known_sigma[step]) * drawn[i]
        after[i] = torch.where(row.mask, level, after[i])
        x0[i] = row.keep(x0[i])
    return after, x0


def thresholded(x0: torch.Tensor, threshold: Threshold) -> torch.Tensor:
    """One sample ``[...]``, dynamically thresholded: within [-1, 1]."""
    limit = torch.quantile(x0.abs().flatten(), threshold.ratio).clamp(1, threshold.sample_max_value)
    return x0.clamp(-limit, limit) / limit


def _column(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """``[B]`` in the shape that multiplies ``[B, ...]``."""
    return values.reshape(-1, *[1] * (like.dim() - 1))
