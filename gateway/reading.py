"""Reads fields of public requests against their documented limits, remembering every rule that is broken."""

from __future__ import annotations

import hashlib
import unicodedata
from typing import Literal

from gateway.plan import FileFormat, SourceImage
from unclip.api.gateway.v1 import gateway_pb2
from unclip.api.type.v1 import image_pb2, sampling_pb2
from unclip.errors import FieldViolation, InvalidRequest
from unclip.options import SamplerName, SamplingSettings
from unclip.wire.images import decode_image

MAX_CAPTION_BYTES = 4096
MAX_STEPS = 1000
MAX_GUIDANCE = 30

FORMATS: dict[int, FileFormat] = {
    gateway_pb2.IMAGE_FORMAT_UNSPECIFIED: "png",
    gateway_pb2.IMAGE_FORMAT_PNG: "png",
    gateway_pb2.IMAGE_FORMAT_JPEG: "jpeg",
    gateway_pb2.IMAGE_FORMAT_WEBP: "webp",
}
STARTS: dict[int, Literal["inverted", "random"]] = {
    gateway_pb2.START_UNSPECIFIED: "inverted",
    gateway_pb2.START_INVERTED: "inverted",
    gateway_pb2.START_RANDOM: "random",
}
SAMPLERS: dict[int, SamplerName] = {
    sampling_pb2.SAMPLER_DDPM: "ddpm",
    sampling_pb2.SAMPLER_DDIM: "ddim",
    sampling_pb2.SAMPLER_DPMPP_2M: "dpm++2m",
}


class Reader:
    """Collects violations of one request. A method that refuses a value still returns one of the right type."""

    def __init__(self, prefix: str = "", violations: list[FieldViolation] | None = None) -> None:
        self._prefix = prefix
        self._violations = [] if violations is None else violations

    def under(self, prefix: str) -> Reader:
        """A reader of the fields below ``prefix``, such as "generate.", that collects into this one."""
        return Reader(self._prefix + prefix, self._violations)

    def done(self) -> None:
        """Raises InvalidRequest with every violation, if there are any."""
        if self._violations:
            raise InvalidRequest(self._violations)

    def refuse(self, field: str, description: str) -> None:
        """``field`` breaks a rule: ``description`` says the limit and the value."""
        self._violations.append(FieldViolation(self._prefix + field, description))

    def between(self, field: str, value: float, low: float, high: float) -> None:
        """``value`` must lie in [low, high]; NaN does not."""
        if not low <= value <= high:
            self.refuse(field, f"must be {low} to {high}; got {value:g}")

    def at_most(self, field: str, count: int, limit: int) -> None:
        """A list of ``count`` values may have ``limit``."""
        if count > limit:
            self.refuse(field, f"must hold at most {limit} values; got {count}")

    def caption(self, field: str, caption: str, may_be_empty: bool = False) -> None:
        """A caption is 1 byte to 4 KiB of UTF-8 without control characters."""
        size = len(caption.encode())
        if not caption and not may_be_empty:
            self.refuse(field, f"must be 1 to {MAX_CAPTION_BYTES} bytes; got none")
        if size > MAX_CAPTION_BYTES:
            self.refuse(field, f"must be at most {MAX_CAPTION_BYTES} bytes of UTF-8; got {size}")
        control = next((i for i, letter in enumerate(caption) if unicodedata.category(letter) == "Cc"), None)
        if control is not None:
            self.refuse(
                field, f"must not contain control characters; got U+{ord(caption[control]):04X} at position {control}"
            )

    def sampling(
        self,
        field: str,
        options: sampling_pb2.SamplingOptions,
        defaults: SamplingSettings,
        ddim_only: bool = False,
    ) -> SamplingSettings:
        """Sampling settings, ``defaults`` where ``options`` are silent."""
        sampler = SAMPLERS.get(options.sampler, defaults.sampler)
        if options.sampler and options.sampler not in SAMPLERS:
            self.refuse(
                f"{field}.sampler", f"must be one of {', '.join(sampling_pb2.Sampler.keys())}; got {options.sampler}"
            )
        elif ddim_only and sampler != "ddim":
            name = sampling_pb2.Sampler.Name(options.sampler)
            self.refuse(f"{field}.sampler", f"must be SAMPLER_DDIM or unset, no other inverts a picture; got {name}")
        steps = options.steps if options.HasField("steps") else defaults.steps
        guidance = options.guidance_scale if options.HasField("guidance_scale") else defaults.guidance_scale
        eta = options.eta if options.HasField("eta") else defaults.eta
        self.between(f"{field}.steps", steps, 1, MAX_STEPS)
        self.between(f"{field}.guidance_scale", guidance, 0, MAX_GUIDANCE)
        self.between(f"{field}.eta", eta, 0, 1)
        return SamplingSettings(sampler, steps, guidance, eta)

    def file_format(self, field: str, number: int) -> FileFormat:
        """The file format of the pictures."""
        if number not in FORMATS:
            self.refuse(field, f"must be one of {', '.join(gateway_pb2.ImageFormat.keys())}; got {number}")
        return FORMATS.get(number, "png")

    def start(self, field: str, number: int) -> Literal["inverted", "random"]:
        """Where a variation starts."""
        if number not in STARTS:
            self.refuse(field, f"must be one of {', '.join(gateway_pb2.Start.keys())}; got {number}")
        return STARTS.get(number, "inverted")

    def image(self, field: str, image: image_pb2.Image) -> SourceImage:
        """A picture file that opens: its bytes travel on as they came."""
        try:
            decode_image(image, field)
        except InvalidRequest as error:
            for violation in error.violations:
                self.refuse(violation.field, violation.description)
        return SourceImage(image.data, hashlib.sha256(image.data).hexdigest())
