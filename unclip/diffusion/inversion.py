"""DDIM inversion: from a picture to the x_T that it decodes from (Dhariwal & Nichol 2021, appendix F)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from unclip.diffusion.respace import UNCLIP_SPACING, Respaced, Spacing
from unclip.diffusion.schedule import NoiseSchedule
from unclip.diffusion.table import Coefficients, Prediction, SamplerTable, to_noise
from unclip.options import INVERSION_PASSES


def inversion_table(
    schedule: NoiseSchedule,
    steps: int,
    *,
    prediction: Prediction = "epsilon",
    spacing: Spacing = UNCLIP_SPACING,
    final_alpha_bar: float = 1.0,
    passes: int = INVERSION_PASSES,
) -> SamplerTable:
    """DDIM run backwards.

    Step i undoes step n - 1 - i of the deterministic DDIM trajectory of as many steps: it evaluates the network at the
    timestep it moves to, on the cleaner x it still has, and takes the noise it finds for the noise the decoding step
    will see. The update is handed the noise itself in the place of x0. What a network says of x and of a timestep is
    noise by the level of that timestep, so that one network walks one way whatever it is asked to predict. Nothing is
    clamped nor thresholded: neither can be undone by the decoding that follows.

    The first pass of a step is all that DDIM inversion is, and exact where steps are many. With few it takes too little
    for noise, so that x_T is no Gaussian and keeps the picture's shapes. Further passes mend that: each evaluates the
    network where the one before it came out, which is where the decoding step will, and puts that noise in the place of
    the other, ``x' = x + c_x0 (noise - noise_before)``: the fixed-point iteration of Pan et al. 2023, arXiv 2309.04907.

    Args:
        passes: of the network in each step, 1 or more; the table has ``steps * passes`` rows.
    """
    timesteps = spacing.timesteps(steps, schedule.num_train_timesteps)
    at = Respaced.noising(schedule, timesteps, final_alpha_bar)
    c_x = np.sqrt(at.alpha_bar_next / at.alpha_bar)
    rule = Coefficients(c_x, np.sqrt(1 - at.alpha_bar_next) - c_x * np.sqrt(1 - at.alpha_bar))
    once = SamplerTable.of(at, rule, to_noise(at.alpha_bar_next, prediction), clip=float("inf"))
    table = once.take(np.repeat(np.arange(steps), passes))
    first = np.arange(steps * passes) % passes == 0
    return replace(
        table,
        c_x=np.where(first, table.c_x, 1.0),
        c_x0_before=np.where(first, 0.0, -table.c_x0),
    )
