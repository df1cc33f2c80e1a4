"""What a valid request asks for, with every default filled in: the value from which pictures, and recipes, follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from unclip.options import SamplingSettings

FileFormat = Literal["png", "jpeg", "webp"]

INT64 = 1 << 64


def seed_of_image(seed: int, index: int) -> int:
    """Seed of image ``index`` of a request with ``seed``: their sum, wrapped to int64 as two's complement does."""
    return (seed + index + (INT64 >> 1)) % INT64 - (INT64 >> 1)


@dataclass(frozen=True)
class SourceImage:
    """A picture that came with a request, checked: the file's bytes, and their sha256 in hex."""

    data: bytes
    digest: str


@dataclass(frozen=True)
class Output:
    """What happens to every base-size sample of a request: how it is upsampled, its file format, its previews.

    preview_interval: decoder steps between previews, 0 to 1000; 0 sends none.
    """

    upsampler: SamplingSettings
    format: FileFormat = "png"
    preview_interval: int = 0


@dataclass(frozen=True)
class GeneratePlan:
    """Pictures of ``caption``, one per seed, each from the best of ``candidates`` (1 to 16) prior samples."""

    caption: str
    seeds: tuple[int, ...]
    candidates: int
    prior: SamplingSettings
    decoder: SamplingSettings
    output: Output


@dataclass(frozen=True)
class VaryPlan:
    """Variations of ``image``, one per seed. ``decoder.eta`` says how far each strays; the sampler is DDIM."""

    image: SourceImage
    seeds: tuple[int, ...]
    start: Literal["inverted", "random"]
    decoder: SamplingSettings
    output: Output


@dataclass(frozen=True)
class TextDiffPlan:
    """Frames of ``image`` on its way from the caption ``before`` to ``after``, one per theta (0 to 1), of one seed."""

    image: SourceImage
    before: str
    after: str
    thetas: tuple[float, ...]
    seed: int
    decoder: SamplingSettings
    output: Output

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of each frame: the same, so that nothing but the embedding changes."""
        return (self.seed,) * len(self.thetas)


Plan = GeneratePlan | VaryPlan | TextDiffPlan
