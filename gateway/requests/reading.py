"""Reads fields of public requests against their documented limits, remembering every rule that is broken."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Awaitable
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from google.protobuf.message import Message
from PIL import Image

from gateway.requests.fitting import MAX_FITTED, SQUARE, Size, cropped, letterbox
from gateway.requests.plan import SourceImage
from unclip.api.type.v1 import image_pb2, sampling_pb2
from unclip.enum_names import Fit
from unclip.errors import InvalidRequest
from unclip.options import SamplingSettings
from unclip.wire.embeddings import Embedding
from unclip.wire.enums import ENUMS
from unclip.wire.images import check_image, checked_header, decode_image, encode_image, open_image, passes_over_profile
from unclip.wire.limits import MAX_FRAMES, RANGES
from unclip.wire.sampling import sampling_from_proto, sampling_to_proto
from unclip.wire.stage_reading import MAX_SIZE
from unclip.wire.violations import Violations

Read = TypeVar("Read")

CHOSEN_SEEDS = 1 << 32  # a seed the gateway chooses stays short enough to copy by hand
LARGE = MAX_FITTED * MAX_FITTED  # pixels that reading a picture costs


class Reader:
    """Reads one request's fields and fills in what they leave open. A method that refuses a value notes why and still
    returns one of the right type.

    prefix: what comes before the fields' paths, such as "generate.". asked: the message, which is filled in.
    """

    def __init__(self, prefix: str = "", violations: Violations | None = None, asked: Any = None) -> None:
        self._prefix = prefix
        self._violations = violations or Violations()
        self.asked = asked

    def under(self, prefix: str, asked: Message) -> Reader:
        """A reader of the message ``asked``, whose fields are below ``prefix``, that notes into this one."""
        return Reader(self._prefix + prefix, self._violations, asked)

    def done(self) -> None:
        """Raises InvalidRequest with every violation, if there are any."""
        self._violations.raise_if_any()

    def refuse(self, field: str, description: str) -> None:
        """``field`` breaks a rule: ``description`` says the limit and the value."""
        self._violations.add(self._prefix + field, description)

    def between(self, field: str, value: float, low: float, high: float) -> None:
        """``value`` must lie in [low, high]; NaN does not."""
        self._violations.number(self._prefix + field, value, low, high)

    def at_most(self, field: str, count: int, limit: int) -> None:
        """A list of ``count`` values may have ``limit``."""
        self._violations.count(self._prefix + field, count, 0, limit)

    def number(self, field: str, default: float, low: float, high: float) -> Any:
        """A number of low to high, ``default`` where it is unset."""
        if not self.asked.HasField(field):
            setattr(self.asked, field, default)
        self.between(field, found := getattr(self.asked, field), low, high)
        return found

    def optional(self, field: str) -> int | None:
        """A number within its range; None where it is unset."""
        if not self.asked.HasField(field):
            return None
        self.between(field, found := getattr(self.asked, field), *RANGES[field])
        return int(found)

    def seed(self) -> int:
        """The seed, chosen here where there is none."""
        if not self.asked.HasField("seed"):
            self.asked.seed = secrets.randbelow(CHOSEN_SEEDS)
        return int(self.asked.seed)

    def frames(self, field: str, default: float) -> tuple[float, ...]:
        """How far each frame goes, at most 64 shares of 0 to 1; one frame at ``default`` where none is named."""
        shares = getattr(self.asked, field)
        self.at_most(field, len(shares), MAX_FRAMES)
        for index, share in enumerate(shares[:MAX_FRAMES]):
            self.between(f"{field}[{index}]", share, 0, 1)
        if not shares:
            shares.append(default)
        return tuple(shares)

    def caption(self, field: str, caption: str, allow_empty: bool = False) -> str:
        """A caption as models get it, see `unclip.wire.captions`; the recipe keeps it as it came."""
        return self._violations.caption(self._prefix + field, caption, allow_empty=allow_empty)

    def sampling(
        self, field: str, defaults: SamplingSettings, max_steps: int, ddim_only: bool = False
    ) -> SamplingSettings:
        """Sampling settings, ``defaults`` where the options are silent."""
        options = getattr(self.asked, field)
        if ddim_only and options.sampler not in (sampling_pb2.SAMPLER_UNSPECIFIED, sampling_pb2.SAMPLER_DDIM):
            self.refuse(f"{field}.sampler", f"must be SAMPLER_DDIM or unset; got {sampler_name(options.sampler)}")
        sampling = sampling_from_proto(options, defaults, self._prefix + field, self._violations, max_steps)
        options.CopyFrom(sampling_to_proto(sampling))
        return sampling

    def choice(self, field: str) -> Any:
        """The name of an enum's value, the first one's where it is unset."""
        names = ENUMS[self.asked.DESCRIPTOR.fields_by_name[field].enum_type.full_name]
        first, number = next(iter(names.names)), getattr(self.asked, field)
        if number not in (0, *names.names):
            self.refuse(field, f"must be one of {', '.join(names.members)}; got {number}")
        chosen = number if number in names.names else first
        setattr(self.asked, field, chosen)
        return names.names[chosen]

    def embedding(self, field: str, clip_space: str, dim: int) -> Embedding | None:
        """A CLIP embedding: ``dim`` finite values (0 takes any number), none larger than a decoder takes; else None.

        One of another CLIP than ``clip_space`` may have another length: that it cannot be used is not a broken rule.
        """
        message = getattr(self.asked, field)
        expected = dim if dim and message.clip_space == clip_space else None
        found = self._violations.take(lambda: Embedding.from_proto(message, self._prefix + field, dim=expected))
        if found is None:
            return None
        largest = float(np.abs(found.values).max())
        if largest > MAX_SIZE:
            limit = f"{MAX_SIZE:g}"
            self.refuse(f"{field}.values", f"must be -{limit} to {limit}; got a value of size {largest:g}")
        return found

    async def collect(self, read: Awaitable[list[Read]]) -> list[Read]:
        """What ``read`` gives; nothing when it raises InvalidRequest, which is noted."""
        try:
            return await read
        except InvalidRequest as error:
            self._violations.include(error)
            return []

    def image(self, field: str, image: image_pb2.Image, fit: Fit, shape: Size = SQUARE) -> SourceImage:
        """A picture file that opens. Its bytes travel on as they came, unless it has to be letterboxed, or costs
        more to read than a megapixel: then what models see goes on, and the stages need not read it all.

        shape: of the picture that is painted.
        """
        return self._violations.take(lambda: read_image(self._prefix + field, image, fit, shape)) or source_of(image)

    def opened(self, field: str, image: image_pb2.Image) -> Image.Image | None:
        """A picture file as RGB or RGBA, upright; None when it was refused."""
        return self._violations.take(lambda: open_image(image, self._prefix + field))


def read_image(field: str, image: image_pb2.Image, fit: Fit, shape: Size = SQUARE) -> SourceImage:
    """A picture file, as `Reader.image` gives it. Raises InvalidRequest."""
    source = source_of(image)
    header, square = checked_header(image, field), shape[0] == shape[1]
    if fit == "letterbox" and not (square and header.width == header.height):
        picture = decode_image(image, field)
        boxed = None if square else file_of(letterbox(picture, shape))
        return replace(source, data=file_of(letterbox(picture)), boxed=boxed)
    if header.cost > LARGE:
        picture = decode_image(image, field, max(MAX_FITTED, *shape))
        boxed = None if square else file_of(cropped(picture, shape))
        return replace(source, data=file_of(cropped(picture)), boxed=boxed)
    check_image(image, field)
    return source


def file_of(picture: Image.Image) -> bytes:
    """A PNG. Whoever reads it next should not take long, nor this: noise does not shrink, whatever the effort."""
    return encode_image(picture, compress_level=1).data


def source_of(image: image_pb2.Image) -> SourceImage:
    """The picture file in ``image`` as it came."""
    return SourceImage(image.data, hashlib.sha256(image.data).hexdigest(), passes_over_profile(image.data))


def sampler_name(number: int) -> str:
    """The name of a sampler, or the number where it has none."""
    return next((name for name, value in sampling_pb2.Sampler.items() if value == number), str(number))
