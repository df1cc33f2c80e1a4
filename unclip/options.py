"""How one stage samples: the plain value that requests, checkpoints and samplers pass to each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

SamplerName = Literal["ddpm", "ddim", "dpm++2m"]
SAMPLERS: tuple[SamplerName, ...] = get_args(SamplerName)


@dataclass(frozen=True)
class SamplingSettings:
    """A stage's sampling settings with every default filled in.

    sampler: rule of the walk. steps: network evaluations, 1 to 1000. guidance_scale: 0 to 30, 1 follows the
    condition as learned. eta: 0 to 1, fresh noise per DDIM step; other samplers ignore it.
    """

    sampler: SamplerName = "ddpm"
    steps: int = 25
    guidance_scale: float = 1.0
    eta: float = 0.0
