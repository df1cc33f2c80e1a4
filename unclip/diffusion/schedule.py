"""The fixed corruption process: how much signal and how much noise remain at each training timestep.

A latent at timestep t is ``x_t = sqrt(alphas_cumprod[t]) * x_0 + sqrt(1 - alphas_cumprod[t]) * noise``
(Ho et al. 2020, arXiv 2006.11239, eq. 4). unCLIP in pixels uses the cosine schedule throughout
(Ramesh et al. 2022, arXiv 2204.06125, appendix C), unCLIP in latents linear ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """Betas of a diffusion process in float64.

    betas: ``[T]``, each in (0, 1): the share of variance replaced by noise at each step.
    alphas_cumprod: ``[T]``, strictly decreasing in (0, 1): the share of signal variance left at t.
    """

    betas: Float64Array
    alphas_cumprod: Float64Array

    @classmethod
    def from_betas(cls, betas: Float64Array) -> NoiseSchedule:
        """A schedule from its ``[T]`` betas."""
        return cls(betas=betas, alphas_cumprod=np.cumprod(1.0 - betas, dtype=np.float64))

    @classmethod
    def linear(cls, num_train_timesteps: int, beta_start: float, beta_end: float) -> NoiseSchedule:
        """Betas evenly spaced, both ends included (Ho et al. 2020, section 4)."""
        return cls.from_betas(np.linspace(beta_start, beta_end, num_train_timesteps))

    @classmethod
    def scaled_linear(cls, num_train_timesteps: int, beta_start: float, beta_end: float) -> NoiseSchedule:
        """Betas whose roots are evenly spaced: that of latent diffusion (Rombach et al. 2022, arXiv 2112.10752)."""
        return cls.from_betas(np.linspace(math.sqrt(beta_start), math.sqrt(beta_end), num_train_timesteps) ** 2)

    @classmethod
    def squaredcos_cap_v2(cls, num_train_timesteps: int = 1000, max_beta: float = 0.999) -> NoiseSchedule:
        """The cosine schedule of Nichol & Dhariwal 2021 (arXiv 2102.09672, eq. 17), betas capped at ``max_beta``."""

        def alpha_bar(share: float) -> float:
            return math.cos((share + 0.008) / 1.008 * math.pi / 2) ** 2

        steps = num_train_timesteps
        betas = [min(1.0 - alpha_bar((i + 1) / steps) / alpha_bar(i / steps), max_beta) for i in range(steps)]
        return cls.from_betas(np.asarray(betas, dtype=np.float64))

    @property
    def num_train_timesteps(self) -> int:
        """T, the number of training timesteps."""
        return len(self.betas)


BETA_SCHEDULES: Mapping[str, Callable[[int, float, float], NoiseSchedule]] = {
    "linear": NoiseSchedule.linear,
    "scaled_linear": NoiseSchedule.scaled_linear,
    "squaredcos_cap_v2": lambda steps, *_: NoiseSchedule.squaredcos_cap_v2(steps),
}
"""By the name in a ``scheduler_config.json``: from (num_train_timesteps, beta_start, beta_end)."""
