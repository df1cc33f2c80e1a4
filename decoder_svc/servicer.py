"""DecoderService and UpsamplerService: read requests, have the engine sample, and send what it made."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc
import torch

from decoder_svc.autoencoder import Autoencoder
from decoder_svc.decoder import LANE, Decoder
from decoder_svc.networks import STUDENT
from decoder_svc.previews import previewed
from decoder_svc.upsampler import Upsampler
from unclip.api.decoder.v1 import decoder_pb2, decoder_pb2_grpc, upsampler_pb2, upsampler_pb2_grpc
from unclip.api.type.v1 import image_pb2, model_info_pb2, sampling_pb2, tensor_pb2
from unclip.engine.admission import Expected, Reservation
from unclip.engine.engine import Engine
from unclip.engine.follow import Tick, finished, follow
from unclip.engine.job import Job
from unclip.model_app import asked_steps, expected
from unclip.options import inversion_passes
from unclip.serving.clients import client_of
from unclip.serving.deadlines import Deadlines
from unclip.serving.decoding import Decoding
from unclip.serving.request_id import part_of
from unclip.wire import tensors
from unclip.wire.images import decode_cost, encode_image, from_pixels, psnr
from unclip.wire.stage_reading import Float32Array, StageSpec
from unclip.wire.tasks import DecodeTask, InvertTask, UpsampleTask

Context = grpc.aio.ServicerContext[Any, Any]


class DecoderServicer(decoder_pb2_grpc.DecoderServiceServicer):
    """Serves ``decoder`` through ``engine``; ``info`` is what it says of itself, ``spec`` what it takes."""

    def __init__(
        self,
        decoder: Decoder,
        engine: Engine,
        spec: StageSpec,
        info: model_info_pb2.ModelInfo,
        deadlines: Deadlines,
        decoding: Decoding,
    ) -> None:
        self._decoder, self._engine, self._spec, self._info, self._deadlines = decoder, engine, spec, info, deadlines
        self._decoding = decoding

    async def Decode(
        self, request: decoder_pb2.DecodeRequest, context: Context
    ) -> AsyncIterator[decoder_pb2.DecodeResponse]:
        """Samples a base-size picture, with progress and previews."""
        deadline = self._deadlines.of(context)
        likely, name = self._expected(request, deadline), part_of(context)
        with self._engine.reserve(1, client_of(context), likely, part_of=name) as reservation:
            task = DecodeTask.from_proto(request, self._spec)
            known = await self._latents(task.known.pixels if task.known else None, reservation, deadline)
            trajectory = await asyncio.wrap_future(
                self._engine.call(lambda: self._decoder.decode(task, deadline, known))
            )
            watched = not request.omit_progress or task.preview_interval > 0
            async with aclosing(follow(reservation, [trajectory], watched, task.preview_interval)) as ticks:
                async for tick in ticks:
                    if not request.omit_progress:
                        yield decoder_pb2.DecodeResponse(progress=progress(tick, sampling_pb2.STAGE_DECODER))
                    if tick.predicted is not None:
                        shown = await asyncio.to_thread(preview, tick.predicted, self._decoder.latent_rgb)
                        yield decoder_pb2.DecodeResponse(preview=shown)
        yield decoder_pb2.DecodeResponse(sample=tensor(trajectory), model_version=self._info.version)

    async def Invert(
        self, request: decoder_pb2.InvertRequest, context: Context
    ) -> AsyncIterator[decoder_pb2.InvertResponse]:
        """Finds the noise x_T from which DDIM decodes a picture, with progress."""
        deadline = self._deadlines.of(context)
        client, steps = client_of(context), asked_steps(request, self._spec.defaults)
        scale, passes = self._scale(request), inversion_passes(steps, report_psnr=False)
        likely = [Expected("decoder", passes, deadline, scale=scale)]
        if request.report_psnr:
            likely.append(Expected("decoder", steps, deadline, scale=scale, follows=True))  # and back
        with self._engine.reserve(len(likely), client, *likely, part_of=part_of(context)) as reservation:
            with self._decoding.admitted(decode_cost([request.image]), client) as admitted:
                task, picture = await admitted.run(InvertTask.from_proto, request, self._spec)
            latents = await self._latents(picture, reservation, deadline)
            sample = torch.from_numpy(picture) if latents is None else latents
            there = await asyncio.wrap_future(self._engine.call(lambda: self._decoder.invert(task, sample, deadline)))
            async with aclosing(follow(reservation, [there], not request.omit_progress)) as ticks:
                async for tick in ticks:
                    yield decoder_pb2.InvertResponse(progress=progress(tick, sampling_pb2.STAGE_INVERT, of=task.passes))
            back = None
            if task.report_psnr:
                again = task.reconstruction(there.future.result().numpy())
                back = await asyncio.wrap_future(self._engine.call(lambda: self._decoder.decode(again, deadline)))
                async with aclosing(follow(reservation, [back], not request.omit_progress)) as ticks:
                    async for tick in ticks:
                        done = task.passes - tick.of
                        message = progress(tick, sampling_pb2.STAGE_INVERT, done, task.passes)
                        yield decoder_pb2.InvertResponse(progress=message)
        near = None if back is None else psnr(back.future.result().numpy(), sample.numpy())
        yield decoder_pb2.InvertResponse(start_noise=tensor(there), psnr=near, model_version=self._info.version)

    def _expected(self, request: decoder_pb2.DecodeRequest, deadline: float) -> Expected:
        """The work that is asked for, before it is checked."""
        fast = self._spec.fast if request.fast else None
        program, defaults = (LANE, self._spec.defaults) if fast is None else (STUDENT, fast)
        scale, distilled = self._scale(request), fast is not None
        return expected(program, request.sampling, defaults, deadline, scale=scale, distilled=distilled)

    def _scale(self, request: decoder_pb2.DecodeRequest | decoder_pb2.InvertRequest) -> float:
        """Pixels of the picture that is asked for, those of a usual one counted as 1, before it is checked."""
        return self._spec.relative_size(request.width * request.height)

    async def _latents(
        self, picture: Float32Array | None, reservation: Reservation, deadline: float
    ) -> torch.Tensor | None:
        """What the decoder walks of a picture, float32 ``[3, H, W]``; None of none, and where that is pixels."""
        if picture is None or self._decoder.scale == 1:
            return None
        job = await asyncio.wrap_future(self._engine.call(lambda: self._decoder.read(picture, deadline)))
        await finished(reservation.ahead(), [job])
        return job.future.result()

    async def GetModelInfo(
        self, request: decoder_pb2.GetModelInfoRequest, context: Context
    ) -> decoder_pb2.GetModelInfoResponse:
        """Says which model is loaded."""
        return decoder_pb2.GetModelInfoResponse(model=self._info)


class UpsamplerServicer(upsampler_pb2_grpc.UpsamplerServiceServicer):
    """Serves an upsampler, or an autoencoder in its place, through ``engine``; the rest as for the decoder."""

    def __init__(
        self,
        upsampler: Upsampler | Autoencoder,
        engine: Engine,
        spec: StageSpec,
        info: model_info_pb2.ModelInfo,
        deadlines: Deadlines,
    ) -> None:
        self._upsampler, self._engine, self._spec, self._info = upsampler, engine, spec, info
        self._deadlines = deadlines

    async def Upsample(
        self, request: upsampler_pb2.UpsampleRequest, context: Context
    ) -> AsyncIterator[upsampler_pb2.UpsampleResponse]:
        """Upsamples one picture, with progress."""
        deadline = self._deadlines.of(context)
        likely, name = self._expected(request, deadline), part_of(context)
        with self._engine.reserve(1, client_of(context), likely, part_of=name) as reservation:
            task = UpsampleTask.from_proto(request, self._spec)
            job = await asyncio.wrap_future(self._engine.call(lambda: self._upsampler.upsample(task, deadline)))
            async with aclosing(follow(reservation, [job], not request.omit_progress)) as ticks:
                async for tick in ticks:
                    yield upsampler_pb2.UpsampleResponse(progress=progress(tick, sampling_pb2.STAGE_UPSAMPLER))
        yield upsampler_pb2.UpsampleResponse(sample=tensor(job), model_version=self._info.version)

    def _expected(self, request: upsampler_pb2.UpsampleRequest, deadline: float) -> Expected:
        """The work that is asked for, before it is checked."""
        if self._spec.scale == 1:
            return expected("upsampler", request.sampling, self._spec.defaults, deadline, priority=1)
        pixels = self._spec.scale**2 * math.prod(request.sample.shape[1:])
        return Expected("latent_decoder", 1, deadline, priority=1, scale=self._spec.relative_size(pixels))

    async def GetModelInfo(
        self, request: upsampler_pb2.UpsamplerServiceGetModelInfoRequest, context: Context
    ) -> upsampler_pb2.UpsamplerServiceGetModelInfoResponse:
        """Says which model is loaded."""
        return upsampler_pb2.UpsamplerServiceGetModelInfoResponse(model=self._info)


def progress(
    tick: Tick, stage: sampling_pb2.Stage.ValueType, done: int = 0, of: int | None = None
) -> sampling_pb2.Progress:
    """A tick as a message. done: steps of the stage before the tick's job; of: all, None where it has no other job."""
    step, steps = done + tick.step, tick.of if of is None else of
    return sampling_pb2.Progress(stage=stage, step=step, of=steps, queue_position=tick.queue_position)


def preview(predicted: torch.Tensor, latent_rgb: torch.Tensor | None) -> image_pb2.Image:
    """A prediction, see `decoder_svc.previews.previewed`, as a small file."""
    return encode_image(from_pixels(previewed(predicted, latent_rgb).numpy()), "image/webp")


def tensor(job: Job[torch.Tensor]) -> tensor_pb2.Tensor:
    """The result of a finished job as a message."""
    return tensors.to_proto(job.future.result().numpy())
