"""The EncoderService: reads requests, has the engine run CLIP, and sends what it says."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import grpc

from encoder_svc.encoder import Encoder
from encoder_svc.looking import center_cropped
from encoder_svc.tokenizer import Tokens
from unclip.api.encoder.v1 import encoder_pb2, encoder_pb2_grpc
from unclip.api.type.v1 import embedding_pb2, model_info_pb2
from unclip.engine.engine import Engine
from unclip.engine.follow import finished
from unclip.engine.forward import ForwardJob
from unclip.serving.clients import client_of
from unclip.serving.deadlines import Deadlines
from unclip.serving.decoding import Decoding
from unclip.serving.model_info import with_vocabulary
from unclip.wire.embeddings import Embedding
from unclip.wire.limits import MAX_CAPTIONS, MAX_IMAGES
from unclip.wire.notices import Notice, caption_cut, words_unknown
from unclip.wire.requests import read_encode_image, read_encode_text

Context = grpc.aio.ServicerContext[Any, Any]


class EncoderServicer(encoder_pb2_grpc.EncoderServiceServicer):
    """Serves ``encoder`` through ``engine``; ``info`` is what it says of itself."""

    def __init__(
        self,
        encoder: Encoder,
        engine: Engine,
        info: model_info_pb2.ModelInfo,
        deadlines: Deadlines,
        decoding: Decoding,
    ) -> None:
        self._encoder, self._engine, self._info, self._deadlines = encoder, engine, info, deadlines
        self._decoding = decoding

    async def EncodeText(
        self, request: encoder_pb2.EncodeTextRequest, context: Context
    ) -> encoder_pb2.EncodeTextResponse:
        """Encodes captions."""
        deadline = self._deadlines.of(context)
        count = min(len(request.captions), MAX_CAPTIONS) * self._encoder.text_passes
        with self._engine.reserve(count, client_of(context)) as reservation:
            captions = read_encode_text(request)
            tokens = await asyncio.to_thread(self._encoder.tokenize, captions)
            jobs = self._encoder.text_jobs(tokens, deadline)
            await finished(reservation, jobs)
        encodings = self._encoder.text_encodings([job.future.result() for job in jobs], tokens)
        return encoder_pb2.EncodeTextResponse(
            encodings=[encoding.to_proto() for encoding in encodings],
            model_version=self._info.version,
            notices=[notice.to_proto() for notice in self._notices(tokens)],
        )

    def _notices(self, captions: Sequence[Tokens]) -> Iterator[Notice]:
        """What there is to say of captions."""
        for index, tokens in enumerate(captions):
            if tokens.count > self._encoder.context:
                # Without start and end, which nobody wrote.
                yield caption_cut(f"captions[{index}]", tokens.count - 2, self._encoder.context - 2, tokens.left_out)
            if tokens.unknown:
                yield words_unknown(f"captions[{index}]", tokens.unknown)

    async def EncodeImage(
        self, request: encoder_pb2.EncodeImageRequest, context: Context
    ) -> encoder_pb2.EncodeImageResponse:
        """Encodes pictures."""
        deadline = self._deadlines.of(context)
        # Room comes first: a picture that is refused should not have been decoded.
        client = client_of(context)
        count = min(len(request.images), MAX_IMAGES) + request.null_image
        with self._engine.reserve(count, client) as reservation:
            readers = read_encode_image(request, self._encoder.image_size)
            with self._decoding.admitted(sum(cost for cost, _ in readers), client) as admitted:
                crop = self._encoder.crop
                cropped = await admitted.each(
                    [(cost, partial(center_cropped, decode, crop)) for cost, decode in readers]
                )
                values = await asyncio.to_thread(lambda: [self._encoder.pixels(*each) for each in cropped])
            jobs = [self._encoder.image_job(each, deadline) for each in values]
            null = [self._encoder.null_job(deadline)] if request.null_image else []
            await finished(reservation, [*jobs, *null])
        return encoder_pb2.EncodeImageResponse(
            embeddings=[self._embedding(job) for job in jobs],
            null_embedding=self._embedding(null[0]) if null else None,
            model_version=self._info.version,
        )

    def _embedding(self, job: ForwardJob) -> embedding_pb2.Embedding:
        """What a picture's finished job found, as a message."""
        return Embedding(job.future.result().numpy(), self._encoder.clip_space).to_proto()

    async def GetModelInfo(
        self, request: encoder_pb2.GetModelInfoRequest, context: Context
    ) -> encoder_pb2.GetModelInfoResponse:
        """Says which model is loaded."""
        return encoder_pb2.GetModelInfoResponse(
            model=with_vocabulary(self._info, self._encoder.vocabulary, request.vocabulary)
        )
