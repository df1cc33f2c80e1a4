"""Options of stages, as plain values: how they sample, and how much they take on at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from unclip.enum_names import Quality as Quality
from unclip.enum_names import SamplerName as SamplerName

SAMPLERS: tuple[SamplerName, ...] = get_args(SamplerName)
QUALITIES: tuple[Quality, ...] = get_args(Quality)
FAST_GUIDANCE = (1.0, 8.0)  # scales that the decoder's student takes, which learned no others
INVERSION_PASSES = 2  # of the network, in every step of an inversion

ServiceName = Literal["encoder", "prior", "decoder", "upsampler"]
SERVICES: tuple[ServiceName, ...] = get_args(ServiceName)


@dataclass(frozen=True)
class Room:
    """How much a stage takes on: samples under way at once, samples that may wait, and samples that share a pass."""

    capacity: int = 16
    queue_limit: int = 256
    max_batch: int = 8

    @property
    def places(self) -> int:
        """Samples under way or waiting; one client may have half of them."""
        return self.capacity + self.queue_limit


# By default: an encoder takes several of the largest requests, 64 captions each, at a time.
ROOMS: dict[ServiceName, Room] = {
    "encoder": Room(queue_limit=512, max_batch=16),
    "prior": Room(capacity=32, max_batch=16),
    "decoder": Room(),
    "upsampler": Room(),
}


@dataclass(frozen=True)
class Sizes:
    """Pictures that a model can make, in pixels: widths and heights that are multiples of ``multiple``, from
    ``smallest`` to ``largest``, at most ``max_pixels`` together."""

    multiple: int
    smallest: int
    largest: int
    max_pixels: int

    def __str__(self) -> str:
        return (
            f"multiples of {self.multiple} from {self.smallest} to {self.largest} px, "
            f"{self.max_pixels} pixels together at most"
        )

    def has(self, width: int, height: int) -> bool:
        """Whether it is one of them."""
        each = all(side % self.multiple == 0 and self.smallest <= side <= self.largest for side in (width, height))
        return each and width * height <= self.max_pixels


def inversion_passes(steps: int, report_psnr: bool) -> int:
    """Passes of the network that an inversion takes: those that find the noise, and those that decode it to compare."""
    return steps * (INVERSION_PASSES + (1 if report_psnr else 0))


@dataclass(frozen=True)
class SamplingSettings:
    """A stage's sampling settings with every default filled in.

    sampler: which rule it follows. steps: network evaluations, 1 to 1000. guidance_scale: 0 to 30, 1 follows the
    condition as learned. eta: 0 to 1, fresh noise per DDIM step; other samplers ignore it.
    """

    sampler: SamplerName = "ddpm"
    steps: int = 25
    guidance_scale: float = 1.0
    eta: float = 0.0
