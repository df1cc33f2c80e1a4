"""What the files that the gateway makes say of their making, for programs to read: see docs/provenance.md."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from gateway.requests.plan import EditPlan, InterpolatePlan, Plan
from unclip.api.type.v1 import image_pb2
from unclip.serving.signing import MAX_RETAINED, MAX_SIGNATURE, Claim, Ingredient, Signer
from unclip.wire.images import FORMATS
from unclip.wire.marks import COMPOSITE, TRAINED, marks_in, said_in
from unclip.wire.picture_headers import read_header


@dataclass(frozen=True)
class Origin:
    """What the pictures of a request are, in IPTC's terms, and what they began with."""

    source_type: str
    ingredients: tuple[Ingredient, ...] = ()

    @property
    def size(self) -> int:
        """Bytes that a signature of it can have. What is said of manifests that are kept may be as long as they are."""
        return MAX_SIGNATURE + 2 * sum(each.manifests for each in self.ingredients)


class Marking:
    """How pictures are marked. xmp: whether their XMP says what they are. signer: signs that too, None for nobody."""

    def __init__(self, xmp: bool = True, signer: Signer | None = None) -> None:
        self._xmp, self._signer = xmp, signer

    async def require_current(self) -> None:
        """Raises Unavailable where pictures are to be signed, and cannot be."""
        if self._signer is not None:  # it may have a new certificate to try
            await asyncio.to_thread(self._signer.require_current)

    async def origin(self, plan: Plan, pictures: Sequence[image_pb2.Image]) -> Origin:
        """Of the pictures of ``plan``, a request that brought ``pictures``."""
        source_type = source_type_of(plan)
        if self._signer is None or not pictures:
            return Origin(source_type)
        return Origin(source_type, await asyncio.to_thread(ingredients, plan, pictures))

    def in_file(self, origin: Origin) -> str:
        """The DigitalSourceType that a file's XMP says; empty where it has none."""
        return origin.source_type if self._xmp else ""

    def largest(self, origin: Origin) -> int:
        """Bytes that signing may add to a file."""
        return 0 if self._signer is None else origin.size

    def sign(self, image: image_pb2.Image, origin: Origin, version: str) -> None:
        """Signs the file of a picture that model ``version`` made, where pictures are signed: what is done last. It
        takes milliseconds, in which its thread waits for others that sign. Raises Unavailable."""
        if self._signer is not None:
            claim = Claim(origin.source_type, version, origin.ingredients)
            image.data = self._signer.sign(image.data, image.media_type, claim)

    def close(self) -> None:
        """Lets go of what signs."""
        if self._signer is not None:
            self._signer.close()


def source_type_of(plan: Plan) -> str:
    """What the pictures of ``plan`` are: all that begins with a picture is a composite with it, be much of it left, as
    of an edit, or its meaning alone, as of a variation."""
    return COMPOSITE if plan.sources else TRAINED


def ingredients(plan: Plan, pictures: Sequence[image_pb2.Image]) -> tuple[Ingredient, ...]:
    """The ``pictures`` that came with the request of ``plan``, with the marks that are in them."""
    first = {EditPlan: "the picture edited", InterpolatePlan: "the picture to begin with"}.get(type(plan), "the source")
    second = "the mask" if isinstance(plan, EditPlan) else "the picture to end with"
    titles = (first, second)
    return tuple(
        replace(ingredient(image.data, title), parent=isinstance(plan, EditPlan) and title == first)
        for image, title in zip(pictures, titles, strict=False)
    )


def ingredient(data: bytes, title: str) -> Ingredient:
    """A picture file that was found to be one, called ``title``. Its manifests go along up to a size."""
    size = marks_in(data).manifests
    kept, size = (data, size) if 0 < size <= MAX_RETAINED else (b"", 0)
    media_type, digest = FORMATS[read_header(data).kind], hashlib.sha256(data).hexdigest()
    return Ingredient(title, media_type, digest, False, said_in(data), kept, size)
