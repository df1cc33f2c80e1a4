"""Each HTTP request as a call: whose it is, its id and trace, how it ends; counted, logged, and always answered."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import Gauge, Histogram
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unclip.errors import Cancelled
from unclip.serving import request_id, tracing
from unclip.serving.budget import Budget
from unclip.serving.metadata import AUTHORIZATION, CLIENT, REQUEST_ID, TRACE_PARENT, TRACE_STATE, sanitized
from unclip.serving.metrics import SECONDS
from unclip.web.errors import HttpError, Refusal, refusal_of

log = logging.getLogger(__name__)
ended = logging.getLogger("unclip.calls")
REQUEST_SECONDS = Histogram(
    "http_server_request_duration_seconds",
    "Time of an HTTP request.",
    ["http_request_method", "http_route", "http_response_status_code"],
    buckets=SECONDS,
)
ACTIVE = Gauge("http_server_active_requests", "HTTP requests under way.", ["http_route"])
METHODS = ("GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE")
QUIET = ("/healthz", "/readyz")
CODES = {200: "OK", 400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"}
CODES |= {429: "RESOURCE_EXHAUSTED", 499: "CANCELLED", 500: "INTERNAL", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED"}
SCHEMES = ("bearer ",)
KEY_HEADER = "api-key"  # as Azure's clients show theirs
CALLER_LEFT = 499
Refusals = Callable[[BaseException, str], Refusal]  # of an error and the id of its request
MAX_HEADERS = 16 * 1024  # bytes of all headers of a request


@dataclass(frozen=True)
class Call:
    """One request. key: shown to the gateway, "" for none. client: whose fair share it takes from, a digest of the key
    or the host. metadata: sent on to the gateway."""

    id: str
    key: str
    client: str
    metadata: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, scope: Scope) -> Call:
        """The call that is made by a request. Raises HttpError where its key cannot be one."""
        sent = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        known, found = sanitized(sent), dict(sent)
        name = known.get(REQUEST_ID) or uuid.uuid4().hex
        given = known.get(AUTHORIZATION, "")
        key = given[7:].strip() if given[:7].lower() in SCHEMES else found.get(KEY_HEADER, "")
        if not key.isascii() or not key.isprintable() or len(key) > 1024:
            key = ""
        host = (scope.get("client") or ("unknown", 0))[0]
        client = f"key-{hashlib.sha256(key.encode()).hexdigest()[:16]}" if key else f"host-{host}"
        travelling = {entry: known[entry] for entry in (TRACE_PARENT, TRACE_STATE) if entry in known}
        travelling |= {REQUEST_ID: name, CLIENT: client}
        return cls(name, key, client, tuple(travelling.items()))


def call_of(request: Request) -> Call:
    """The call that ``request`` makes."""
    call: Call = request.scope["unclip.call"]
    return call


class Calls:
    """What is the same for all requests, around ``app``. most: under way at once; half of them for one client."""

    def __init__(self, app: ASGIApp, most: int, routes: Sequence[str], refusals: Mapping[str, Refusals]) -> None:
        """``routes``: paths that figures are kept of by name; of one that ends in a parameter, all together.
        ``refusals``: how errors are answered below a path, where that is not as OpenAI does."""
        self._app, self._refusals = app, refusals
        self._exact = frozenset(route for route in routes if "{" not in route)
        self._under = {route.partition("{")[0]: route.replace(":path}", "}") for route in routes if "{" in route}
        self._running = Budget("web", "calls", most)

    def route_of(self, path: str) -> str:
        """What figures and logs call ``path``, of which there are as many as callers like."""
        if path in self._exact:
            return path
        return next((route for start, route in self._under.items() if path.startswith(start)), "other")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http":
            return
        began, call = time.monotonic(), Call.of(scope)
        route = self.route_of(scope["path"])
        method = scope["method"] if scope["method"] in METHODS else "_OTHER"
        request_id.current.set(call.id)
        span = tracing.serving(f"{method} {route}", dict(call.metadata))
        scope["unclip.call"], scope["app"] = call, self
        reply = Reply(send, call.id)
        ACTIVE.labels(route).inc()
        try:
            require_sound_headers(scope)
            with self._running.held(0 if route in QUIET else 1, call.client):  # probes always have room
                await self._app(scope, receive, reply)
        except (ClientDisconnect, CallerLeft):
            reply.status = CALLER_LEFT
        except Exception as error:
            await reply.refuse(self._refusal(scope["path"], as_ours(error), call.id), error)
        finally:
            ACTIVE.labels(route).dec()
            seconds = time.monotonic() - began
            REQUEST_SECONDS.labels(method, route, str(reply.status)).observe(seconds)
            span.end(CODES.get(reply.status, "UNKNOWN"))
            level = logging.DEBUG if route in QUIET else logging.INFO
            known = {"request_id": call.id, "client": call.client, "seconds": round(seconds, 6)}
            told = {"method": f"{method} {route}", "code": str(reply.status)}
            ended.log(level, "%s %s %d in %.3f s", method, route, reply.status, seconds, extra={**known, **told})

    def _refusal(self, path: str, error: Exception, name: str) -> Refusal:
        """How ``error`` is answered at ``path``."""
        told = next((told for below, told in self._refusals.items() if path.startswith(below)), refusal_of)
        return told(error, name)


class Reply:
    """What is sent back: with the request's id, and its status known. status: 500 until something is sent."""

    def __init__(self, send: Send, name: str) -> None:
        self._send, self._id, self._started, self.status = send, name, False, 500

    async def __call__(self, message: Message) -> None:
        """As ASGI's send."""
        if message["type"] == "http.response.start":
            self._started, self.status = True, message["status"]
            headers = [
                *message.get("headers", ()),
                (b"x-request-id", self._id.encode()),
                (b"x-content-type-options", b"nosniff"),
            ]
            message = {**message, "headers": headers}
        await self._send(message)

    async def refuse(self, refusal: Refusal, error: BaseException) -> None:
        """Answers with ``refusal``; what has begun is broken off, which its reader sees."""
        if refusal.status == 500:
            log.error("internal error", exc_info=error)
        if self._started:
            raise BrokenOff from error
        body = refusal.body
        headers = {"content-type": "application/json", "content-length": str(len(body)), **refusal.headers}
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self({"type": "http.response.start", "status": refusal.status, "headers": encoded})
        await self({"type": "http.response.body", "body": body})


class BrokenOff(Exception):
    """An answer that had begun could not be finished."""


class CallerLeft(Exception):
    """The caller hung up."""


def as_ours(error: Exception) -> Exception:
    """What the router raises as an error of the API's; others as they are."""
    if isinstance(error, HTTPException):
        code = "method_not_allowed" if error.status_code == 405 else "not_found"
        text = "There is nothing at this address for this method."
        return HttpError(error.status_code, code, text, **(error.headers or {}))
    return error


def require_sound_headers(scope: Scope) -> None:
    """Raises HttpError where headers are too large, as they can be if they come all at once, or say in two ways how
    long the body is: what a proxy takes for a part of that could be another request here."""
    if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEADERS:
        text = f"The request's headers must have at most {MAX_HEADERS} bytes."
        raise HttpError(431, "headers_too_large", text, connection="close")
    if {b"content-length", b"transfer-encoding"} <= {name for name, _ in scope["headers"]}:
        text = "The request must not have both Content-Length and Transfer-Encoding."
        raise HttpError(400, "invalid_request", text, connection="close")


@contextlib.asynccontextmanager
async def while_connected(receive: Receive) -> AsyncIterator[None]:
    """The body is cancelled, and CallerLeft raised, where the caller hangs up meanwhile. The request must be read."""
    task, left = asyncio.current_task(), False
    assert task is not None

    async def watch() -> None:
        nonlocal left
        while (await receive())["type"] != "http.disconnect":
            pass
        left = True
        task.cancel()

    watching = asyncio.create_task(watch())
    try:
        yield
    except (asyncio.CancelledError, Cancelled):
        if left:
            task.uncancel()
            raise CallerLeft from None
        raise
    finally:
        watching.cancel()
