"""What the page calls: the public contract in JSON, its stream as server-sent events, and two of the client's tools.

A client of the gateway like any other: rules, limits and rates are the gateway's. What is here bounds bodies, time and
connections, and sees to it that no other site's page can ask for anything.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import ExitStack, aclosing
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from unclip.client.contract_json import JsonClient, recipe_json
from unclip.errors import UnclipError
from unclip.serving.decoding import Decoding
from unclip.web.answers import Events, Frames
from unclip.web.bodies import MAX_TEXTS, Bodies
from unclip.web.calls import call_of, while_connected
from unclip.web.errors import HttpError
from unclip.web.gateway import Gateway
from unclip.web.settings import Settings
from unclip.web.studio.animations import animated
from unclip.web.studio.errors import contract_refusal
from unclip.web.studio.page import Page
from unclip.wire.images import MAX_BYTES

PATH = "/studio/api/"
V1 = PATH + "v1/"
MAX_BODY = 4 * MAX_BYTES // 3 + 4 * MAX_TEXTS  # bytes: the largest picture there may be, in Base64, and all else


class Studio:
    """Serves the page and answers it."""

    def __init__(self, settings: Settings, gateway: Gateway, bodies: Bodies, decoding: Decoding) -> None:
        self._gateway, self._bodies, self._decoding, self._page = gateway, bodies, decoding, Page()
        self._local = is_loopback(settings.host)
        self._public = host_in(settings.public_url)

    @property
    def routes(self) -> list[Route]:
        """Where all of it is."""
        return [
            Route("/", self._page.index),
            Route(V1 + "model", self.model),
            Route(V1 + "stream", self.stream, methods=["POST"]),
            Route(V1 + "embed", self.embed, methods=["POST"]),
            Route(V1 + "recipe", self.recipe, methods=["POST"]),
            Route(V1 + "animation", self.animation, methods=["POST"]),
            Route("/studio/{path:path}", self._page.file),
        ]

    async def model(self, request: Request) -> Response:
        """What the stack has loaded: a GetModelInfoResponse; with ``?vocabulary=true`` also what it was taught."""
        asked = {"vocabulary": request.query_params.get("vocabulary") == "true"}
        async with while_connected(request.receive):
            return in_json(await self._client(request).model_info_json(asked))

    async def stream(self, request: Request) -> Response:
        """Runs a StreamRequest; each StreamResponse is an event. The caller who leaves ends the work."""
        with ExitStack() as room:
            asked = await self._read(request, room)
            answer = Events(frames(self._client(request), asked, call_of(request).id))
            answer.release = room.pop_all().close
        return answer

    async def embed(self, request: Request) -> Response:
        """The EmbedResponse to an EmbedRequest."""
        with ExitStack() as room:
            asked = await self._read(request, room)
            async with while_connected(request.receive):
                return in_json(await self._client(request).embed_json(asked))

    async def recipe(self, request: Request) -> Response:
        """The recipe inside the picture file of an Image."""
        with ExitStack() as room:
            asked = await self._read(request, room)
            async with while_connected(request.receive):
                return in_json(await asyncio.to_thread(recipe_json, asked))

    async def animation(self, request: Request) -> Response:
        """The animated WebP of ``frames``, Images of one size, that takes ``seconds`` there and the same back."""
        with ExitStack() as room:
            asked = await self._read(request, room)
            async with while_connected(request.receive):
                data = await animated(self._decoding, call_of(request).client, asked)
        return Response(data, media_type="image/webp")

    async def _read(self, request: Request, room: ExitStack) -> Mapping[str, Any]:
        """The JSON that a page of our own sends. room: holds its bytes. Raises as `Bodies.json`."""
        require_same_site(request)
        self._require_known_host(request)
        held = room.enter_context(self._bodies.room(call_of(request).client))
        return await self._bodies.json(request, held, MAX_BODY)

    def _require_known_host(self, request: Request) -> None:
        """Raises HttpError where a process of this machine alone is called by a name that anybody may have given to it:
        then a browser takes another site's page for ours."""
        host = host_in(f"//{request.headers.get('host', '')}")
        if self._local and not (is_loopback(host) or (host and host == self._public)):
            raise HttpError(403, "other_site", "Only localhost, its address and --public-url name the studio here.")

    def _client(self, request: Request) -> JsonClient:
        self._require_known_host(request)
        return self._gateway.client(call_of(request))


async def frames(client: JsonClient, asked: Mapping[str, Any], name: str) -> Frames:
    """The events of a stream, "done" the last. What is raised before the first is raised, what comes later told."""
    begun = False
    try:
        async with aclosing(answers(client, asked)) as told:
            async for kind, text in told:
                begun = True
                yield f"event: {kind}\ndata: {text}\n\n".encode()
    except UnclipError as error:
        if not begun:
            raise
        text = json.dumps({"error": contract_refusal(error, name).error})
        yield f"event: error\ndata: {text}\n\n".encode()
    else:
        yield b"event: done\ndata: {}\n\n"


async def answers(client: JsonClient, asked: Mapping[str, Any]) -> AsyncGenerator[tuple[str, str], None]:
    """What the gateway streams."""
    async with aclosing(client.stream_json(asked)) as told:
        async for answer in told:
            yield answer


def in_json(text: str) -> Response:
    """An answer that nobody keeps."""
    return Response(text, media_type="application/json", headers={"cache-control": "no-store"})


def host_in(url: str) -> str:
    """The host that an address names, "" for none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def origin_of(url: str) -> str | None:
    """The host and port of an origin, None where it is none."""
    try:
        return urlsplit(url).netloc
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine is meant."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def require_same_site(request: Request) -> None:
    """Raises HttpError where a browser says that another site's page asks. JSON is asked for besides, which no form of
    another site can send, and there are no cookies."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        allowed = site in ("same-origin", "none")
    else:
        allowed = origin is None or origin_of(origin) == request.headers.get("host", "")
    if not allowed:
        raise HttpError(403, "other_site", "Only the studio's own page may ask for this.")
