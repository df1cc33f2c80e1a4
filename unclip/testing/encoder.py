"""Stub of the EncoderService: words become a point and states that follow from them, so do pixels."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial

import numpy as np
from PIL import Image

from unclip.api.encoder.v1 import encoder_pb2, encoder_pb2_grpc
from unclip.checkpoints.words import KnownWords
from unclip.serving.model_info import with_vocabulary
from unclip.serving.server import Service
from unclip.testing.drawing import draw
from unclip.testing.stub import Context, Stub
from unclip.wire.embeddings import Embedding, TextEncoding
from unclip.wire.images import fit
from unclip.wire.limits import MAX_CAPTIONS, MAX_IMAGES
from unclip.wire.notices import caption_cut, words_unknown
from unclip.wire.requests import read_encode_image, read_encode_text

NAME = encoder_pb2.DESCRIPTOR.services_by_name["EncoderService"].full_name
SEEN_SIDE = 32  # pictures that look the same at this size have the same embedding


class StubEncoder(Stub, encoder_pb2_grpc.EncoderServiceServicer):
    """Encodes captions by their words and pictures by their pixels."""

    stage = "encoder"
    capabilities = ("encode_text", "encode_image")

    @cached_property
    def _taught(self) -> KnownWords | None:
        vocabulary = self.model.vocabulary
        return None if vocabulary is None else KnownWords(vocabulary, [self.model.caption_template])

    @property
    def service(self) -> Service:
        """The stub as a service of a server."""
        return Service(NAME, encoder_pb2_grpc.add_EncoderServiceServicer_to_server, self, version=self.model.version)

    async def EncodeText(
        self, request: encoder_pb2.EncodeTextRequest, context: Context
    ) -> encoder_pb2.EncodeTextResponse:
        """Encodes captions."""
        with self.work(request, context, "encode_text", min(len(request.captions), MAX_CAPTIONS)) as work:
            captions = read_encode_text(request)
            await work.run_single_step()
        encodings = [self.encode_text(caption, f"captions[{index}]") for index, caption in enumerate(captions)]
        return encoder_pb2.EncodeTextResponse(
            encodings=[encoding.to_proto() for encoding in encodings],
            model_version=self.model.version,
            notices=[notice.to_proto() for encoding in encodings for notice in encoding.notices],
        )

    async def EncodeImage(
        self, request: encoder_pb2.EncodeImageRequest, context: Context
    ) -> encoder_pb2.EncodeImageResponse:
        """Encodes pictures."""
        with self.work(request, context, "encode_image", max(1, min(len(request.images), MAX_IMAGES))) as work:
            readers = read_encode_image(request, SEEN_SIDE)
            with self.decoding.admitted(sum(cost for cost, _ in readers), work.client) as admitted:
                images = await admitted.each([(cost, partial(see, decode)) for cost, decode in readers])
            await work.run_single_step()
        return encoder_pb2.EncodeImageResponse(
            embeddings=[self.encode_image(image).to_proto() for image in images],
            model_version=self.model.version,
            null_embedding=self.encode_null_image().to_proto() if request.null_image else None,
        )

    async def GetModelInfo(
        self, request: encoder_pb2.GetModelInfoRequest, context: Context
    ) -> encoder_pb2.GetModelInfoResponse:
        """Says which model is stubbed."""
        return encoder_pb2.GetModelInfoResponse(
            model=with_vocabulary(self.info, self.model.vocabulary, request.vocabulary)
        )

    def encode_text(self, caption: str, field: str = "") -> TextEncoding:
        """The encoding of a caption: one token a word between a start and an end; what exceeds L is cut."""
        length, dim, said = self.model.context, self.model.dim, caption.split()
        words, left_out = [word.lower() for word in said[: length - 2]], " ".join(said[length - 2 :])
        notices = [caption_cut(field, len(said), length - 2, left_out)] if left_out else []
        if self._taught and (unknown := self._taught.unknown(" ".join(said[: length - 2]))):
            notices.append(words_unknown(field, unknown))
        return TextEncoding(
            Embedding(draw((dim,), "text", self.model.version, words), self.model.clip_space),
            draw((length, dim), "states", self.model.version, words),
            np.arange(length) < len(words) + 2,
            tuple(notices),
        )

    def encode_null_image(self) -> Embedding:
        """The embedding of the null picture."""
        return Embedding(draw((self.model.dim,), "null", self.model.version), self.model.clip_space)

    def encode_image(self, image: Image.Image) -> Embedding:
        """The embedding of an RGB picture."""
        seen = fit(image, SEEN_SIDE).tobytes()
        return Embedding(draw((self.model.dim,), "image", self.model.version, seen), self.model.clip_space)


def see(decode: Callable[[], Image.Image]) -> Image.Image:
    """A picture as small as it is looked at, which may have been large."""
    return fit(decode(), SEEN_SIDE)
