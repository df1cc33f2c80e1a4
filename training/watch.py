"""Sample sheets: what a diffusion network makes while it learns."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image

from unclip.diffusion.respace import spaced_timesteps
from unclip.diffusion.schedule import NoiseSchedule
from unclip.diffusion.table import Prediction, to_x0

Network = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def denoised(
    network: Network,
    like: torch.Tensor,
    schedule: NoiseSchedule,
    steps: int,
    prediction: Prediction,
    pooled: int = 1,
) -> torch.Tensor:
    """DDIM (Song et al. 2021, arXiv 2010.02502, eq. 12, eta 0) from noise of seed 0, pictures shaped like ``like``.

    network: (x_t ``[B, 3, H, H]``, t ``[B]``) to what it predicts. pooled: the noise is divided by that.
    """
    x = torch.randn(like.shape, generator=torch.Generator().manual_seed(0)).to(like) / pooled
    times = [int(t) for t in spaced_timesteps(steps, schedule.num_train_timesteps)]
    x0 = x
    for t, after in zip(times, [*times[1:], -1], strict=True):
        bar = float(schedule.alphas_cumprod[t])
        bar_after = float(schedule.alphas_cumprod[after]) if after >= 0 else 1.0
        out = network(x, torch.full((len(x),), t, device=x.device))
        of_x, of_out = (float(coefficient) for coefficient in to_x0(np.array(bar), prediction))
        x0 = (of_x * x + of_out * out).clamp(-1, 1)
        noise = (x - bar**0.5 * x0) / (1 - bar) ** 0.5
        x = bar_after**0.5 * x0 + (1 - bar_after) ** 0.5 * noise
    return x0


def tiled(rows: Sequence[torch.Tensor], columns: int, least: int = 96) -> Image.Image:
    """Batches ``[B, 3, H, H]`` in [-1, 1] under one another, item by item, ``columns`` wide, at least ``least`` px."""
    count, side = len(rows[0]), rows[0].shape[-1]
    lines = [row[start : start + columns] for start in range(0, count, columns) for row in rows]
    sheet = np.full((len(lines) * side, columns * side, 3), 255, np.uint8)
    for y, line in enumerate(lines):
        shown = ((line.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        for x, picture in enumerate(shown):
            sheet[y * side : (y + 1) * side, x * side : (x + 1) * side] = picture
    factor = -(-least // side)
    return Image.fromarray(sheet).resize((sheet.shape[1] * factor, sheet.shape[0] * factor), Image.Resampling.NEAREST)
