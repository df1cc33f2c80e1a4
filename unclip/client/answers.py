"""What the client gives: plain values, no generated messages."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from unclip.checkpoints.vocabulary import Vocabulary
from unclip.client.values import Quality, Request, Sampling, StageName
from unclip.errors import InvalidRequest
from unclip.options import Sizes
from unclip.wire.embeddings import Embedding
from unclip.wire.images import FORMAT_NAMES, encode_image
from unclip.wire.marks import pillow_options, said_in
from unclip.wire.notices import Notice


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
    """A picture as predicted so far, at base size, or of latents with a pixel for each."""

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
    """One stage's defaults, the side in pixels of what it makes (0 for embeddings), its parameter count and version.

    sizes: what else a decoder paints, None for nothing. ignores_text: it is a decoder that reads none. fast: defaults
    where the quality is fast, None where that is no other. max_steps: that may be asked for, 0 where it takes none.
    """

    stage: StageName
    defaults: Sampling
    image_size: int
    parameters: int
    version: str = ""
    sizes: Sizes | None = None
    ignores_text: bool = False
    fast: Sampling | None = None
    max_steps: int = 0


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
    to begin with first. vocabulary: what it was taught to draw, where that was asked for and it says so. quality: of a
    Generate that asks for none; None where there is no fast way.
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
    quality: Quality | None = None
