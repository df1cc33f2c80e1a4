"""The one update all samplers share, over rows that stand at different steps of different tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from unclip.diffusion.inpainting import Known
from unclip.diffusion.noise import NoiseKey, Stream, gaussian_of, words_of
from unclip.diffusion.sending import sent
from unclip.diffusion.table import SamplerTable, Threshold

COLUMNS = ("c_skip", "c_out", "c_x", "c_x0", "c_x0_before", "sigma", "renoise", "log_variance_low", "log_variance_high")


# Drawing a few thousand numbers costs a hundred small operations, not their numbers: that many are drawn at once, for
# several steps, of which no more than AHEAD.
NUMBERS, AHEAD = 1 << 15, 8


@dataclass(eq=False)
class Course:
    """A trajectory's table and noise on the device where its steps are taken, so that a step sends nothing there.

    columns: float32 ``[n, 12]``, `COLUMNS`, then clip, and 1 where the variance is learned and where noise is added.
    timesteps: int64 ``[n]``. noise: int64 ``[n, 4]``, the words of each step's noise. drawn: the noise of some steps,
    by step.
    """

    table: SamplerTable
    columns: torch.Tensor
    timesteps: torch.Tensor
    noise: torch.Tensor
    drawn: dict[int, torch.Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, table: SamplerTable, noise_of: tuple[int, Stream, int], device: torch.device) -> Course:
        """noise_of: (seed, stream, row of the request)."""
        count = len(table)
        noisy = (table.sigma != 0) | (table.renoise != 0)
        told = [getattr(table, name) for name in COLUMNS]
        columns = np.stack([*told, np.full(count, table.clip), np.full(count, float(table.learned)), noisy], 1)
        words = words_of([NoiseKey(*noise_of, step=step + 1) for step in range(count)])
        return cls(
            table,
            sent(torch.from_numpy(columns).float(), device),
            sent(torch.from_numpy(table.timesteps).long(), device),
            sent(words, device),
        )


def advance(
    x: torch.Tensor,
    out: torch.Tensor,
    x0_before: torch.Tensor,
    courses: Sequence[Course],
    steps: Sequence[int],
    known: Sequence[Known | None] = (),
) -> tuple[torch.Tensor, torch.Tensor]:
    """One step of every row. On a GPU it launches kernels and waits for none of them.

    Args:
        x: float32 ``[B, ...]``, where the rows stand.
        out: float32 ``[B, ...]``, what the network says of them after guidance; with learned variance the channels
            are doubled, the second half saying where between its bounds the log-variance lies, -1 at the lower one.
        x0_before: float32 ``[B, ...]``, the rows' previous predictions; anything finite on a first step.
        courses, steps: each row's course and its step from 0.
        known: what is known of each row's picture, kept as `unclip.diffusion.inpainting` says; () is nothing of any.

    Returns:
        (x after the step, the clamped or thresholded x0 with known pixels in their place), both float32 ``[B, ...]``.
    """
    tables, at = [course.table for course in courses], list(zip(courses, steps, strict=True))
    columns = torch.stack([course.columns[step] for course, step in at])
    c_skip, c_out, c_x, c_x0, c_x0_before, sigma, renoise, low, high, clip, learned, noisy = (
        _column(column, x) for column in columns.unbind(1)
    )
    if out.shape[1] == 2 * x.shape[1]:
        out, raw = out.chunk(2, dim=1)
        share = (raw + 1) / 2
        deviation = torch.exp(0.5 * (share * high + (1 - share) * low))
        sigma = torch.where(learned > 0, sigma * deviation, sigma)
    x0 = (c_skip * x + c_out * out).clamp(-clip, clip)
    for i, table in enumerate(tables):
        if table.threshold is not None:
            x0[i] = thresholded(x0[i], table.threshold)
    after = c_x * x + c_x0 * x0 + c_x0_before * x0_before
    if any(course.table.renoise[step] != 0 for course, step in at):
        sigma = torch.hypot(sigma, renoise)
    adding = [table.sigma[step] != 0 or table.renoise[step] != 0 for table, step in zip(tables, steps, strict=True)]
    painted = [i for i, row in enumerate(known) if row is not None]
    drawing = sorted(
        {i for i, adds in enumerate(adding) if adds}
        | {i for i in painted if tables[i].known_sigma[steps[i]] != 0 and known[i].noise is None}  # type: ignore[union-attr]
    )
    drawn = dict(zip(drawing, _noise([at[i] for i in drawing], x.shape[1:]), strict=True))
    if any(adding):
        # Elsewhere a learned deviation may be infinite, and 0 times that is not 0.
        none = torch.zeros_like(x[0])
        noise = torch.stack([drawn[i] if adds else none for i, adds in enumerate(adding)])
        after = after + torch.where(noisy > 0, sigma, 0) * noise
    for i in painted:
        row, table, step = known[i], tables[i], steps[i]
        assert row is not None
        level = float(table.known_signal[step]) * row.pixels
        given = drawn.get(i) if row.noise is None else row.noise
        if given is not None:  # a pixel is known or unknown, so that one field of noise serves both
            level = level + float(table.known_sigma[step]) * given
        after[i] = torch.where(row.mask, level, after[i])
        x0[i] = row.keep(x0[i])
    return after, x0


def _noise(at: Sequence[tuple[Course, int]], shape: Sequence[int]) -> list[torch.Tensor]:
    """Each course's noise of its step, float32 of that shape."""
    ahead = max(1, min(AHEAD, NUMBERS // math.prod(shape)))
    wanting = [(course, step) for course, step in at if step not in course.drawn]
    words = [course.noise[step : step + ahead] for course, step in wanting]
    if words:
        lengths = [len(each) for each in words]
        for (course, step), some in zip(
            wanting, torch.split(gaussian_of(torch.cat(words), shape), lengths), strict=True
        ):
            course.drawn = dict(enumerate(some, step))
    return [course.drawn[step] for course, step in at]


def thresholded(x0: torch.Tensor, threshold: Threshold) -> torch.Tensor:
    """One sample ``[...]``, dynamically thresholded: within [-1, 1]."""
    limit = torch.quantile(x0.abs().flatten(), threshold.ratio).clamp(1, threshold.sample_max_value)
    return x0.clamp(-limit, limit) / limit


def _column(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """``[B]`` in the shape that multiplies ``[B, ...]``."""
    return values.reshape(-1, *[1] * (like.dim() - 1))
