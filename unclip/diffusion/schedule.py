"""The fixed corruption process: how much signal and how much noise remain at each training timestep.

A latent at timestep t is ``x_t = sqrt(alphas_cumprod[t]) * x_0 + sqrt(1 - alphas_cumprod[t]) * noise``
(Ho et al. 2020, arXiv 2006.11239, eq. 4). unCLIP uses the cosine schedule throughout
(Ramesh et al. 2022, arXiv 2204.06125, appendix C).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unclip.errors import CheckpointError

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
    def squaredcos_cap_v2(cls, num_train_timesteps: int = 1000, max_beta: float = 0.999) -> NoiseSchedule:
        """The cosine schedule of Nichol & Dhariwal 2021 (arXiv 2102.09672, eq. 17), betas capped at ``max_beta``."""

        def alpha_bar(share: float) -> float:
            return math.cos((share + 0.008) / 1.008 * math.pi / 2) ** 2

        steps = num_train_timesteps
        betas = [min(1.0 - alpha_bar((i + 1) / steps) / alpha_bar(i / steps), max_beta) for i in range(steps)]
        return cls.from_betas(np.asarray(betas, dtype=np.float64))

    @classmethod
    def from_config(cls, config: Mapping[str, object]) -> NoiseSchedule:
        """The schedule a ``scheduler_config.json`` asks for.

        UnCLIPScheduler's config names no beta schedule: the cosine one is the only one it knows.

        Raises:
            CheckpointError: the config asks for a schedule unCLIP checkpoints do not use.
        """
        name = config.get("beta_schedule", "squaredcos_cap_v2")
        steps = config.get("num_train_timesteps", 1000)
        if name != "squaredcos_cap_v2" or not isinstance(steps, int) or steps < 2:
            raise CheckpointError(
                f"scheduler_config.json: beta_schedule must be squaredcos_cap_v2 over at least 2 steps, "
                f"got {name!r} over {steps!r}"
            )
        return cls.squaredcos_cap_v2(steps)

    @property
    def num_train_timesteps(self) -> int:
        """T, the number of training timesteps."""
        return len(self.betas)


def clip_of(config: Mapping[str, object]) -> float:
    """How far from 0 a predicted x_0 may lie by a ``scheduler_config.json``: infinity where it clips nothing.

    Raises:
        CheckpointError: it is no such setting.
    """
    clips, limit = config.get("clip_sample", True), config.get("clip_sample_range")
    limit = 1.0 if limit is None else limit
    if not isinstance(clips, bool) or isinstance(limit, bool) or not isinstance(limit, (int, float)) or not limit > 0:
        raise CheckpointError(
            f"scheduler_config.json: clip_sample must be true or false and clip_sample_range more than 0, "
            f"got {clips!r} and {limit!r}"
        )
    return float(limit) if clips else math.inf
