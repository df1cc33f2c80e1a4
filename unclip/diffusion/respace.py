"""Fewer steps than were trained on: which timesteps a trajectory visits (Nichol & Dhariwal 2021, section 4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unclip.diffusion.schedule import Float64Array, NoiseSchedule


@dataclass(frozen=True, eq=False)
class Respaced:
    """A noise schedule at the timesteps of a trajectory, in its order; every array has shape ``[n]``.

    timesteps: int64, what the network is given. alpha_bar, alpha_bar_next: the schedule's ``alphas_cumprod`` before and
    after each step; 1 is a picture without noise.
    """

    timesteps: npt.NDArray[np.int64]
    alpha_bar: Float64Array
    alpha_bar_next: Float64Array

    @classmethod
    def denoising(cls, schedule: NoiseSchedule, steps: int) -> Respaced:
        """From x_T to x_0. Raises ValueError: steps is not in 1..T."""
        timesteps = spaced_timesteps(steps, schedule.num_train_timesteps)
        alpha_bar = schedule.alphas_cumprod[timesteps]
        return cls(timesteps, alpha_bar, np.append(alpha_bar[1:], 1.0))

    @classmethod
    def noising(cls, schedule: NoiseSchedule, steps: int) -> Respaced:
        """From x_0 to x_T: each step is at the timestep that it moves to. Raises ValueError: steps is not in 1..T."""
        timesteps = spaced_timesteps(steps, schedule.num_train_timesteps)[::-1].copy()
        alpha_bar = schedule.alphas_cumprod[timesteps]
        return cls(timesteps, np.append(1.0, alpha_bar[:-1]), alpha_bar)


def spaced_timesteps(steps: int, num_train_timesteps: int = 1000) -> npt.NDArray[np.int64]:
    """``[steps]`` timesteps from T - 1 down to 0, evenly spaced and rounded, as unCLIP spaces them.

    One step alone is the noisiest, T - 1: diffusers' formula divides by zero there.

    Raises:
        ValueError: steps is not in 1..T.
    """
    last = num_train_timesteps - 1
    if not 1 <= steps <= num_train_timesteps:
        raise ValueError(f"steps must be 1 to {num_train_timesteps}, got {steps}")
    if steps == 1:
        return np.array([last], dtype=np.int64)
    ratio = last / (steps - 1)
    return (np.arange(steps) * ratio).round()[::-1].astype(np.int64)
