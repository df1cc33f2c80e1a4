"""Stages in front of which the gateway is tested: real sockets, answers from the seed alone, and faults to order.

They speak the contracts with generated messages and numpy only, so that a mistake shared by the gateway and the
project's own conversions shows.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc
import numpy as np
from google.protobuf.message import Message

from unclip.api.decoder.v1 import decoder_pb2, decoder_pb2_grpc, upsampler_pb2, upsampler_pb2_grpc
from unclip.api.encoder.v1 import encoder_pb2, encoder_pb2_grpc
from unclip.api.prior.v1 import prior_pb2, prior_pb2_grpc
from unclip.api.type.v1 import embedding_pb2, image_pb2, model_info_pb2, sampling_pb2, tensor_pb2

Answer = TypeVar("Answer")
Context = grpc.aio.ServicerContext[Any, Any]

STEPS = 4
BASE, FINAL = 8, 16


@dataclass
class Peer:
    """What one stage was asked, and how it shall misbehave.

    lacks: a capability it does not tell of. step_s: seconds a step takes. hangs: it never takes its first step.
    refuses: it answers every call with this status. breaks: how many streams break off after ``break_after`` steps,
    with ``break_status`` or, when that is None, as if they were complete.
    """

    asked: list[Message] = field(default_factory=list)
    metadata: list[dict[str, str | bytes]] = field(default_factory=list)
    running: int = 0
    clip_space: str = "clip"
    version: str = "v1"
    lacks: str = ""
    step_s: float = 0.0
    hangs: bool = False
    refuses: grpc.StatusCode | None = None
    breaks: int = 0
    break_after: int = 2
    break_status: grpc.StatusCode | None = grpc.StatusCode.UNAVAILABLE

    async def note(self, request: Message, context: Context) -> None:
        """Remembers a call, and refuses it when told to."""
        self.asked.append(request)
        self.metadata.append(dict(context.invocation_metadata() or ()))
        if self.refuses is not None:
            await context.abort(self.refuses, "refused as ordered")

    async def walk(
        self,
        request: Message,
        context: Context,
        stage: sampling_pb2.Stage.ValueType,
        tell: Callable[..., Answer],
        last: Callable[[], Answer],
        preview: Callable[[], Answer] | None = None,
    ) -> AsyncIterator[Answer]:
        """Steps, previews and the last message of a stream, unless it was told to break off."""
        self.running += 1
        try:
            await self.note(request, context)
            if self.hangs:
                await asyncio.sleep(600)
            breaking = self.breaks > 0
            self.breaks -= breaking
            for step in range(1, STEPS + 1):
                await asyncio.sleep(self.step_s)
                if breaking and step > self.break_after:
                    if self.break_status is not None:
                        await context.abort(self.break_status, "broke off as ordered")
                    return
                yield tell(progress=sampling_pb2.Progress(stage=stage, step=step, of=STEPS))
                if preview is not None:
                    yield preview()
            yield last()
        finally:
            self.running -= 1

    def info(
        self, capabilities: Sequence[str], stage: sampling_pb2.Stage.ValueType, guidance: float
    ) -> model_info_pb2.ModelInfo:
        """What this stage says of its model."""
        defaults = sampling_pb2.SamplingOptions(
            sampler=sampling_pb2.SAMPLER_DDPM, steps=STEPS, guidance_scale=guidance, eta=0
        )
        return model_info_pb2.ModelInfo(
            name="peers",
            version=self.version,
            license="MIT",
            clip_space=self.clip_space,
            device="cpu",
            capabilities=[capability for capability in capabilities if capability != self.lacks],
            stages=[model_info_pb2.StageInfo(stage=stage, defaults=defaults)],
            caption_template="a photo of {}",
        )


def draw(shape: Sequence[int], *causes: object) -> tensor_pb2.Tensor:
    """A float32 tensor in [-1, 1] that follows from ``causes`` alone."""
    digest = hashlib.sha256(repr(causes).encode()).digest()
    values = np.random.default_rng(int.from_bytes(digest[:8], "little")).uniform(-1, 1, shape).astype("<f4")
    return tensor_pb2.Tensor(data_type=tensor_pb2.DATA_TYPE_FLOAT32, shape=shape, data=values.tobytes())


class Encoder(encoder_pb2_grpc.EncoderServiceServicer):
    """Encodes anything to what follows from its bytes."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer

    async def EncodeText(
        self, request: encoder_pb2.EncodeTextRequest, context: Context
    ) -> encoder_pb2.EncodeTextResponse:
        await self.peer.note(request, context)
        mask = tensor_pb2.Tensor(data_type=tensor_pb2.DATA_TYPE_BOOL, shape=[5], data=b"\1\1\1\0\0")
        return encoder_pb2.EncodeTextResponse(
            encodings=[
                embedding_pb2.TextEncoding(
                    embedding=embedding_pb2.Embedding(values=draw([6], caption), clip_space=self.peer.clip_space),
                    token_states=draw([5, 4], caption),
                    token_mask=mask,
                )
                for caption in request.captions
            ]
        )

    async def EncodeImage(
        self, request: encoder_pb2.EncodeImageRequest, context: Context
    ) -> encoder_pb2.EncodeImageResponse:
        await self.peer.note(request, context)
        return encoder_pb2.EncodeImageResponse(
            embeddings=[
                embedding_pb2.Embedding(values=draw([6], image.data), clip_space=self.peer.clip_space)
                for image in request.images
            ]
        )

    async def GetModelInfo(
        self, request: encoder_pb2.GetModelInfoRequest, context: Context
    ) -> encoder_pb2.GetModelInfoResponse:
        model = self.peer.info(["encode_text", "encode_image"], sampling_pb2.STAGE_ENCODER, 1)
        return encoder_pb2.GetModelInfoResponse(model=model)


class Prior(prior_pb2_grpc.PriorServiceServicer):
    """Samples an embedding that follows from the request."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer

    async def Sample(
        self, request: prior_pb2.SampleRequest, context: Context
    ) -> AsyncIterator[prior_pb2.SampleResponse]:
        values = draw([6], request.SerializeToString(deterministic=True))

        def last() -> prior_pb2.SampleResponse:
            embedding = embedding_pb2.Embedding(values=values, clip_space=self.peer.clip_space)
            return prior_pb2.SampleResponse(sampled=prior_pb2.SampledEmbedding(embedding=embedding))

        async for answer in self.peer.walk(request, context, sampling_pb2.STAGE_PRIOR, prior_pb2.SampleResponse, last):
            yield answer

    async def GetModelInfo(
        self, request: prior_pb2.GetModelInfoRequest, context: Context
    ) -> prior_pb2.GetModelInfoResponse:
        return prior_pb2.GetModelInfoResponse(model=self.peer.info(["sample"], sampling_pb2.STAGE_PRIOR, 4))


class Decoder(decoder_pb2_grpc.DecoderServiceServicer):
    """Decodes to a sample, and inverts to noise, that follow from the request."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer

    async def Decode(
        self, request: decoder_pb2.DecodeRequest, context: Context
    ) -> AsyncIterator[decoder_pb2.DecodeResponse]:
        cause = decoder_pb2.DecodeRequest()
        cause.CopyFrom(request)
        cause.ClearField("preview_interval")  # watching a picture does not change it
        sample = draw([3, BASE, BASE], cause.SerializeToString(deterministic=True))

        def last() -> decoder_pb2.DecodeResponse:
            return decoder_pb2.DecodeResponse(sample=sample)

        def preview() -> decoder_pb2.DecodeResponse:
            image = image_pb2.Image(data=b"so far", media_type="image/webp", width=BASE, height=BASE)
            return decoder_pb2.DecodeResponse(preview=image)

        async for answer in self.peer.walk(
            request,
            context,
            sampling_pb2.STAGE_DECODER,
            decoder_pb2.DecodeResponse,
            last,
            preview if request.preview_interval else None,
        ):
            yield answer

    async def Invert(
        self, request: decoder_pb2.InvertRequest, context: Context
    ) -> AsyncIterator[decoder_pb2.InvertResponse]:
        noise = draw([3, BASE, BASE], request.SerializeToString(deterministic=True))

        def last() -> decoder_pb2.InvertResponse:
            return decoder_pb2.InvertResponse(start_noise=noise)

        async for answer in self.peer.walk(
            request, context, sampling_pb2.STAGE_INVERT, decoder_pb2.InvertResponse, last
        ):
            yield answer

    async def GetModelInfo(
        self, request: decoder_pb2.GetModelInfoRequest, context: Context
    ) -> decoder_pb2.GetModelInfoResponse:
        model = self.peer.info(["decode", "invert"], sampling_pb2.STAGE_DECODER, 8)
        return decoder_pb2.GetModelInfoResponse(model=model)


class Upsampler(upsampler_pb2_grpc.UpsamplerServiceServicer):
    """Upsamples to what follows from the request."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer

    async def Upsample(
        self, request: upsampler_pb2.UpsampleRequest, context: Context
    ) -> AsyncIterator[upsampler_pb2.UpsampleResponse]:
        sample = draw([3, FINAL, FINAL], request.SerializeToString(deterministic=True))

        def last() -> upsampler_pb2.UpsampleResponse:
            return upsampler_pb2.UpsampleResponse(sample=sample)

        async for answer in self.peer.walk(
            request, context, sampling_pb2.STAGE_UPSAMPLER, upsampler_pb2.UpsampleResponse, last
        ):
            yield answer

    async def GetModelInfo(
        self, request: upsampler_pb2.UpsamplerServiceGetModelInfoRequest, context: Context
    ) -> upsampler_pb2.UpsamplerServiceGetModelInfoResponse:
        model = self.peer.info(["upsample"], sampling_pb2.STAGE_UPSAMPLER, 1)
        return upsampler_pb2.UpsamplerServiceGetModelInfoResponse(model=model)


class Peers:
    """The four stages, each on a port of its own that it keeps over a restart."""

    def __init__(self) -> None:
        self.encoder, self.prior, self.decoder, self.upsampler = Peer(), Peer(), Peer(), Peer()
        self._register: dict[str, Callable[[grpc.aio.Server], None]] = {
            "encoder": lambda s: encoder_pb2_grpc.add_EncoderServiceServicer_to_server(Encoder(self.encoder), s),
            "prior": lambda s: prior_pb2_grpc.add_PriorServiceServicer_to_server(Prior(self.prior), s),
            "decoder": lambda s: decoder_pb2_grpc.add_DecoderServiceServicer_to_server(Decoder(self.decoder), s),
            "upsampler": lambda s: upsampler_pb2_grpc.add_UpsamplerServiceServicer_to_server(
                Upsampler(self.upsampler), s
            ),
        }
        self._servers: dict[str, grpc.aio.Server] = {}
        self._ports: dict[str, int] = {}

    @property
    def targets(self) -> dict[str, str]:
        """Where each stage is, or was."""
        return {stage: f"127.0.0.1:{port}" for stage, port in self._ports.items()}

    async def start(self, *stages: str) -> None:
        """Starts ``stages``, all when none is named."""
        for stage in stages or tuple(self._register):
            server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
            self._register[stage](server)
            self._ports[stage] = server.add_insecure_port(f"127.0.0.1:{self._ports.get(stage, 0)}")
            await server.start()
            self._servers[stage] = server

    async def stop(self, *stages: str) -> None:
        """Stops ``stages`` at once, all when none is named."""
        for stage in stages or tuple(self._servers):
            await self._servers.pop(stage).stop(None)
