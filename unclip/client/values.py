"""What the client takes and gives: plain values, no generated messages."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from PIL import Image

from unclip.options import SamplerName
from unclip.wire.embeddings import Embedding

# A picture to send: a path, a file's bytes, or a Pillow image.
Picture = str | os.PathLike[str] | bytes | Image.Image

FileFormat = Literal["png", "jpeg", "webp"]
Fit = Literal["crop", "letterbox"]
StageName = Literal["encoder", "prior", "invert", "decoder", "upsampler"]


@dataclass(frozen=True)
class Sampling:
    """How one stage samples; what is None takes the checkpoint's default.

    sampler: rule of the walk. steps: network evaluations, 1 to 1000. guidance_scale: 0 to 30, 1 follows the
    condition as learned. eta: 0 to 1, fresh noise per DDIM step.
    """

    sampler: SamplerName | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    eta: float | None = None


DEFAULTS = Sampling()  # the checkpoint's own


@dataclass(frozen=True)
class Generate:
    """Pictures of ``caption``: image i of ``image_count`` (1 to 16, default 1) is made from ``seed`` + i.

    embedding: the gist to paint in the place of one that the prior samples; the caption may then be empty.
    prior_candidates: embeddings sampled per picture, of which the best is kept; 1 to 16, default 2.
    negative_caption: what guidance steers away from; empty for nothing in particular. candidates: pictures to make,
    ``image_count`` to 64, of which the ``image_count`` that CLIP finds closest to the caption are kept, best first.
    """

    caption: str = ""
    seed: int | None = None
    image_count: int | None = None
    prior_candidates: int | None = None
    prior: Sampling = DEFAULTS
    decoder: Sampling = DEFAULTS
    upsampler: Sampling = DEFAULTS
    format: FileFormat = "png"
    negative_caption: str = ""
    candidates: int | None = None
    embedding: Embedding | None = None


@dataclass(frozen=True)
class Vary:
    """Variations of ``image``, 1 to 16 of them.

    eta: 0 reconstructs the picture, 1 (the default) varies most. start: "inverted" begins with the picture's own
    noise, "random" with fresh noise. fit: whether a picture that is not square is cropped in the middle or letterboxed
    with white. report_psnr, here and below: measure how well the inversion reconstructs the picture, see
    ``GeneratedImage.inversion_psnr``. ``image`` is None in a recipe only: put the source back before sending it.
    """

    image: Picture | None
    seed: int | None = None
    image_count: int | None = None
    eta: float | None = None
    start: Literal["inverted", "random"] = "inverted"
    decoder: Sampling = DEFAULTS
    upsampler: Sampling = DEFAULTS
    format: FileFormat = "png"
    fit: Fit = "crop"
    report_psnr: bool = False


@dataclass(frozen=True)
class TextDiff:
    """Frames of ``image`` on its way from the caption ``before`` (may be empty) to ``after``.

    thetas: how far each frame goes, 0 to 1, at most 64; 0 reconstructs, empty means one frame at 0.5. fit: as in Vary.
    ``image`` is None in a recipe only: put the source back before sending it.
    """

    image: Picture | None
    before: str
    after: str
    thetas: Sequence[float] = ()
    seed: int | None = None
    decoder: Sampling = DEFAULTS
    upsampler: Sampling = DEFAULTS
    format: FileFormat = "png"
    fit: Fit = "crop"
    report_psnr: bool = False


@dataclass(frozen=True)
class Interpolate:
    """Frames between ``image`` and ``to``, another picture, or ``to_caption``: give one of the two.

    ts: how far each frame has come, 0 to 1, at most 64; 0 is the picture, 1 the other end, empty means one frame at
    0.5. start: "inverted" interpolates the pictures' own noise, "random" uses the seed's for all. prior: for a caption
    only. fit: as in Vary. ``image`` and ``to`` are None in a recipe only: put the sources back before sending it.
    """

    image: Picture | None
    to: Picture | None = None
    to_caption: str = ""
    ts: Sequence[float] = ()
    seed: int | None = None
    start: Literal["inverted", "random"] = "inverted"
    prior: Sampling = DEFAULTS
    decoder: Sampling = DEFAULTS
    upsampler: Sampling = DEFAULTS
    format: FileFormat = "png"
    fit: Fit = "crop"
    report_psnr: bool = False


@dataclass(frozen=True)
class Edit:
    """``image`` repainted in part, so that all of it shows ``caption``; the rest stays exactly as it is.

    mask: a picture as large as ``image``, light where to repaint; without one, where alpha is below 128: see
    ``unclip.pictures.pad`` for painting beyond the edges. resampling: how often each step but the last is taken, 1 to
    10, default 2; more smooth the seams and take longer. fit: as in Vary, of both. The others, candidates too, are
    those of Generate, but the decoder's default sampler is DDPM.
    ``image`` is None in a recipe only: put the sources, in the order of its source_digests, back before sending it.
    """

    image: Picture | None
    caption: str
    mask: Picture | None = None
    negative_caption: str = ""
    seed: int | None = None
    image_count: int | None = None
    prior_candidates: int | None = None
    prior: Sampling = DEFAULTS
    decoder: Sampling = DEFAULTS
    upsampler: Sampling = DEFAULTS
    format: FileFormat = "png"
    resampling: int | None = None
    fit: Fit = "crop"
    candidates: int | None = None


Request = Generate | Vary | TextDiff | Interpolate | Edit


@dataclass(frozen=True)
class Recipe:
    """How a picture was made: the request that makes it again, alone, its source pictures left out.

    model_version: ``ModelInfo.version`` of the stack that made it. source_digests: sha256 of each source picture's
    bytes, in hex, in the request's order. stage_versions: of each stage that had a part in it, empty where a file does
    not say.
    """

    request: Request
    model_version: str
    source_digests: tuple[str, ...] = ()
    stage_versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Progress:
    """``step`` of ``of`` steps of one stage are done for one image; ``queue_position`` jobs wait before it."""

    stage: StageName
    step: int
    of: int
    image_index: int
    queue_position: int


@dataclass(frozen=True)
class ImageFile:
    """An encoded picture: the file's bytes, its IANA media type, and its size in pixels."""

    data: bytes
    media_type: str
    width: int
    height: int

    def to_pil(self) -> Image.Image:
        """The picture, loaded."""
        with Image.open(io.BytesIO(self.data)) as picture:
            picture.load()
            return picture

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the file as it came, or converted, its recipe lost, when the name's ending asks for another format."""
        place = Path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        wanted = Image.registered_extensions().get(place.suffix.lower())
        if wanted is None or Image.MIME.get(wanted) == self.media_type:
            place.write_bytes(self.data)
        else:
            self.to_pil().save(place, wanted)
        return place


@dataclass(frozen=True)
class Preview(ImageFile):
    """A picture as predicted so far, at base size."""

    image_index: int


@dataclass(frozen=True)
class GeneratedImage(ImageFile):
    """A finished picture, with all that made it.

    image_index: which picture of the request; its rank where candidates were ranked, 0 the best. recipe: the request
    that makes it again, alone. source_digests: sha256 of each source picture's bytes, in hex. score: cosine of its CLIP
    embedding and the caption's, -1 to 1, where candidates were ranked. inversion_psnr: in dB, at most 100, between the
    source and what is decoded from its own embedding and inverted noise at base size, where that was asked for.
    stage_versions: of the model of each stage that had a part in it, as its answers said.
    """

    image_index: int
    seed: int
    model_version: str
    recipe: Request
    source_digests: tuple[str, ...] = ()
    score: float | None = None
    inversion_psnr: float | None = None
    stage_versions: Mapping[str, str] = field(default_factory=dict)


Event = Progress | Preview | GeneratedImage


@dataclass(frozen=True)
class Embeddings:
    """CLIP embeddings, one per caption and one per picture, in the order asked."""

    captions: tuple[Embedding, ...]
    images: tuple[Embedding, ...]


@dataclass(frozen=True)
class StageInfo:
    """One stage's defaults, the side in pixels of what it makes (0 for embeddings), its parameter count and version."""

    stage: StageName
    defaults: Sampling
    image_size: int
    parameters: int
    version: str = ""


@dataclass(frozen=True)
class ReplicaCount:
    """How many replicas of a stage have a version of its model; those not ``served`` are left out."""

    stage: str
    version: str
    count: int
    served: bool


@dataclass(frozen=True)
class ModelInfo:
    """What the stack has loaded. Equal versions make equal pictures. embedding_dim: length of its CLIP's embeddings.

    replicas: of each stage, those included that are left out while weights are replaced.
    """

    name: str
    version: str
    license: str
    clip_space: str
    device: str
    capabilities: tuple[str, ...]
    stages: tuple[StageInfo, ...]
    caption_template: str
    embedding_dim: int = 0
    replicas: tuple[ReplicaCount, ...] = ()
