"""What a valid request asks for, with every default filled in: the value from which pictures, and recipes, follow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from gateway.requests.fitting import Size, Subject
from unclip.api.gateway.v1 import gateway_pb2
from unclip.enum_names import FileFormat, Fit, Start
from unclip.options import SamplingSettings
from unclip.wire.embeddings import Embedding
from unclip.wire.notices import Notice

INT64 = 1 << 64


def seed_of_image(seed: int, index: int) -> int:
    """Seed of image ``index`` of a request with ``seed``: their sum, wrapped to int64 as two's complement does."""
    return (seed + index + (INT64 >> 1)) % INT64 - (INT64 >> 1)


@dataclass(frozen=True)
class SourceImage:
    """A picture that came with a request, checked.

    data: the file for the stages, the one that came unless it had to be letterboxed. digest: sha256, in hex, of the one
    that came. unusable_profile: whether that has an ICC profile which nothing can be done with. boxed: the file for the
    decoder where that is another, since what it paints is no square and what CLIP sees is one.
    """

    data: bytes
    digest: str
    unusable_profile: bool = False
    boxed: bytes | None = None

    @property
    def canvas(self) -> bytes:
        """The file whose noise is looked for."""
        return self.boxed or self.data


@dataclass(frozen=True)
class Output:
    """What happens to every base-size sample of a request: how it is upsampled, its file format, its previews.

    preview_interval: decoder steps between previews, 0 to 1000; 0 sends none. size: of the file's side in pixels, None
    for that of what is painted. width, height: of what is painted, in pixels, None for the stack's own square. area:
    pixels of it, for each of that square.
    """

    upsampler: SamplingSettings
    format: FileFormat = "png"
    preview_interval: int = 0
    size: int | None = None
    width: int | None = None
    height: int | None = None
    area: float = 1.0

    def painted(self, side: int) -> Size:
        """Width and height of what is painted by a stage whose own squares have ``side`` pixels a side."""
        return self.width or side, self.height or side

    def filed(self, side: int) -> Size:
        """Width and height of the files, where the last stage has such squares."""
        return (self.size, self.size) if self.size else self.painted(side)


@dataclass(frozen=True, kw_only=True)
class Planned:
    """request: as it came, with every default filled in and its pictures left out. Recipes are copies of it, and what
    a stage's task has under the same name is taken from it. notices: what there is to say of the request itself."""

    request: gateway_pb2.StreamRequest = field(default_factory=gateway_pb2.StreamRequest, compare=False, repr=False)

    notices: tuple[Notice, ...] = ()

    @property
    def asked(self) -> Any:
        """The message inside: a GenerateRequest, VaryRequest …"""
        return getattr(self.request, self.request.WhichOneof("request") or "generate")


@dataclass(frozen=True)
class GeneratePlan(Planned):
    """Pictures of ``caption``, one per seed, each from the best of ``candidates`` (1 to 16) prior samples.

    embedding: of every picture, where the prior is not asked for one; the caption may then be empty.
    negative_caption: what guidance steers away from; empty for nothing in particular. away_sampled: whether the
    decoder steers away from an embedding that the prior samples of it. fast: whether its student paints. keep: how many
    pictures to deliver, those that CLIP finds closest to the caption; None delivers all, unranked.
    """

    caption: str
    seeds: tuple[int, ...]
    candidates: int
    prior: SamplingSettings
    decoder: SamplingSettings
    output: Output
    negative_caption: str = ""
    keep: int | None = None
    embedding: Embedding | None = None
    away_sampled: bool = False
    fast: bool = False

    @property
    def prior_calls(self) -> int:
        """Of the prior, for each picture."""
        return (self.embedding is None) + self.away_sampled

    @property
    def sources(self) -> tuple[SourceImage, ...]:
        """The pictures that came with the request: none."""
        return ()


@dataclass(frozen=True)
class VaryPlan(Planned):
    """Variations of ``image``, one per seed. ``decoder.eta`` says how far each strays; the sampler is DDIM.

    report_psnr, here and below: measure the inversion, which changes no picture.
    """

    image: SourceImage
    seeds: tuple[int, ...]
    start: Start
    decoder: SamplingSettings
    output: Output
    fit: Fit = "crop"
    report_psnr: bool = False

    @property
    def sources(self) -> tuple[SourceImage, ...]:
        """The picture that came with the request."""
        return (self.image,)


@dataclass(frozen=True)
class TextDiffPlan(Planned):
    """Frames of ``image`` on its way from the caption ``before`` to ``after``, one per theta (0 to 1), of one seed."""

    image: SourceImage
    before: str
    after: str
    thetas: tuple[float, ...]
    seed: int
    decoder: SamplingSettings
    output: Output
    fit: Fit = "crop"
    report_psnr: bool = False

    @property
    def sources(self) -> tuple[SourceImage, ...]:
        """The picture that came with the request."""
        return (self.image,)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of each frame: the same, so that nothing but the embedding changes."""
        return (self.seed,) * len(self.thetas)


@dataclass(frozen=True)
class InterpolatePlan(Planned):
    """Frames between ``image`` and ``to_image``, or where that is None ``to_caption``, one per t (0 to 1), of one seed.

    candidates, prior: how the caption's embedding is sampled.
    """

    image: SourceImage
    to_image: SourceImage | None
    to_caption: str
    ts: tuple[float, ...]
    start: Start
    seed: int
    candidates: int
    prior: SamplingSettings
    decoder: SamplingSettings
    output: Output
    fit: Fit = "crop"
    report_psnr: bool = False

    @property
    def sources(self) -> tuple[SourceImage, ...]:
        """The pictures that came with the request, in its order."""
        return (self.image,) if self.to_image is None else (self.image, self.to_image)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of each frame: the same, so that nothing but the pair (z_i, x_T) changes."""
        return (self.seed,) * len(self.ts)


@dataclass(frozen=True)
class EditPlan(Planned):
    """``generation``, painted where ``subject`` is not kept; decoder and upsampler take each step ``resampling`` times.

    subject: the picture after its fit, as large as what is painted. sources: its file, and that of its mask
    where one came.
    """

    generation: GeneratePlan
    subject: Subject
    sources: tuple[SourceImage, ...]
    resampling: int
    fit: Fit = "crop"

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of each picture."""
        return self.generation.seeds

    @property
    def output(self) -> Output:
        """What happens to every base-size sample."""
        return self.generation.output


Plan = GeneratePlan | VaryPlan | TextDiffPlan | InterpolatePlan | EditPlan
