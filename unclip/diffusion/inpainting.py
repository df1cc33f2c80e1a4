"""Known pixels kept while the rest is painted: RePaint (Lugmayr et al. 2022, arXiv 2201.09865).

After every step the known pixels of x are those of the picture, noised to the step's level (eq. 8a and 8c); the last
step has no noise left, so that they end as they were given. The unknown ones see them through the network alone and
may not fit at the seams. Resampling gives them time: a step is taken, undone by noise and taken again (algorithm 1).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from unclip.diffusion.schedule import NoiseSchedule
from unclip.diffusion.table import SamplerTable


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of a picture. pixels: float32 ``[...]``; mask: bool, true where known, of the same shape."""

    pixels: torch.Tensor
    mask: torch.Tensor

    @classmethod
    def of(cls, pixels: torch.Tensor, mask: torch.Tensor) -> Known:
        """mask: bool of any shape that broadcasts to that of ``pixels``, such as ``[H, W]`` to ``[3, H, W]``."""
        return cls(pixels, mask.expand_as(pixels))

    def keep(self, x: torch.Tensor) -> torch.Tensor:
        """``x`` with the known pixels as they are known, bit for bit."""
        return torch.where(self.mask, self.pixels, x)


def resampled(table: SamplerTable, schedule: NoiseSchedule, resampling: int) -> SamplerTable:
    """``table``, from x_T to x_0, with every step but the last taken ``resampling`` times, 1 or more.

    Between two takes x jumps back to the level it came from,

        x_t = sqrt(bar_t / bar_s) x_s + sqrt(1 - bar_t / bar_s) noise,

    which needs no network and is therefore composed with the step before it: a Gaussian of a Gaussian is one. The
    last step is taken once, as in the paper's algorithm: from what it leaves there is no jump back.
    A repeated step finds a prediction from before the jump in x0_before, which is no history of the x it stands at:
    it is taken without, that is in first order, where c_x0_before x0_before is c_x0_before x0.

    Raises:
        ValueError: resampling is less than 1.
    """
    if resampling < 1:
        raise ValueError(f"resampling must be at least 1, got {resampling}")
    count = len(table)
    if resampling == 1 or count == 1:
        return table
    takes = np.repeat(np.arange(count), [resampling] * (count - 1) + [1])
    first = np.diff(takes, prepend=-1) > 0
    jumps = np.diff(takes, append=count) == 0  # all but the last take of a step
    here = schedule.alphas_cumprod[table.timesteps]
    after = np.append(here[1:], table.known_signal[-1] ** 2)
    back = np.where(jumps, np.sqrt(here / after)[takes], 1.0)
    level = np.where(jumps, here[takes], after[takes])
    taken = table.take(takes)
    c_x0_before = np.where(first, taken.c_x0_before, 0.0)
    c_x0 = taken.c_x0 + taken.c_x0_before - c_x0_before
    return replace(
        taken,
        c_x=back * taken.c_x,
        c_x0=back * c_x0,
        c_x0_before=back * c_x0_before,
        sigma=back * taken.sigma,
        renoise=np.sqrt(1 - back**2),
        known_signal=np.sqrt(level),
        known_sigma=np.sqrt(1 - level),
    )
