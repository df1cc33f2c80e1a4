"""Requests to the stages as plain values: read once, with every broken rule reported together.

Stub and real services read requests through this module, so both refuse the same ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from unclip.api.decoder.v1 import decoder_pb2, known_pixels_pb2, upsampler_pb2
from unclip.api.encoder.v1 import encoder_pb2
from unclip.api.prior.v1 import prior_pb2
from unclip.api.type.v1 import embedding_pb2, sampling_pb2
from unclip.errors import InvalidRequest
from unclip.options import SamplingSettings
from unclip.wire import tensors
from unclip.wire.embeddings import Embedding, TextEncoding
from unclip.wire.images import MAX_BYTES, MAX_TOGETHER, decode_image, fit, to_pixels, weight
from unclip.wire.known import KnownPixels
from unclip.wire.sampling import MAX_STEPS, settings_from_proto
from unclip.wire.violations import Violations

MAX_CAPTIONS = 64
MAX_IMAGES = 16
MAX_CANDIDATES = 16
MAX_CONTEXT = 512  # tokens of a caption; CLIP has 77
MAX_SIZE = 1e4  # of an embedding's, state's or noise's values; networks make NaN of far larger ones

Float32Array = npt.NDArray[np.float32]
Value = TypeVar("Value")


@dataclass(frozen=True)
class StageSpec:
    """What a stage's model takes.

    clip_space: digest of its CLIP. dim: D of embeddings and of token states. context: L, tokens of a caption, None
    takes any up to 512. size: side of the pictures it makes, 0 where it makes none. defaults: of its sampling.
    """

    clip_space: str
    dim: int
    context: int | None = None
    size: int = 0
    defaults: SamplingSettings = field(default_factory=SamplingSettings)


@dataclass(frozen=True, eq=False)
class SampleTask:
    """PriorService.Sample. unconditional_text is None where guidance is 1 and none was sent."""

    text: TextEncoding
    unconditional_text: TextEncoding | None
    seed: int
    settings: SamplingSettings
    candidates: int
    omit_progress: bool = False


@dataclass(frozen=True, eq=False)
class DecodeTask:
    """DecoderService.Decode. start_noise: float32 ``[3, size, size]`` or None; preview_interval: 0 for none.

    known: what is known of the picture, None where that is nothing.
    """

    embedding: Embedding
    text: TextEncoding | None
    unconditional_text: TextEncoding
    start_noise: Float32Array | None
    seed: int
    settings: SamplingSettings
    preview_interval: int
    omit_progress: bool = False
    known: KnownPixels | None = None


@dataclass(frozen=True, eq=False)
class InvertTask:
    """DecoderService.Invert. pixels: the picture as a square of the model's size, float32 ``[3, size, size]`` in
    [-1, 1]. report_psnr: whether to decode what was found, and compare."""

    pixels: Float32Array
    embedding: Embedding
    unconditional_text: TextEncoding
    steps: int
    omit_progress: bool = False
    report_psnr: bool = False


@dataclass(frozen=True, eq=False)
class UpsampleTask:
    """UpsamplerService.Upsample. sample: float32 ``[3, h, h]`` in [-1, 1]; known: as for the decoder."""

    sample: Float32Array
    seed: int
    settings: SamplingSettings
    omit_progress: bool = False
    known: KnownPixels | None = None


class _Reading:
    """Reads fields one by one; what is broken is noted and None returned, until `done` raises."""

    def __init__(self, spec: StageSpec | None = None) -> None:
        self.violations = Violations()
        self._spec = spec

    def take(self, read: Callable[[], Value]) -> Value | None:
        try:
            return read()
        except InvalidRequest as error:
            self.violations.include(error)
            return None

    def embedding(self, message: embedding_pb2.Embedding, field: str) -> Embedding | None:
        spec = self._spec
        assert spec is not None
        found = self.take(lambda: Embedding.from_proto(message, field, clip_space=spec.clip_space, dim=spec.dim))
        if found is not None:
            self.size(f"{field}.values", found.values)
        return found

    def text(self, message: embedding_pb2.TextEncoding, field: str) -> TextEncoding | None:
        spec = self._spec
        assert spec is not None
        encoding = self.take(
            lambda: TextEncoding.from_proto(
                message, field, clip_space=spec.clip_space, dim=spec.dim, context=spec.context, width=spec.dim
            )
        )
        if encoding is not None:
            self.violations.count(f"{field}.token_mask", len(encoding.token_mask), 1, MAX_CONTEXT)
            self.size(f"{field}.embedding.values", encoding.embedding.values)
            self.size(f"{field}.token_states", encoding.token_states)
        return encoding

    def size(self, field: str, values: Float32Array, most: float = MAX_SIZE) -> None:
        if (largest := float(np.abs(values).max())) > most:
            self.violations.add(f"{field}.data", f"must be -{most:g} to {most:g}; got a value of size {largest:g}")

    def known(self, message: known_pixels_pb2.KnownPixels) -> KnownPixels | None:
        assert self._spec is not None
        return KnownPixels.from_proto(message, "known", self._spec.size, self.violations)

    def settings(self, message: sampling_pb2.SamplingOptions) -> SamplingSettings:
        assert self._spec is not None
        return settings_from_proto(message, self._spec.defaults, "sampling", self.violations)


def read_encode_text(request: encoder_pb2.EncodeTextRequest) -> list[str]:
    """The captions. Raises InvalidRequest."""
    violations = Violations()
    violations.count("captions", len(request.captions), 1, MAX_CAPTIONS)
    for index, caption in enumerate(request.captions[:MAX_CAPTIONS]):
        violations.caption(f"captions[{index}]", caption, allow_empty=True)
    violations.raise_if_any()
    return list(request.captions)


def read_encode_image(
    request: encoder_pb2.EncodeImageRequest, side: int
) -> tuple[int, list[Callable[[], Image.Image]]]:
    """What reading the pictures costs, in pixels, and what decodes each: one at a time, they may be large.

    They are decoded for a square of ``side``, RGB and upright.

    Raises:
        InvalidRequest: there are too many pictures, bytes or pixels. Each picture may raise it once more.
    """
    violations = Violations()
    violations.count("images", len(request.images), 1, MAX_IMAGES)
    size = sum(len(image.data) for image in request.images)
    pixels = 0
    if size > MAX_BYTES:
        violations.add("images", f"must be at most {MAX_BYTES} bytes together; got {size}")
    elif (pixels := weight(request.images[:MAX_IMAGES])) > MAX_TOGETHER:
        violations.add("images", f"must be at most {MAX_TOGETHER} pixels together; got {pixels}")
    violations.raise_if_any()
    return pixels, [
        partial(decode_image, image, f"images[{index}]", side) for index, image in enumerate(request.images)
    ]


def read_sample(request: prior_pb2.SampleRequest, spec: StageSpec) -> SampleTask:
    """The task in a Sample request. Raises InvalidRequest, PreconditionFailed."""
    reading = _Reading(spec)
    settings = reading.settings(request.sampling)
    candidates = request.candidates if request.HasField("candidates") else 1
    reading.violations.number("candidates", candidates, 1, MAX_CANDIDATES)
    text = reading.text(request.text, "text")
    unconditional = None
    if request.HasField("unconditional_text"):
        unconditional = reading.text(request.unconditional_text, "unconditional_text")
    elif settings.guidance_scale != 1:
        reading.violations.add(
            "unconditional_text", f"must be set unless the guidance scale is 1; it is {settings.guidance_scale:g}"
        )
    reading.violations.raise_if_any()
    assert text is not None
    return SampleTask(text, unconditional, request.seed, settings, candidates, request.omit_progress)


def read_decode(request: decoder_pb2.DecodeRequest, spec: StageSpec) -> DecodeTask:
    """The task in a Decode request. Raises InvalidRequest, PreconditionFailed."""
    reading = _Reading(spec)
    settings = reading.settings(request.sampling)
    reading.violations.number("preview_interval", request.preview_interval, 0, MAX_STEPS)
    embedding = reading.embedding(request.embedding, "embedding")
    text = reading.text(request.text, "text") if request.HasField("text") else None
    unconditional = reading.text(request.unconditional_text, "unconditional_text")
    if text is not None and unconditional is not None and len(text.token_mask) != len(unconditional.token_mask):
        reading.violations.add(
            "text.token_states",
            f"must have as many tokens as unconditional_text, {len(unconditional.token_mask)}; "
            f"got {len(text.token_mask)}",
        )
    start = None
    if request.HasField("start_noise"):
        start = reading.take(
            lambda: tensors.from_proto(
                request.start_noise, "start_noise", dtype=np.float32, shape=[3, spec.size, spec.size]
            )
        )
        if start is not None:
            reading.size("start_noise", start)
    known = reading.known(request.known) if request.HasField("known") else None
    reading.violations.raise_if_any()
    assert embedding is not None
    assert unconditional is not None
    return DecodeTask(
        embedding,
        text,
        unconditional,
        start,
        request.seed,
        settings,
        request.preview_interval,
        request.omit_progress,
        known,
    )


def read_invert(request: decoder_pb2.InvertRequest, spec: StageSpec) -> InvertTask:
    """The task in an Invert request. Raises InvalidRequest, PreconditionFailed."""
    reading = _Reading(spec)
    steps = request.steps if request.HasField("steps") else spec.defaults.steps
    reading.violations.number("steps", steps, 1, MAX_STEPS)
    embedding = reading.embedding(request.embedding, "embedding")
    unconditional = reading.text(request.unconditional_text, "unconditional_text")
    image = reading.take(lambda: decode_image(request.image, "image", spec.size))
    reading.violations.raise_if_any()
    assert embedding is not None
    assert unconditional is not None
    assert image is not None
    pixels = to_pixels(fit(image, spec.size))
    return InvertTask(pixels, embedding, unconditional, steps, request.omit_progress, request.report_psnr)


def read_upsample(request: upsampler_pb2.UpsampleRequest, spec: StageSpec) -> UpsampleTask:
    """The task in an Upsample request. Raises InvalidRequest."""
    reading = _Reading(spec)
    settings = reading.settings(request.sampling)
    if settings.guidance_scale != 1:
        reading.violations.add(
            "sampling.guidance_scale", f"must be 1, the upsampler has no guidance; got {settings.guidance_scale:g}"
        )
    sample = reading.take(lambda: tensors.from_proto(request.sample, "sample", dtype=np.float32, shape=[3, None, None]))
    if sample is not None and not (sample.shape[1] == sample.shape[2] <= spec.size):
        reading.violations.add("sample.shape", f"must be a square of at most {spec.size} px; got {list(sample.shape)}")
    if sample is not None:
        reading.size("sample", sample, 1.0)
    known = reading.known(request.known) if request.HasField("known") else None
    reading.violations.raise_if_any()
    assert sample is not None
    return UpsampleTask(sample, request.seed, settings, request.omit_progress, known)
