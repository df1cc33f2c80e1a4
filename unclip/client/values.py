"""What the client takes and gives: plain values, no generated messages."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy.typing as npt
from PIL import Image

from unclip import enum_names
from unclip.checkpoints.vocabulary import Vocabulary
from unclip.errors import InvalidRequest
from unclip.wire.embeddings import Embedding
from unclip.wire.images import FORMAT_NAMES, encode_image
from unclip.wire.marks import pillow_options, said_in
from unclip.wire.notices import Notice

FileFormat = enum_names.FileFormat
Fit = enum_names.Fit
Start = enum_names.Start
StageName = enum_names.StageName

# A picture to send: a path, a file's bytes, a file open for reading, a Pillow image, or an array, uint8 ``[H, W]``,
# ``[H, W, 3]`` or ``[H, W, 4]``, or bool ``[H, W]``. A Pillow image is sent as its own file where it still is what that
# holds, else as a PNG of what people see.
Picture = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Image.Image | npt.NDArray[Any]


def option(help: str, default: Any = None, flag: str = "", **metadata: str) -> Any:
    """A field of a request. help: what it is, as the command line says it. flag: its name there, if another.

    metadata: wire, its name in the contract, if another; without, what of a Sampling there is no use for.
    """
    return field(default=default, metadata={"help": help, "flag": flag, **metadata})


@dataclass(frozen=True)
class Sampling:
    """How one stage samples; what is None takes the checkpoint's default."""

    sampler: enum_names.SamplerName | None = option("which rule it follows")
    steps: int | None = option("network evaluations, 1 to 1000")
    guidance_scale: float | None = option("0 to 30, 1 follows the condition as learned", flag="guidance")
    eta: float | None = option("0 to 1, fresh noise per DDIM step")


DEFAULTS = Sampling()  # the checkpoint's own


@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """What can be said of all pictures. All but the seed takes its default from the checkpoint where it is None."""

    seed: int | None = option("makes the same pictures again (default: the gateway chooses)")
    decoder: Sampling = option("how the decoder samples", DEFAULTS)
    upsampler: Sampling = option("how the upsampler samples", DEFAULTS, without="guidance_scale")
    format: FileFormat = option("file format of the pictures", "png")
    size: int | None = option("side of the pictures in pixels, 16 to 2048 (as the stack makes them)")


@dataclass(frozen=True, kw_only=True)
class CaptionOptions(ImageOptions):
    """What can be said of pictures that a caption leads to: image i of ``image_count`` is made from ``seed`` + i."""

    image_count: int | None = option("pictures to make, 1 to 16 (1)", flag="count")
    negative_caption: str = option("what to steer away from (nothing in particular)", "", flag="negative")
    candidates: int | None = option(
        "pictures to make, up to 64, of which CLIP keeps as many as are asked for, best first (no ranking)"
    )
    prior_candidates: int | None = option("prior samples per picture, the best is kept: 1 to 16 (2)")
    prior: Sampling = option("how the prior samples", DEFAULTS)


@dataclass(frozen=True, kw_only=True)
class SourceOptions(ImageOptions):
    """What can be said of pictures that begin with one. ``image`` is None in a recipe only: put it back to send it."""

    fit: Fit = option("of a picture that is not square: its middle, or all of it with white bars", "crop")
    report_psnr: bool = option("measure how well the inversion reconstructs the picture", False, flag="psnr")


@dataclass(frozen=True)
class Generate(CaptionOptions):
    """Pictures of ``caption``.

    embedding: of the pictures, in the place of one that the prior samples; the caption may then be empty.
    """

    caption: str = ""
    _: KW_ONLY
    embedding: Embedding | None = None


@dataclass(frozen=True)
class Vary(SourceOptions):
    """Variations of ``image``: ``image_count`` of them, i from ``seed`` + i."""

    image: Picture | None
    _: KW_ONLY
    image_count: int | None = option("pictures to make, 1 to 16 (1)", flag="count")
    eta: float | None = option("0 reconstructs the picture, 1 varies most (1)")
    decoder: Sampling = option("how the decoder samples, but for its eta", DEFAULTS, without="eta")
    start: Start = option("begin with the picture's own noise, or with fresh noise", "inverted")


@dataclass(frozen=True)
class TextDiff(SourceOptions):
    """Frames of ``image`` on its way from the caption ``before`` (may be empty) to ``after``.

    thetas: how far each frame goes, 0 to 1, at most 64; 0 reconstructs, empty means one frame at 0.5.
    """

    image: Picture | None
    before: str
    after: str
    thetas: Sequence[float] = ()


@dataclass(frozen=True)
class Interpolate(SourceOptions):
    """Frames between ``image`` and ``to``, another picture, or ``to_caption``: give one of the two.

    ts: how far each frame has come, 0 to 1, at most 64; 0 is the picture, 1 the other end, empty means one frame at
    0.5. prior: for a caption only. ``to``, too, is None in a recipe: put it back.
    """

    image: Picture | None
    to: Picture | None = option("another picture", wire="to_image")
    to_caption: str = ""
    ts: Sequence[float] = ()
    _: KW_ONLY
    start: Start = option("begin with the pictures' own noise, interpolated, or with the seed's", "inverted")
    prior: Sampling = option("how the prior samples", DEFAULTS)


@dataclass(frozen=True)
class Edit(CaptionOptions):
    """``image`` repainted in part, so that all of it shows ``caption``; the rest stays exactly as it is.

    mask: a picture as large as ``image``, light where to repaint; without one, where alpha is below 128: see
    ``unclip.client.sheets.pad`` for painting beyond the edges. The decoder's default sampler is DDPM.
    ``image`` is None in a recipe only: put the sources, in the order of its source_digests, back before sending it.
    """

    image: Picture | None
    caption: str
    mask: Picture | None = None
    _: KW_ONLY
    resampling: int | None = option("takes of each step but the last, 1 to 10, to smooth seams (2)")
    fit: Fit = option("of a picture and mask that are not square: their middle, or all with white bars", "crop")


@dataclass(frozen=True)
class Embed:
    """Asks for the embeddings of at most 64 captions and 16 pictures. fit: as in Vary."""

    captions: Sequence[str] = ()
    images: Sequence[Picture] = ()
    _: KW_ONLY
    fit: Fit = "crop"


Request = Generate | Vary | TextDiff | Interpolate | Edit

# By the names that the contract and the client's methods have for them.
KINDS: Mapping[str, type[Request]] = {
    "generate": Generate,
    "vary": Vary,
    "text_diff": TextDiff,
    "interpolate": Interpolate,
    "edit": Edit,
}


def picture_count(request: Request) -> int:
    """How many pictures ``request`` has made, those among them that only the best are chosen from."""
    match request:
        case TextDiff():
            return len(request.thetas) or 1
        case Interpolate():
            return len(request.ts) or 1
    return getattr(request, "candidates", None) or request.image_count or 1


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


@dataclass(frozen=True, repr=False)
class ImageFile:
    """An encoded picture: the file's bytes, its IANA media type, and its size in pixels."""

    data: bytes
    media_type: str
    width: int
    height: int

    def __repr__(self) -> str:
        """One line, without the bytes."""
        more = "".join(f", {name} {getattr(self, name)}" for name in ("image_index", "seed") if hasattr(self, name))
        size = f"{self.width} x {self.height} px, {len(self.data)} bytes"
        return f"<{type(self).__name__} {self.media_type} {size}{more}>"

    def _repr_png_(self) -> bytes:
        """The picture as a notebook shows it."""
        if self.media_type == "image/png":
            return self.data
        file = io.BytesIO()
        self.to_pil().save(file, "PNG")
        return file.getvalue()

    def to_pil(self) -> Image.Image:
        """The picture, loaded."""
        with Image.open(io.BytesIO(self.data)) as picture:
            picture.load()
            return picture

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the file as it came, or converted, its recipe and signature lost, when the name's ending asks for
        another format; as lossless as that can be, JPEG at quality 95. That AI made it is said in PNG, JPEG and WebP.

        Raises:
            InvalidRequest: the ending is that of no format that can be written.
        """
        place = Path(path)
        data = self.data if not place.suffix else self._as_format(place.suffix.lower())
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        return place

    def _as_format(self, ending: str) -> bytes:
        """The file in the format that a name's ``ending`` asks for."""
        pillow_format = Image.registered_extensions().get(ending, "")
        media_type = Image.MIME.get(pillow_format)
        if media_type == self.media_type:
            return self.data
        picture = self.to_pil()
        if media_type in FORMAT_NAMES:
            return encode_image(picture, media_type, **pillow_options(media_type, said_in(self.data))).data
        file = io.BytesIO()
        try:
            picture.save(file, pillow_format or None)
        except (KeyError, ValueError, OSError) as error:
            raise InvalidRequest.of(
                "path", f"must end with .png, .jpg, .webp or as another picture that Pillow writes; got {ending!r:.60}"
            ) from error
        return file.getvalue()


@dataclass(frozen=True, repr=False)
class Preview(ImageFile):
    """A picture as predicted so far, at base size."""

    image_index: int


@dataclass(frozen=True, repr=False)
class GeneratedImage(ImageFile):
    """A finished picture, with all that made it.

    image_index: which picture of the request; its rank where candidates were ranked, 0 the best. recipe: the request
    that makes it again, alone. source_digests: sha256 of each source picture's bytes, in hex. score: cosine of its CLIP
    embedding and the caption's, -1 to 1, where candidates were ranked. inversion_psnr: in dB, at most 100, between the
    source and what is decoded from its own embedding and inverted noise at base size, where that was asked for.
    stage_versions: of the model of each stage that had a part in it, as its answers said. notices: what is to be known
    of the whole answer, such as that a caption was cut.
    """

    image_index: int
    seed: int
    model_version: str
    recipe: Request
    source_digests: tuple[str, ...] = ()
    score: float | None = None
    inversion_psnr: float | None = None
    stage_versions: Mapping[str, str] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()


Event = Progress | Preview | Notice | GeneratedImage


@dataclass(frozen=True)
class Embeddings:
    """CLIP embeddings, one per caption and one per picture, in the order asked. notices: what to know of them."""

    captions: tuple[Embedding, ...]
    images: tuple[Embedding, ...]
    notices: tuple[Notice, ...] = ()


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

    replicas: of each stage, those included that are left out while weights are replaced. captions: examples, the best
    to begin with first. vocabulary: what it was taught to draw, where that was asked for and it says so.
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
    captions: tuple[str, ...] = ()
    vocabulary: Vocabulary | None = None
