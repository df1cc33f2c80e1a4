"""What the client takes: requests as plain values, no generated messages. What it gives: ``answers``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import IO, Any

import numpy.typing as npt
from PIL import Image

from unclip import enum_names
from unclip.wire.embeddings import Embedding

FileFormat = enum_names.FileFormat
Fit = enum_names.Fit
Quality = enum_names.Quality
Start = enum_names.Start
StageName = enum_names.StageName

# A picture to send: a path, a file's bytes, a file open for reading, a Pillow image, or an array, uint8 ``[H, W]``,
# ``[H, W, 3]`` or ``[H, W, 4]``, or bool ``[H, W]``. A Pillow image is sent as its own file where it still is what that
# holds, else as a PNG of what people see.
Picture = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Image.Image | npt.NDArray[Any]


def option(help: str, default: Any = None, flag: str = "", **metadata: str) -> Any:
    """A field of a request. help: what it is, as the command line says it. flag: its name there, if another.

    metadata: wire, its name in the contract, if another; without, what of a Sampling there is no use for; within, the
    field whose flag says it too.
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
    size: int | None = option("side of the pictures in pixels, 16 to 2048, resized (as the stack makes them)")
    width: int | None = option("of what is painted, in pixels, with its height and without a size", within="size")
    height: int | None = option("likewise; see ModelInfo for what a stack can paint", within="size")


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
    quality: Quality | None = option("standard, or fast: by the decoder's student, in few steps (the stack's default)")


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
