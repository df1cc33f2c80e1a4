"""Fewer steps than were trained on: which timesteps a trajectory visits (Nichol & Dhariwal 2021, section 4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from unclip.diffusion.schedule import Float64Array, NoiseSchedule

SpacingName = Literal["unclip", "leading", "trailing", "linspace"]
Timesteps = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Spacing:
    """How the timesteps of a trajectory lie among those of training.

    name: "unclip" as UnCLIPScheduler has it; "leading", "trailing" and "linspace" as diffusers' DDPMScheduler and
    DDIMScheduler do (Lin et al. 2024, arXiv 2305.08891, table 2). offset: what "leading" adds to each.
    """

    name: SpacingName = "unclip"
    offset: int = 0

    def timesteps(self, steps: int, num_train_timesteps: int = 1000) -> Timesteps:
        """``[steps]`` timesteps, falling. Raises ValueError: steps is not in 1..T."""
        if not 1 <= steps <= num_train_timesteps:
            raise ValueError(f"steps must be 1 to {num_train_timesteps}, got {steps}")
        return SPACINGS[self.name](steps, num_train_timesteps, self.offset)


@dataclass(frozen=True, eq=False)
class Respaced:
    """A noise schedule at the timesteps of a trajectory, in its order; every array has shape ``[n]``.

    timesteps: int64, what the network is given. alpha_bar, alpha_bar_next: the schedule's ``alphas_cumprod`` before and
    after each step; 1 is a picture without noise.
    """

    timesteps: Timesteps
    alpha_bar: Float64Array
    alpha_bar_next: Float64Array

    @classmethod
    def denoising(cls, schedule: NoiseSchedule, timesteps: Timesteps, final_alpha_bar: float = 1.0) -> Respaced:
        """From x_T to x_0, where the last of ``timesteps``, falling, leads to ``final_alpha_bar``."""
        alpha_bar = schedule.alphas_cumprod[timesteps]
        return cls(timesteps, alpha_bar, np.append(alpha_bar[1:], final_alpha_bar))

    @classmethod
    def noising(cls, schedule: NoiseSchedule, timesteps: Timesteps, final_alpha_bar: float = 1.0) -> Respaced:
        """The way back: each step is at the timestep that it moves to."""
        timesteps = timesteps[::-1].copy()
        alpha_bar = schedule.alphas_cumprod[timesteps]
        return cls(timesteps, np.append(final_alpha_bar, alpha_bar[:-1]), alpha_bar)


def _unclip(steps: int, num_train_timesteps: int, _: int) -> Timesteps:
    """From T - 1 down to 0, evenly spaced and rounded. One step alone is the noisiest: there diffusers divides by 0."""
    last = num_train_timesteps - 1
    if steps == 1:
        return np.array([last], dtype=np.int64)
    ratio = last / (steps - 1)
    return (np.arange(steps) * ratio).round()[::-1].astype(np.int64)


def _leading(steps: int, num_train_timesteps: int, offset: int) -> Timesteps:
    """Where the offset leads beyond T - 1, as 1 does with T steps, only as much of it as there is room for."""
    falling = np.arange(steps, dtype=np.int64)[::-1] * (num_train_timesteps // steps)
    return falling + min(offset, num_train_timesteps - 1 - int(falling[0]))


def _trailing(steps: int, num_train_timesteps: int, _: int) -> Timesteps:
    ratio = num_train_timesteps / steps
    # arange rounds its length up, so that a last bit of the ratio may make one too many.
    return np.arange(num_train_timesteps, 0, -ratio)[:steps].round().astype(np.int64) - 1


def _linspace(steps: int, num_train_timesteps: int, _: int) -> Timesteps:
    return np.linspace(0, num_train_timesteps - 1, steps).round()[::-1].astype(np.int64)


SPACINGS: Mapping[SpacingName, Callable[[int, int, int], Timesteps]] = {
    "unclip": _unclip,
    "leading": _leading,
    "trailing": _trailing,
    "linspace": _linspace,
}

UNCLIP_SPACING = Spacing()


def spaced_timesteps(steps: int, num_train_timesteps: int = 1000) -> Timesteps:
    """``[steps]`` timesteps from T - 1 down to 0, as unCLIP spaces them. Raises ValueError: steps is not in 1..T."""
    return UNCLIP_SPACING.timesteps(steps, num_train_timesteps)
