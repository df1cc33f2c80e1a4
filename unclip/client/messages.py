"""Between the client's values and messages, both ways. What can be refused unasked raises InvalidRequest."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

import numpy as np
from google.protobuf.message import Message

from unclip.api.gateway.v1 import gateway_pb2
from unclip.api.type.v1 import embedding_pb2, image_pb2, model_info_pb2, sampling_pb2
from unclip.checkpoints.vocabulary import Vocabulary
from unclip.client.answers import (
    Embeddings,
    Event,
    GeneratedImage,
    ModelInfo,
    Preview,
    Progress,
    Recipe,
    ReplicaCount,
    StageInfo,
)
from unclip.client.pictures import file_bytes
from unclip.client.values import KINDS, Embed, Generate, Interpolate, Quality, Request, Sampling
from unclip.errors import InvalidRequest
from unclip.options import Sizes
from unclip.serving.channels import MAX_MESSAGE
from unclip.wire.by_name import PLAIN, Converter, NotKnown, brief, integer, text
from unclip.wire.embeddings import Embedding
from unclip.wire.images import MAX_BYTES_TOGETHER
from unclip.wire.limits import MAX_CAPTIONS, MAX_FRAMES, MAX_IMAGES
from unclip.wire.notices import Notice
from unclip.wire.quality import can_be_fast
from unclip.wire.recipe_text import RecipeText

Asked = TypeVar("Asked", bound=Message)


def stream_message(request: Request, preview_interval: int = 0) -> gateway_pb2.StreamRequest:
    """The message that asks for ``request`` as a stream. Raises InvalidRequest."""
    kind = next((name for name, kind in KINDS.items() if isinstance(request, kind)), None)
    if kind is None:
        raise InvalidRequest.of(
            "request", f"must be a Generate, Vary, TextDiff, Interpolate or Edit; got {brief(request)}"
        )
    if isinstance(request, Interpolate) and request.to_caption is not None and text(request.to_caption, "to_caption"):
        if request.to is not None:
            raise InvalidRequest.of(
                "to_caption", f"must be empty where to is a picture; got {brief(request.to_caption)}"
            )
    elif isinstance(request, Interpolate):
        request = dataclasses.replace(request, to=file_bytes(request.to, "to"))  # which must be there
    for name in ("thetas", "ts"):
        require_few(getattr(request, name, ()), name, MAX_FRAMES)
    message = gateway_pb2.StreamRequest(preview_interval=integer(preview_interval, "preview_interval", 32))
    getattr(message, kind).SetInParent()
    CONVERTER.write(request, getattr(message, kind))
    return sendable(message)


def quality_of(request: Generate, usual: Quality | None) -> Quality | None:
    """What ``request`` is painted in by a stack whose ``ModelInfo.quality`` is ``usual``. Raises InvalidRequest."""
    if request.quality is not None or usual != "fast":
        return request.quality or usual
    return "fast" if can_be_fast(stream_message(request).generate) else "standard"


def embed_message(asked: Embed) -> gateway_pb2.EmbedRequest:
    """The message that asks for embeddings. Raises InvalidRequest."""
    require_few(asked.captions, "captions", MAX_CAPTIONS)
    require_few(asked.images, "images", MAX_IMAGES)
    message = CONVERTER.write(asked, gateway_pb2.EmbedRequest())
    size = sum(len(image.data) for image in message.images)
    if size > MAX_BYTES_TOGETHER:
        raise InvalidRequest.of("images", f"must be at most {MAX_BYTES_TOGETHER} bytes together; got {size}")
    return sendable(message)


def require_few(items: Any, field: str, most: int) -> None:
    """Raises InvalidRequest where there are more ``items`` than a request may have, before any of them is read."""
    listed = isinstance(items, list | tuple | range) or (isinstance(items, np.ndarray) and items.ndim)
    if listed and len(items) > most:
        raise InvalidRequest.of(field, f"must hold 0 to {most} values; got {len(items)}")


def sendable(message: Asked) -> Asked:
    """``message``, which gRPC's core takes: of what it does not it says that there is no room, and tries again.

    Raises:
        InvalidRequest: it is too large, naming limit and size.
    """
    if (size := message.ByteSize()) > MAX_MESSAGE:
        raise InvalidRequest.of("request", f"must be at most {MAX_MESSAGE} bytes; got {size}")
    return message


def event_of(message: gateway_pb2.StreamResponse) -> Event | None:
    """The event in ``message``; None for an event, or a stage, younger than this client."""
    match message.WhichOneof("event"):
        case "progress":
            try:
                return CONVERTER.read(Progress, message.progress)
            except NotKnown:
                return None
        case "preview":
            return CONVERTER.read(Preview, message.preview, message.preview.image)
        case "image":
            return generated_image(message.image)
        case "notice":
            return Notice.from_proto(message.notice)
    return None


def generated_images(answer: Any) -> list[GeneratedImage]:
    """The pictures of a response, each with the notices of all."""
    notices = notices_of(answer)
    return [dataclasses.replace(generated_image(message), notices=notices) for message in answer.images]


def notices_of(answer: Any) -> tuple[Notice, ...]:
    """What a response tells beside what was asked for."""
    return tuple(Notice.from_proto(notice) for notice in answer.notices)


def generated_image(message: gateway_pb2.GeneratedImage) -> GeneratedImage:
    """One finished picture."""
    return CONVERTER.read(GeneratedImage, message, message.image)


def recipe_of(text: RecipeText) -> Recipe:
    """The recipe that a file holds."""
    return Recipe(request_of(text.request), text.model_version, text.source_digests, text.stage_versions)


def request_of(message: gateway_pb2.StreamRequest, name: str = "") -> Request:
    """The request in a recipe, its source pictures left out."""
    kind = message.WhichOneof("request") or "generate"
    return CONVERTER.read(KINDS[kind], getattr(message, kind))


def embeddings_of(message: gateway_pb2.EmbedResponse) -> Embeddings:
    """The embeddings of a response."""
    return CONVERTER.read(Embeddings, message, notices=notices_of(message))


def model_info_of(answer: gateway_pb2.GetModelInfoResponse) -> ModelInfo:
    """What the stack has loaded."""
    return CONVERTER.read(ModelInfo, answer.model, answer)


def image_message(picture: Any, path: str) -> image_pb2.Image:
    """A picture to send."""
    return image_pb2.Image(data=file_bytes(picture, path))


def sampling_message(sampling: Any, path: str) -> sampling_pb2.SamplingOptions | None:
    """Sampling options; None for the defaults."""
    if not isinstance(sampling, Sampling):
        raise InvalidRequest.of(path, f"must be a Sampling; got {brief(sampling)}")
    written = PLAIN.write(sampling, sampling_pb2.SamplingOptions(), f"{path}.")
    return written if written.ByteSize() else None


def embedding_message(embedding: Any, path: str) -> embedding_pb2.Embedding:
    """An embedding, whose values are float32 in whatever order of bytes."""
    if not isinstance(embedding, Embedding):
        raise InvalidRequest.of(path, f"must be an Embedding; got {brief(embedding)}")
    try:
        values = np.asarray(embedding.values)
    except ValueError as error:  # rows of several lengths
        raise InvalidRequest.of(f"{path}.values", f"must be float32 [D]; got {brief(embedding.values)}") from error
    if values.ndim != 1 or values.dtype.newbyteorder("=") != np.float32:
        raise InvalidRequest.of(f"{path}.values", f"must be float32 [D]; got {values.dtype} {list(values.shape)}")
    text(embedding.clip_space, f"{path}.clip_space")
    return Embedding(values, embedding.clip_space).to_proto()


def full_name(message: type[Message]) -> str:
    """How a message is called in the contract."""
    return message.DESCRIPTOR.full_name


CONVERTER: Converter = Converter(
    writers={
        full_name(image_pb2.Image): image_message,
        full_name(sampling_pb2.SamplingOptions): sampling_message,
        full_name(embedding_pb2.Embedding): embedding_message,
    },
    readers={
        full_name(sampling_pb2.SamplingOptions): lambda message, name: PLAIN.read(Sampling, message),
        full_name(embedding_pb2.Embedding): Embedding.from_proto,
        full_name(gateway_pb2.StreamRequest): request_of,
        full_name(gateway_pb2.ReplicaCount): lambda message, name: PLAIN.read(ReplicaCount, message),
        full_name(model_info_pb2.StageInfo): lambda message, name: CONVERTER.read(StageInfo, message),
        full_name(model_info_pb2.Sizes): lambda message, name: PLAIN.read(Sizes, message),
        full_name(model_info_pb2.Vocabulary): lambda message, name: PLAIN.read(Vocabulary, message),
    },
)
