"""Stubs of the DecoderService and the UpsamplerService: colour gradients in place of pictures.

A decoded picture follows from embedding, texts and seed. An inverted picture comes back when it is decoded from the
noise found, tinted by the embedding, so that variations and text diffs look like their source.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator

import numpy as np

from unclip.api.decoder.v1 import decoder_pb2, decoder_pb2_grpc, upsampler_pb2, upsampler_pb2_grpc
from unclip.api.type.v1 import sampling_pb2
from unclip.serving.server import Service
from unclip.testing.drawing import (
    Float32Array,
    draws_noise,
    gradient,
    latents_of,
    pixels_of,
    resize,
    sampling_key,
    text_key,
)
from unclip.testing.stub import Context, Stub
from unclip.wire import tensors
from unclip.wire.images import decode_cost, encode_image, from_pixels, psnr
from unclip.wire.tasks import DecodeTask, InvertTask, UpsampleTask

DECODER = decoder_pb2.DESCRIPTOR.services_by_name["DecoderService"].full_name
UPSAMPLER = upsampler_pb2.DESCRIPTOR.services_by_name["UpsamplerService"].full_name
TINT = 0.2  # share of the gradient in a picture that starts from given noise
SHADE = 0.05  # share of what the upsampler adds


class StubDecoder(Stub, decoder_pb2_grpc.DecoderServiceServicer):
    """Decodes to pictures, and inverts to noise, that follow from the request."""

    stage = "decoder"
    capabilities = ("decode", "invert", "edit")

    @property
    def service(self) -> Service:
        """The stub as a service of a server."""
        return Service(DECODER, decoder_pb2_grpc.add_DecoderServiceServicer_to_server, self, version=self.model.version)

    async def Decode(
        self, request: decoder_pb2.DecodeRequest, context: Context
    ) -> AsyncIterator[decoder_pb2.DecodeResponse]:
        """Samples a base-size picture, with progress and previews."""
        capability, size = "edit" if request.HasField("known") else "decode", request.width * request.height
        with self.work(request, context, capability, self.places_of(size)) as work:
            task = DecodeTask.from_proto(request, self.spec)
            picture, shown = self.decode(task), 0
            async for progress in work.take_steps(steps_of(task), sampling_pb2.STAGE_DECODER):
                if not request.omit_progress:
                    yield decoder_pb2.DecodeResponse(progress=progress)
                if task.preview_interval and shown + task.preview_interval <= progress.step < progress.of:
                    shown = progress.step
                    emerging = keep(task, np.float32(progress.step / progress.of) * picture)  # out of grey
                    _, height, width = emerging.shape
                    small = resize(emerging, width // self.spec.scale, height // self.spec.scale)
                    yield decoder_pb2.DecodeResponse(preview=encode_image(from_pixels(small), "image/webp"))
        if not work.cut:
            sample = tensors.to_proto(self.sample_of(picture))
            yield decoder_pb2.DecodeResponse(sample=sample, model_version=self.model.version)

    async def Invert(
        self, request: decoder_pb2.InvertRequest, context: Context
    ) -> AsyncIterator[decoder_pb2.InvertResponse]:
        """Finds the noise behind a picture, with progress."""
        trajectories, size = 2 if request.report_psnr else 1, request.width * request.height
        with self.work(request, context, "invert", trajectories * self.places_of(size)) as work:
            with self.decoding.admitted(decode_cost([request.image]), work.client) as admitted:
                task, picture = await admitted.run(InvertTask.from_proto, request, self.spec)
            async for progress in work.take_steps(task.passes, sampling_pb2.STAGE_INVERT):
                if not request.omit_progress:
                    yield decoder_pb2.InvertResponse(progress=progress)
        if not work.cut:
            noise = self.invert(task, picture)
            again = self.sample_of(self.decode(task.reconstruction(noise))) if task.report_psnr else None
            near = None if again is None else psnr(again, self.sample_of(picture))
            yield decoder_pb2.InvertResponse(
                start_noise=tensors.to_proto(noise), psnr=near, model_version=self.model.version
            )

    async def GetModelInfo(
        self, request: decoder_pb2.GetModelInfoRequest, context: Context
    ) -> decoder_pb2.GetModelInfoResponse:
        """Says which model is stubbed."""
        return decoder_pb2.GetModelInfoResponse(model=self.info)

    def decode(self, task: DecodeTask) -> Float32Array:
        """The picture of a task, float32 ``[3, H, W]`` in [-1, 1]."""
        painted = gradient(
            task.width or self.spec.size,
            task.height or self.spec.size,
            self.model.version,
            task.embedding.values,
            *self._guidance_key(task),
            *sampling_key(task.sampling),
            *(["fast"] if task.fast else []),
            task.seed if task.start_noise is None or draws_noise(task.sampling) else None,
        )
        if task.start_noise is None:
            return keep(task, painted)
        noise = task.start_noise if self.spec.scale == 1 else pixels_of(task.start_noise, self.spec.scale)
        return keep(task, np.clip((1 - TINT) * noise + TINT * painted, -1, 1))

    def _guidance_key(self, task: DecodeTask) -> tuple[object, ...]:
        """What of a task's condition, its embedding aside, the picture follows from."""
        if self.spec.ignores_text:
            away = task.unconditional_embedding
            return (away.values,) if task.guided and away is not None else ()
        key = text_key(task.text or task.unconditional_text)
        return (*key, *text_key(task.unconditional_text if task.guided else None))

    def sample_of(self, picture: Float32Array) -> Float32Array:
        """A picture, float32 ``[3, H, W]``, as it is sampled."""
        return picture if self.spec.scale == 1 else latents_of(picture, self.spec.scale)

    def invert(self, task: InvertTask, picture: Float32Array) -> Float32Array:
        """The noise of a task: nearly the picture itself, float32 ``[3, H, W]``, as it is sampled."""
        text = None if self.spec.ignores_text else task.unconditional_text
        causes = (self.model.version, task.embedding.values, *text_key(text), task.steps)
        _, height, width = picture.shape
        return self.sample_of(picture + SHADE * gradient(width, height, *causes))


class StubUpsampler(Stub, upsampler_pb2_grpc.UpsamplerServiceServicer):
    """Upsamples, with a shade that follows from the seed."""

    stage = "upsampler"
    capabilities = ("upsample", "edit")

    @property
    def service(self) -> Service:
        """The stub as a service of a server."""
        return Service(
            UPSAMPLER, upsampler_pb2_grpc.add_UpsamplerServiceServicer_to_server, self, version=self.model.version
        )

    async def Upsample(
        self, request: upsampler_pb2.UpsampleRequest, context: Context
    ) -> AsyncIterator[upsampler_pb2.UpsampleResponse]:
        """Upsamples one picture, with progress."""
        capability, size = "edit" if request.HasField("known") else "upsample", 0
        if self.spec.scale > 1:  # of its autoencoder's pictures
            size = self.spec.scale**2 * math.prod(request.sample.shape[1:])
        with self.work(request, context, capability, self.places_of(size)) as work:
            task = UpsampleTask.from_proto(request, self.spec)
            steps = steps_of(task) if self.spec.scale == 1 else 1  # an autoencoder has one
            async for progress in work.take_steps(steps, sampling_pb2.STAGE_UPSAMPLER):
                if not request.omit_progress:
                    yield upsampler_pb2.UpsampleResponse(progress=progress)
        if not work.cut:
            yield upsampler_pb2.UpsampleResponse(
                sample=tensors.to_proto(self.upsample(task)), model_version=self.model.version
            )

    async def GetModelInfo(
        self, request: upsampler_pb2.UpsamplerServiceGetModelInfoRequest, context: Context
    ) -> upsampler_pb2.UpsamplerServiceGetModelInfoResponse:
        """Says which model is stubbed."""
        return upsampler_pb2.UpsamplerServiceGetModelInfoResponse(model=self.info)

    def upsample(self, task: UpsampleTask) -> Float32Array:
        """The picture of a task, float32 ``[3, H, W]`` in [-1, 1]."""
        if self.spec.scale > 1:
            return keep(task, pixels_of(task.sample, self.spec.scale))
        size = self.spec.size
        shade = gradient(size, size, self.model.version, task.seed, *sampling_key(task.sampling))
        return keep(task, np.clip((1 - SHADE) * resize(task.sample, size, size) + SHADE * shade, -1, 1))


def keep(task: DecodeTask | UpsampleTask, pixels: Float32Array) -> Float32Array:
    """Pixels, float32 ``[3, H, W]``, with those in their place that the task knows."""
    return pixels if task.known is None else task.known.keep(pixels)


def steps_of(task: DecodeTask | UpsampleTask) -> int:
    """Steps of its trajectory, resampling included."""
    steps = task.sampling.steps
    return steps if task.known is None else task.known.evaluations(steps)
