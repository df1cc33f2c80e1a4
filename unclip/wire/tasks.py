"""What one call of a stage asks for, as a value that is written to its message and read from it.

Whoever reads one, stub or service, reads it here, so that both refuse the same ones, every broken rule at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

from unclip.api.decoder.v1 import decoder_pb2, upsampler_pb2
from unclip.api.prior.v1 import prior_pb2
from unclip.options import SamplingSettings, inversion_passes
from unclip.wire.by_name import limited
from unclip.wire.embeddings import Embedding, TextEncoding
from unclip.wire.images import decode_image, fit, to_pixels
from unclip.wire.known import KnownPixels
from unclip.wire.limits import MAX_CANDIDATES, MAX_STEPS
from unclip.wire.sizes import size_of
from unclip.wire.stage_reading import MAX_SIZE, TASKS, Float32Array, StageReader, StageSpec
from unclip.wire.violations import Violations

Task = TypeVar("Task", "SampleTask", "DecodeTask", "InvertTask", "UpsampleTask")


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
        reading = StageReader(spec)
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
        reading = StageReader(spec)
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

    @property
    def passes(self) -> int:
        """Of the network, see `unclip.options.inversion_passes`."""
        return inversion_passes(self.steps, self.report_psnr)

    @classmethod
    def from_proto(cls, request: decoder_pb2.InvertRequest, spec: StageSpec) -> tuple[InvertTask, Float32Array]:
        """The task in a request, and its picture at the size that is asked for: float32 ``[3, height, width]`` in
        [-1, 1]. It takes as long as decoding the file does.

        Raises:
            InvalidRequest, PreconditionFailed: as the other tasks.
        """
        reading = StageReader(spec)
        steps = reading.steps(request)
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
        reading = StageReader(spec)
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
