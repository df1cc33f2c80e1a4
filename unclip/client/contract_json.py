"""The contract in JSON, as protobuf writes it: for who passes requests and answers on without looking into them.

Names are in lowerCamelCase (both cases are read), bytes in Base64, 64-bit integers as strings, enums by the names of
their values. A field that is new in the contract travels by itself; one that nobody knows is refused by name.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message

from unclip.api.gateway.v1 import gateway_pb2
from unclip.api.type.v1 import image_pb2
from unclip.client.aio import AsyncClient
from unclip.client.messages import sendable
from unclip.errors import InvalidRequest
from unclip.wire.recipe_rules import require_one_picture
from unclip.wire.recipe_text import find_text, read_text

Asked = TypeVar("Asked", bound=Message)
UNKNOWN = re.compile(r'no field named "([^"]{0,200})" at "\w+((?:\.\w+)*)')
WRONG = re.compile(r"Failed to parse (\w+) field")
MAX_SAID = 300  # characters of what is wrong


class JsonClient(AsyncClient):
    """An AsyncClient for requests and answers in JSON. Its methods raise what the others do."""

    async def embed_json(self, request: Mapping[str, Any]) -> str:
        """The EmbedResponse to an EmbedRequest."""
        message = await asyncio.to_thread(read, request, gateway_pb2.EmbedRequest())
        with self._calls.call() as how:
            return written(await self._stub.Embed(message, **how))

    async def model_info_json(self, request: Mapping[str, Any]) -> str:
        """The GetModelInfoResponse to a GetModelInfoRequest."""
        message = read(request, gateway_pb2.GetModelInfoRequest())
        with self._calls.call() as how:
            return written(await self._stub.GetModelInfo(message, **how))

    async def stream_json(self, request: Mapping[str, Any]) -> AsyncGenerator[tuple[str, str], None]:
        """Each StreamResponse to a StreamRequest, as it comes: what its event is called, and all of it."""
        message = await asyncio.to_thread(read, request, gateway_pb2.StreamRequest())
        if message.WhichOneof("request") is None:
            kinds = [field.json_name for field in message.DESCRIPTOR.oneofs_by_name["request"].fields]
            raise InvalidRequest.of("request", f"must be one of {', '.join(kinds)}; got none")
        async with aclosing(self._answers(message)) as answers:
            async for answer, _ in answers:
                yield str(answer.WhichOneof("event")), written(answer)


def recipe_json(image: Mapping[str, Any]) -> str:
    """The recipe inside the picture file of an Image, as the GeneratedImage that it was delivered as, without the file.

    Raises:
        InvalidRequest: as `unclip.client.recipes.read_recipe`.
    """
    data = read(image, image_pb2.Image(), "image").data
    text = read_text(find_text(data, "image"), "image")
    require_one_picture(text, "image")
    told = gateway_pb2.GeneratedImage(
        recipe=text.request,
        model_version=text.model_version,
        source_digests=text.source_digests,
        stage_versions=text.stage_versions,
    )
    return written(told)


def image_data(image: Any, field: str) -> bytes:
    """The file in an Image. Raises InvalidRequest, naming ``field``."""
    return read(image, image_pb2.Image(), field).data


def read(given: Any, message: Asked, field: str = "") -> Asked:
    """``message`` filled in. field: what is called so in the request; "" for all of it.

    Raises:
        InvalidRequest: a field is unknown or no value of its kind, or all of it is larger than gRPC takes.
    """
    if not isinstance(given, Mapping):
        raise InvalidRequest.of(field or "request", "must be an object")
    try:
        json_format.ParseDict(dict(given), message)
    except SystemError:  # as protobuf's C says it of half a surrogate pair in a name
        raise InvalidRequest.of(field or "request", "has text that is not Unicode") from None
    except json_format.ParseError as error:
        said = str(error)
        if unknown := UNKNOWN.search(said):
            path = ".".join(part for part in (field, *unknown[2].split(".")[1:], unknown[1]) if part)
            raise InvalidRequest.of(path, "is no field of the contract") from None
        path = ".".join(part for part in (field, *WRONG.findall(said)) if part)
        told = " ".join(said.split())[:MAX_SAID].encode("ascii", "replace").decode()
        raise InvalidRequest.of(path or "request", told) from None
    return sendable(message)


def written(message: Message) -> str:
    """``message`` in JSON, on one line."""
    return json_format.MessageToJson(message, indent=None)
