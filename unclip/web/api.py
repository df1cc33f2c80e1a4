"""The routes: OpenAI's Images API and its models, the pictures that are kept, the studio, whether all is well."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router

from unclip.client import ModelInfo
from unclip.serving.decoding import Decoding
from unclip.web import requests
from unclip.web.answers import Answers, Events, Making, Released
from unclip.web.bodies import Bodies, Room
from unclip.web.calls import Calls, call_of, while_connected
from unclip.web.errors import HttpError
from unclip.web.gateway import REMEMBERED_S, Gateway
from unclip.web.requests import Asked
from unclip.web.settings import Settings
from unclip.web.sources import read_sources
from unclip.web.store import PictureStore
from unclip.web.studio.api import PATH as STUDIO
from unclip.web.studio.api import Studio
from unclip.web.studio.errors import contract_refusal

FILES = "/v1/images/files/"
HOST = re.compile(r"(?:[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?", re.ASCII)


class Api:
    """Answers requests. draining: whether it is told to stop."""

    def __init__(self, settings: Settings, gateway: Gateway, store: PictureStore) -> None:
        self._settings, self._gateway, self._store = settings, gateway, store
        self._bodies = Bodies(settings.body_mib * 2**20, settings.body_seconds)
        self._decoding = Decoding("web", settings.decode_megapixels * 1_000_000)
        self._answers = Answers(store, settings.answer_mib * 2**20)
        self._studio = Studio(settings, gateway, self._bodies, self._decoding) if settings.studio == "on" else None
        self._began = int(time.time())
        self.draining = False

    @property
    def application(self) -> Calls:
        """The ASGI application."""
        router, paths = Router(self.routes, redirect_slashes=False), [route.path for route in self.routes]
        return Calls(router, self._settings.max_calls, paths, {STUDIO: contract_refusal})

    @property
    def routes(self) -> list[Route]:
        """Where all of it is."""
        return [
            Route("/v1/images/generations", self.generations, methods=["POST"]),
            Route("/v1/images/edits", self.edits, methods=["POST"]),
            Route("/v1/images/variations", self.variations, methods=["POST"]),
            Route("/v1/models", self.models),
            Route("/v1/models/{name:path}", self.model),
            Route(FILES + "{name}", self.picture),
            Route("/healthz", self.healthz),
            Route("/readyz", self.readyz),
            *(self._studio.routes if self._studio is not None else ()),
        ]

    async def generations(self, request: Request) -> Response:
        """Makes pictures of a prompt."""

        async def read(room: ExitStack) -> Asked:
            return requests.generation(await self._bodies.json(request, self._room(request, room)))

        return await self._make(request, read)

    async def edits(self, request: Request) -> Response:
        """Repaints a part of a picture, or moves all of it towards a prompt."""

        async def read(room: ExitStack) -> Asked:
            form = await self._bodies.form(request, self._room(request, room))
            image = requests.only(form.pictures["image"], "image")
            mask = requests.only(form.pictures["mask"], "mask") if form.pictures["mask"] else None
            async with while_connected(request.receive):
                sources = await read_sources(self._decoding, call_of(request).client, image, mask)
            return requests.edit(form, sources)

        return await self._make(request, read)

    async def variations(self, request: Request) -> Response:
        """Makes variations of a picture."""

        async def read(room: ExitStack) -> Asked:
            return requests.variation(await self._bodies.form(request, self._room(request, room)))

        return await self._make(request, read)

    def _room(self, request: Request, room: ExitStack) -> Room:
        """Room for the body of ``request``, which is kept until its answer is sent."""
        return room.enter_context(self._bodies.room(call_of(request).client))

    async def _make(self, request: Request, read: Callable[[ExitStack], Awaitable[Asked]]) -> Response:
        """The answer to what ``read`` finds asked for."""
        call, url = call_of(request), self._url(request)
        client = self._gateway.client(call)
        with ExitStack() as room:
            asked = await read(room)
            async with while_connected(request.receive):
                # Where there is no fast way any more, who asks for it is refused.
                info = await self._gateway.info(client, 0.0 if asked.wants_fast else REMEMBERED_S)
                if asked.model:
                    self._require_model(asked.model, info)
                making = Making(asked.sized(info).in_quality(info), call, client, info, url)
                answer: Released = (
                    Events(self._answers.one_by_one(making))
                    if asked.stream
                    else await self._answers.at_once(making, room)
                )
            answer.release = room.pop_all().close
        return answer

    def _url(self, request: Request) -> Callable[[str], str]:
        """What the address of a kept picture is. Raises HttpError where nobody can tell."""
        base = self._settings.public_url.rstrip("/")
        if not base:
            host = request.headers.get("host", "")
            if not HOST.fullmatch(host):
                raise HttpError(400, "invalid_host", "The request needs a Host header with a name and port.")
            base = f"{request.url.scheme}://{host}"
        return lambda name: f"{base}{FILES}{name}"

    def _require_model(self, name: str, info: ModelInfo) -> None:
        """Raises HttpError where nothing is called ``name`` here."""
        if name not in self._names(info):
            shown = name if len(name) <= 64 and name.isascii() and name.isprintable() else "named"
            text = f"The model '{shown}' does not exist or you do not have access to it."
            raise HttpError(404, "model_not_found", text, param="model")

    def _names(self, info: ModelInfo) -> list[str]:
        return list(dict.fromkeys([*self._settings.model_names, info.name]))

    async def models(self, request: Request) -> Response:
        """What the model is called, for those whom the gateway lets in."""
        info = await self._gateway.client(call_of(request)).model_info()
        return JSONResponse({"object": "list", "data": [self._model(name) for name in self._names(info)]})

    async def model(self, request: Request) -> Response:
        """One of its names."""
        info, name = await self._gateway.client(call_of(request)).model_info(), request.path_params["name"]
        self._require_model(name, info)
        return JSONResponse(self._model(name))

    def _model(self, name: str) -> dict[str, object]:
        return {"id": name, "object": "model", "created": self._began, "owned_by": "unclip"}

    async def picture(self, request: Request) -> Response:
        """A picture that is kept, for whoever knows its name."""
        data, media_type = await self._store.get(request.path_params["name"])
        seconds = int(self._settings.url_seconds)
        headers = {"cache-control": f"private, max-age={seconds}, immutable", "content-security-policy": "sandbox"}
        return Response(data, media_type=media_type, headers=headers)

    async def healthz(self, request: Request) -> Response:
        """That the process lives."""
        return JSONResponse({"status": "ok"})

    async def readyz(self, request: Request) -> Response:
        """Whether it is to be sent requests: not when it drains, nor while no gateway serves."""
        why = "draining" if self.draining else "" if self._gateway.reachable else "gateway"
        return JSONResponse({"status": why or "ready"}, 503 if why else 200)

    def close(self) -> None:
        """Ends what reads pictures."""
        self._decoding.close()
