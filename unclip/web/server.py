"""The life of the web process: listen, serve, drain, stop."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import h11
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from unclip.errors import Unavailable
from unclip.malloc import return_large_blocks
from unclip.serving import tls, trace_export
from unclip.serving.files import Watched
from unclip.serving.metrics import REFUSALS, serve_metrics, watch_certificate
from unclip.serving.process import in_background, remove_address, run_process, told_to_stop, write_address
from unclip.serving.sockets import listening_socket
from unclip.web.api import Api
from unclip.web.calls import MAX_HEADERS
from unclip.web.errors import HttpError, refusal_of
from unclip.web.gateway import Gateway
from unclip.web.settings import Settings
from unclip.web.store import PictureStore

log = logging.getLogger(__name__)
STAGE = "web"
KEEP_ALIVE_S = 75
NO_HTTP = refusal_of(
    HttpError(400, "invalid_request", "This is no HTTP request, or one with too large headers."), ""
).body
LAST_WRITES_S = 30.0  # beyond the longest call, for an answer on its way


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the process; its exit status, and ``arguments``, are as in `unclip.serving.process.run_process`."""
    return run_process("unclip.web", STAGE, Settings, arguments, lambda settings: asyncio.run(serve(settings)))


async def serve(settings: Settings) -> int:
    """Serves until SIGTERM or SIGINT; 0. Raises ConfigurationError where it cannot start."""
    stopped = told_to_stop()
    return_large_blocks()
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    stop_tracing = trace_export.start(settings.tracing, STAGE)
    stop_metrics = serve_metrics(settings.metrics) if settings.metrics else lambda: None
    gateway = Gateway(settings.gateway, settings.gateway_tls, settings.max_deadline)
    store = PictureStore(settings.store, settings.url_seconds, settings.store_mib * 2**20)
    api = Api(settings, gateway, store)
    try:
        with listening_socket(settings.host, settings.port) as listener:
            address = replace(settings, port=listener.getsockname()[1]).listen
            server = Server(config_of(settings, api))
            running = asyncio.create_task(server._serve([listener]))
            await server.listens.wait()
            log.info("%s is ready at %s", STAGE, address)
            write_address(settings.address_file, address)
            async with in_background(store.clean()):
                await asyncio.wait(
                    [running, waiting := asyncio.create_task(stopped.wait())], return_when=asyncio.FIRST_COMPLETED
                )
                waiting.cancel()
                api.draining = True
                log.info("%s drains", STAGE)
                await asyncio.sleep(settings.drain)
                server.should_exit = True
                await running
        return 0
    finally:
        remove_address(settings.address_file)
        await gateway.close()
        api.close()
        store.close()
        await asyncio.to_thread(stop_metrics)
        await asyncio.to_thread(stop_tracing)


class Server(uvicorn.Server):
    """Signals are this process's own business. listens: set once connections are taken."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listens = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins to listen."""
        await super().startup(sockets)
        self.listens.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures none."""
        yield


def config_of(settings: Settings, api: Api) -> uvicorn.Config:
    """How uvicorn serves ``api``."""
    material = material_of(settings)
    return uvicorn.Config(
        api.application,
        http=bounded(
            settings.max_connections,
            settings.header_seconds,
            settings.max_deadline + settings.body_seconds + LAST_WRITES_S,
        ),
        ws="none",
        loop="asyncio",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies.split(","),
        h11_max_incomplete_event_size=MAX_HEADERS,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(settings.grace)),
        ssl_context_factory=None if material is None else lambda *_: context_of(settings, material),
    )


def material_of(settings: Settings) -> Watched[tls.Material] | None:
    """The certificate to serve with, its end among the metrics; None for plaintext. Raises ConfigurationError."""
    if not settings.tls_cert:
        return None
    material = tls.watch(settings.tls_cert, settings.tls_key, "")
    tls.require_current(settings.tls_cert, material.value)
    watch_certificate("server", lambda: material.value.seconds_left())
    return material


def context_of(settings: Settings, material: Watched[tls.Material]) -> ssl.SSLContext:
    """What connections are encrypted with: each new one sees the files as they are then."""
    served, current = material.value, loaded(settings)

    def follow(connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        nonlocal served, current
        if (now := material.value) is not served:
            try:
                served, current = now, loaded(settings)
            except (OSError, ssl.SSLError) as error:  # half of another pair: the next connection tries again
                log.error("the certificate that was read before stays in force: %s", type(error).__name__)
        connection.context = current

    context = loaded(settings)
    context.sni_callback = follow  # called for callers that name nobody, too
    return context


def loaded(settings: Settings) -> ssl.SSLContext:
    """A context with the certificate in the files."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(settings.tls_cert, settings.tls_key)
    return context


async def full(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers in the place of the application where there are too many connections."""
    REFUSALS.labels(STAGE, "connections").inc()
    refusal = refusal_of(Unavailable(STAGE, "too many connections"), "")
    headers = {"content-type": "application/json", "connection": "close", **refusal.headers}
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": encoded})
    await send({"type": "http.response.body", "body": refusal.body})


def bounded(most: int, header_seconds: float, longest: float) -> type[H11Protocol]:
    """HTTP/1.1 with bounds that uvicorn does not have.

    most: connections at once; requests on more are answered by `full`. header_seconds: that callers have for the
    headers of a request, and longest: for all of it, its answer included; then their connection is shut, whatever waits
    to be sent.
    """

    class BoundedProtocol(H11Protocol):
        _timer: asyncio.TimerHandle | None = None
        _in_headers = False

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            # asyncio does so for sockets that say they are TCP's, which one that was accepted from ours does not: then
            # an answer in two pieces waits for an acknowledgement between them, which comes after 40 ms.
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if len(self.connections) > most:
                self.app = full
            self._set_timer(header_seconds)
            self._in_headers = True

        def data_received(self, data: bytes) -> None:
            before = self.cycle
            super().data_received(data)
            if self.cycle is not before or (self.cycle and not self.cycle.response_complete):
                if self._in_headers or self.cycle is not before:
                    self._in_headers = False
                    self._set_timer(longest)
            elif not self._in_headers:  # the first bytes of another request
                self._in_headers = True
                self._set_timer(header_seconds)

        def send_400_response(self, msg: str) -> None:
            """Answers what is no HTTP as other errors are answered, unless another answer has begun."""
            if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                headers = {
                    "content-type": "application/json",
                    "content-length": str(len(NO_HTTP)),
                    "connection": "close",
                }
                answer = h11.Response(status_code=400, headers=list(headers.items()), reason=b"Bad Request")
                for event in (answer, h11.Data(data=NO_HTTP), h11.EndOfMessage()):
                    self.transport.write(self.conn.send(event))
            self.transport.close()

        def on_response_complete(self) -> None:
            self._cancel_timer()
            self._in_headers = False
            super().on_response_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            self._cancel_timer()
            super().connection_lost(exc)

        def _set_timer(self, seconds: float) -> None:
            self._cancel_timer()
            self._timer = self.loop.call_later(seconds, self.transport.abort)

        def _cancel_timer(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    return BoundedProtocol
