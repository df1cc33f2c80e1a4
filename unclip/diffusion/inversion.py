"""DDIM inversion: from a picture to the x_T that it decodes from (Dhariwal & Nichol 2021, appendix F)."""

from __future__ import annotations

import numpy as np

from unclip.diffusion.respace import Respaced
from unclip.diffusion.schedule import NoiseSchedule
from unclip.diffusion.table import Coefficients, SamplerTable


def inversion_table(schedule: NoiseSchedule, steps: int) -> SamplerTable:
    """DDIM run backwards, for a network that predicts noise.

    Step i undoes step n - 1 - i of the deterministic DDIM trajectory of as many steps: it evaluates the network at the
    timestep it moves to, on the cleaner x it still has, and takes that noise for the noise the decoding step will
    see. The update is handed the noise itself in the place of x0, as if that were what the network predicts. Nothing is
    clamped: a clamp cannot be undone by the decoding that follows.
    """
    at = Respaced.noising(schedule, steps)
    c_x = np.sqrt(at.alpha_bar_next / at.alpha_bar)
    rule = Coefficients(c_x, np.sqrt(1 - at.alpha_bar_next) - c_x * np.sqrt(1 - at.alpha_bar))
    return SamplerTable.of(at, rule, "sample", clip=float("inf"))
