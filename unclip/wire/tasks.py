"""What one call of a stage asks for, as a value that is written to its message and read from it.

Whoever reads one, stub or service, reads it here, so that both refuse the same ones, every broken rule at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from google.protobuf.message import Message

from unclip.api.decoder.v1 import decoder_pb2, known_pixels_pb2, upsampler_pb2
from unclip.api.prior.v1 import prior_pb2
from unclip.api.type.v1 import embedding_pb2, image_pb2, sampling_pb2, tensor_pb2
from unclip.errors import PreconditionFailed
from unclip.options import FAST_GUIDANCE, SamplingSettings, Sizes
from unclip.wire import tensors
from unclip.wire.by_name import Converter, limited
from unclip.wire.embeddings import Embedding, TextEncoding
from unclip.wire.images import decode_image, fit, to_pixels
from unclip.wire.known import KnownPixels
from unclip.wire.limits import MAX_CANDIDATES, MAX_STEPS, RANGES
from unclip.wire.sampling import sampling_from_proto, sampling_to_proto
from unclip.wire.sizes import size_of
from unclip.wire.violations import Violations

MAX_CONTEXT = 512  # tokens of a caption; CLIP has 77
MAX_SIZE = 1e4  # of an embedding's, state's or noise's values; networks make NaN of far larger ones

Float32Array = npt.NDArray[np.float32]
Task = TypeVar("Task", "SampleTask", "DecodeTask", "InvertTask", "UpsampleTask")


@dataclass(frozen=True)
class StageSpec:
    """What a stage's model takes.

    clip_space: digest of its CLIP. dim: D of embeddings and of token states. context: L, tokens of a caption, None
    takes any up to 512. size: side of the pictures it makes, 0 where it makes none. defaults: of its sampling. sizes:
    what else may be asked for. fast: defaults of a decoder's student, None where there is none. channels, scale: of
    what it samples, and pixels to a side of each element of it; 3 and 1 are pixels themselves. ignores_text: it is
    guided by embeddings alone. states_width: H of the token states that it reads where these are
    `TextEncoding.decoder_states`, None where they are the CLIP's own.
    """

    clip_space: str
    dim: int
    context: int | None = None
    size: int = 0
    defaults: SamplingSettings = field(default_factory=SamplingSettings)
    sizes: Sizes | None = None
    fast: SamplingSettings | None = None
    channels: int = 3
    scale: int = 1
    ignores_text: bool = False
    states_width: int | None = None


@dataclass(frozen=True, eq=False)
class SampleTask:
    """One embedding from the prior, the best of ``candidates``, 1 to 16.

    unconditional_text: what guidance steers away from; None where its scale is 1.
    """

    text: TextEncoding
    unconditional_text: TextEncoding | None
    seed: int
    sampling: SamplingSettings
    candidates: int = limited(1, 1, MAX_CANDIDATES)

    @classmethod
    def from_proto(cls, request: prior_pb2.SampleRequest, spec: StageSpec) -> SampleTask:
        """The task in a request. Raises InvalidRequest, PreconditionFailed."""
        reading = _Reading(spec)
        sampling = reading.sampling(request.sampling)
        text = reading.text(request.text, "text")
        unconditional = None
        if request.HasField("unconditional_text"):
            unconditional = reading.text(request.unconditional_text, "unconditional_text")
        elif sampling.guidance_scale != 1:
            reading.violations.add(
                "unconditional_text", f"must be set unless the guidance scale is 1; it is {sampling.guidance_scale:g}"
            )
        return reading.task(cls, request, text=text, unconditional_text=unconditional, sampling=sampling)

    def to_proto(self) -> prior_pb2.SampleRequest:
        """The request."""
        without = self.unconditional_text and self.unconditional_text.of_clip()
        return TASKS.write(
            replace(self, text=self.text.of_clip(), unconditional_text=without), prior_pb2.SampleRequest()
        )


@dataclass(frozen=True, eq=False)
class DecodeTask:
    """One base-size picture of ``embedding`` from the decoder.

    unconditional_text: the encoding of the empty caption, or of a negative one; None where the decoder reads no text.
    text: the caption's, None where none is known. start_noise: x_T, float32 ``[C, h, w]``; None draws it from the seed.
    known: what is known of the picture, None where that is nothing. preview_interval: steps between previews, 0 for
    none. unconditional_embedding: what a decoder that reads no text is guided away from. width, height: in pixels, None
    for the model's own. fast: by the decoder's student, whose input the guidance scale is; it starts from the seed's
    noise, and nothing is known.
    """

    embedding: Embedding
    unconditional_text: TextEncoding | None
    seed: int
    sampling: SamplingSettings
    text: TextEncoding | None = None
    start_noise: Float32Array | None = None
    known: KnownPixels | None = None
    preview_interval: int = limited(0, 0, MAX_STEPS)
    unconditional_embedding: Embedding | None = None
    width: int | None = None
    height: int | None = None
    fast: bool = False

    @property
    def guided(self) -> bool:
        """Whether it is led away from something."""
        return not self.fast and self.sampling.guidance_scale != 1.0

    @classmethod
    def from_proto(cls, request: decoder_pb2.DecodeRequest, spec: StageSpec) -> DecodeTask:
        """The task in a request. Raises InvalidRequest, PreconditionFailed."""
        reading = _Reading(spec)
        sampling = reading.fast(request) if request.fast else reading.sampling(request.sampling)
        embedding = reading.embedding(request.embedding, "embedding")
        width, height = reading.picture_size(request)
        text = reading.text(request.text, "text") if request.HasField("text") else None
        unconditional = reading.unconditional(request)
        away, guided = None, not request.fast and sampling.guidance_scale != 1
        if request.HasField("unconditional_embedding") or (spec.ignores_text and guided):
            away = reading.embedding(request.unconditional_embedding, "unconditional_embedding")
        if text is not None and unconditional is not None and len(text.token_mask) != len(unconditional.token_mask):
            reading.violations.add(
                "text.token_states",
                f"must have as many tokens as unconditional_text, {len(unconditional.token_mask)}; "
                f"got {len(text.token_mask)}",
            )
        start = None
        if request.HasField("start_noise"):
            shape = (spec.channels, height // spec.scale, width // spec.scale)
            start = reading.tensor(request.start_noise, "start_noise", shape)
        known = reading.known(request.known, width, height) if request.HasField("known") else None
        given = {
            "embedding": embedding,
            "unconditional_text": unconditional,
            "text": text,
            "unconditional_embedding": away,
        }
        return reading.task(cls, request, **given, sampling=sampling, start_noise=start, known=known)

    def to_proto(self) -> decoder_pb2.DecodeRequest:
        """The request."""
        return TASKS.write(self, decoder_pb2.DecodeRequest())


@dataclass(frozen=True, eq=False)
class Inversion:
    """The noise behind a picture. start_noise: x_T, float32 ``[C, h, w]``; psnr: of its reconstruction, in dB."""

    start_noise: Float32Array
    psnr: float | None = None


@dataclass(frozen=True, eq=False)
class InvertTask:
    """The noise from which DDIM in ``steps`` steps decodes the picture file ``image`` under ``embedding``.

    report_psnr: whether to decode what was found, and compare. The rest is as in a DecodeTask.
    """

    image: bytes
    embedding: Embedding
    unconditional_text: TextEncoding | None
    steps: int
    report_psnr: bool = False
    width: int | None = None
    height: int | None = None

    @classmethod
    def from_proto(cls, request: decoder_pb2.InvertRequest, spec: StageSpec) -> tuple[InvertTask, Float32Array]:
        """The task in a request, and its picture at the size that is asked for: float32 ``[3, height, width]`` in
        [-1, 1]. It takes as long as decoding the file does.

        Raises:
            InvalidRequest, PreconditionFailed: as the other tasks.
        """
        reading = _Reading(spec)
        steps = request.steps if request.HasField("steps") else spec.defaults.steps
        reading.violations.number("steps", steps, *RANGES["steps"])
        embedding = reading.embedding(request.embedding, "embedding")
        unconditional = reading.unconditional(request)
        width, height = reading.picture_size(request)
        picture = reading.violations.take(lambda: decode_image(request.image, "image", max(width, height)))
        given = {"image": request.image.data, "embedding": embedding, "unconditional_text": unconditional}
        task = reading.task(cls, request, **given, steps=steps)
        assert picture is not None
        return task, to_pixels(fit(picture, width, height))

    def to_proto(self) -> decoder_pb2.InvertRequest:
        """The request."""
        return TASKS.write(self, decoder_pb2.InvertRequest())

    def reconstruction(self, start_noise: Float32Array) -> DecodeTask:
        """What decodes the noise that was found, float32 ``[C, h, w]``, back to the picture."""
        sampling = SamplingSettings("ddim", self.steps)
        return DecodeTask(
            self.embedding,
            self.unconditional_text,
            0,
            sampling,
            start_noise=start_noise,
            width=self.width,
            height=self.height,
        )


@dataclass(frozen=True, eq=False)
class UpsampleTask:
    """``sample``, float32 ``[3, h, h]`` in [-1, 1] or latents ``[C, h, w]``, at final size. known: see DecodeTask."""

    sample: Float32Array
    seed: int
    sampling: SamplingSettings
    known: KnownPixels | None = None

    @classmethod
    def from_proto(cls, request: upsampler_pb2.UpsampleRequest, spec: StageSpec) -> UpsampleTask:
        """The task in a request. Raises InvalidRequest."""
        reading = _Reading(spec)
        sampling = reading.sampling(request.sampling)
        if sampling.guidance_scale != 1:
            reading.violations.add(
                "sampling.guidance_scale", f"must be 1, the upsampler has no guidance; got {sampling.guidance_scale:g}"
            )
        latents, width, height = spec.scale > 1, spec.size, spec.size
        sample = reading.tensor(request.sample, "sample", (spec.channels, None, None), MAX_SIZE if latents else 1.0)
        if sample is not None and latents:
            width, height = (spec.scale * side for side in (sample.shape[2], sample.shape[1]))
            if size_of(width, height, spec.size, spec.sizes, Violations()) != (width, height):
                able = spec.sizes or f"{spec.size} px a side"
                reading.violations.add("sample.shape", f"must be that of a picture of {able}; got {list(sample.shape)}")
        elif sample is not None and not (sample.shape[1] == sample.shape[2] <= spec.size):
            reading.violations.add(
                "sample.shape", f"must be a square of at most {spec.size} px; got {list(sample.shape)}"
            )
        known = reading.known(request.known, width, height) if request.HasField("known") else None
        return reading.task(cls, request, sample=sample, sampling=sampling, known=known)

    def to_proto(self) -> upsampler_pb2.UpsampleRequest:
        """The request."""
        return TASKS.write(self, upsampler_pb2.UpsampleRequest())


def message_of(value: Any, path: str) -> Any:
    """A value that has a message of its own."""
    return None if value is None else value.to_proto()


TASKS = Converter(
    writers={
        embedding_pb2.Embedding.DESCRIPTOR.full_name: message_of,
        embedding_pb2.TextEncoding.DESCRIPTOR.full_name: message_of,
        known_pixels_pb2.KnownPixels.DESCRIPTOR.full_name: message_of,
        sampling_pb2.SamplingOptions.DESCRIPTOR.full_name: lambda sampling, path: sampling_to_proto(sampling),
        tensor_pb2.Tensor.DESCRIPTOR.full_name: lambda values, path: tensors.to_proto(values),
        image_pb2.Image.DESCRIPTOR.full_name: lambda file, path: image_pb2.Image(data=file),
    },
    readers={},
)


class _Reading:
    """Reads fields one by one; what is broken is noted and None returned, until the violations are raised."""

    def __init__(self, spec: StageSpec) -> None:
        self.violations = Violations()
        self._spec = spec

    def task(self, kind: type[Task], request: Message, **given: Any) -> Task:
        """The ``kind`` of what was read, and of the rest of ``request`` by its names. Raises InvalidRequest."""
        task = TASKS.read(kind, request, **given)
        for each in fields(kind):
            if "limits" in each.metadata:
                self.violations.number(each.name, getattr(task, each.name), *each.metadata["limits"])
        self.violations.raise_if_any()
        return task

    def embedding(self, message: embedding_pb2.Embedding, field: str) -> Embedding | None:
        spec = self._spec
        found = self.violations.take(
            lambda: Embedding.from_proto(message, field, clip_space=spec.clip_space, dim=spec.dim)
        )
        if found is not None:
            self.size(f"{field}.values", found.values)
        return found

    def text(self, message: embedding_pb2.TextEncoding, field: str) -> TextEncoding | None:
        spec = self._spec
        expected: dict[str, Any] = {"states_width": spec.states_width}
        if spec.states_width is None:  # else the decoder looks at its own states alone
            expected = {"clip_space": spec.clip_space, "dim": spec.dim, "context": spec.context, "width": spec.dim}
        encoding = self.violations.take(lambda: TextEncoding.from_proto(message, field, **expected))
        if encoding is not None:
            self.violations.count(f"{field}.token_mask", len(encoding.token_mask), 1, MAX_CONTEXT)
            self.size(f"{field}.embedding.values", encoding.embedding.values)
            self.size(f"{field}.token_states", encoding.token_states)
            if encoding.decoder_states is not None:
                self.size(f"{field}.decoder_states", encoding.decoder_states)
        return encoding

    def unconditional(self, request: decoder_pb2.DecodeRequest | decoder_pb2.InvertRequest) -> TextEncoding | None:
        """What every decoder that reads text has to be given."""
        if self._spec.ignores_text and not request.HasField("unconditional_text"):
            return None
        return self.text(request.unconditional_text, "unconditional_text")

    def size(self, field: str, values: Float32Array, most: float = MAX_SIZE) -> None:
        if (largest := float(np.abs(values).max())) > most:
            self.violations.add(f"{field}.data", f"must be -{most:g} to {most:g}; got a value of size {largest:g}")

    def picture_size(self, request: decoder_pb2.DecodeRequest | decoder_pb2.InvertRequest) -> tuple[int, int]:
        width = request.width if request.HasField("width") else None
        height = request.height if request.HasField("height") else None
        return size_of(width, height, self._spec.size, self._spec.sizes, self.violations)

    def tensor(
        self, message: tensor_pb2.Tensor, field: str, shape: Sequence[int | None], most: float = MAX_SIZE
    ) -> Float32Array | None:
        found = self.violations.take(lambda: tensors.from_proto(message, field, dtype=np.float32, shape=shape))
        if found is not None:
            self.size(field, found, most)
        return found

    def known(self, message: known_pixels_pb2.KnownPixels, width: int, height: int) -> KnownPixels | None:
        return KnownPixels.from_proto(message, "known", width, height, self.violations)

    def sampling(self, message: sampling_pb2.SamplingOptions) -> SamplingSettings:
        return sampling_from_proto(message, self._spec.defaults, "sampling", self.violations)

    def fast(self, request: decoder_pb2.DecodeRequest) -> SamplingSettings:
        """How the decoder's student samples, which does that alone."""
        if self._spec.fast is None:
            raise PreconditionFailed("fast", "this decoder has no student: it samples by itself alone")
        ranges = {**RANGES, "guidance_scale": FAST_GUIDANCE}
        sampling = sampling_from_proto(request.sampling, self._spec.fast, "sampling", self.violations, ranges)
        if 0 < sampling.eta <= 1:
            self.violations.add("sampling.eta", f"must be 0 of a student; got {sampling.eta:g}")
        for name in ("start_noise", "known"):
            if request.HasField(name):
                self.violations.add(name, "must be unset where fast is set: only the decoder itself begins with it")
        return sampling
