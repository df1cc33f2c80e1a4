"""The life of a server: listen, load, serve, drain, stop."""

from __future__ import annotations

import asyncio
import functools
import importlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar, runtime_checkable

import grpc
from grpc_health.v1 import health_pb2_grpc

from unclip.errors import EXIT_FAILED, Unavailable
from unclip.extras import explained
from unclip.importing import uncollected
from unclip.networks.idle_threads import spin_briefly
from unclip.serving import quiet, reflection, trace_export
from unclip.serving.channels import MAX_ANSWER, MAX_MESSAGE
from unclip.serving.floods import Floods, shut_connection
from unclip.serving.grpc_server import new_server, watch_floods
from unclip.serving.handlers import Guard, GuardedServer
from unclip.serving.health import NOT_SERVING, SERVICE_NAME, SERVING, Health
from unclip.serving.interceptors import ErrorInterceptor
from unclip.serving.listening import guards_of, health_server, listen, material_of
from unclip.serving.metrics import serve_metrics
from unclip.serving.permissive import open_permissive
from unclip.serving.process import (
    in_background,
    remove_address,
    result_unless_stopped,
    run_process,
    told_to_stop,
    wait_for_any,
    write_address,
)
from unclip.serving.settings import ServerSettings
from unclip.serving.versions import health_name

log = logging.getLogger(__name__)
S_contra = TypeVar("S_contra", bound=ServerSettings, contravariant=True)


@dataclass(frozen=True)
class Service:
    """One gRPC service: its full name, the generated ``add_..._to_server``, what answers calls, and who may call.

    version: of the model it serves, empty for none.
    """

    name: str
    add: Callable[[Any, Any], None]
    servicer: Any
    guards: Sequence[Guard] = ()
    version: str = ""

    @property
    def health_names(self) -> Sequence[str]:
        """Names under which its health is served, see `unclip.serving.versions`."""
        return list(dict.fromkeys(health_name(self.name, version) for version in ("", self.version)))

    def add_to(self, server: Any) -> None:
        """Has ``server`` serve it."""
        self.add(self.servicer, GuardedServer(server, self.guards) if self.guards else server)


class App(Protocol):
    """What a process serves once everything is loaded."""

    @property
    def services(self) -> Sequence[Service]:
        """The services."""
        ...

    @property
    def failed(self) -> asyncio.Event:
        """Set when the process is beyond help and has to be replaced."""
        ...

    async def close(self) -> None:
        """Ends what still runs."""
        ...


@runtime_checkable
class Dependent(Protocol):
    """An app that needs others to take calls."""

    async def watch(self, set_ready: Callable[[bool], Awaitable[None]]) -> None:
        """Passes on, until cancelled, whether calls can be taken, whenever that changes."""
        ...


class LateHandlers(grpc.GenericRpcHandler):
    """Handlers that come once the models are loaded and go when the server drains; UNAVAILABLE meanwhile."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._refusal: str | None = "loading"
        self._handlers: list[grpc.GenericRpcHandler] = []

    def open(self, services: Sequence[Service]) -> None:
        """From now on calls reach ``services``."""
        for service in services:
            service.add_to(self)
        self._refusal = None

    def refuse(self, reason: str) -> None:
        """From now on calls are refused."""
        self._refusal = reason

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """What generated code calls on a server."""
        self._handlers.extend(handlers)

    def add_registered_method_handlers(self, service: str, handlers: object) -> None:
        """What generated code calls on a server too; the generic handlers suffice."""

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The handler of a call."""
        if self._refusal is not None:
            return grpc.unary_unary_rpc_method_handler(self._unavailable)
        return next((found for h in self._handlers if (found := h.service(details)) is not None), None)

    async def _unavailable(self, request: bytes, context: object) -> bytes:
        raise Unavailable(self._stage, f"the {self._stage} is {self._refusal}")


def main(package: str, settings_class: type[ServerSettings], arguments: Sequence[str] | None = None) -> int:
    """Runs ``package``, whose ``app.build`` makes its `App` from settings; the result is the exit status, and
    ``arguments`` are as in `unclip.serving.process.run_process`."""
    stage = package.removesuffix("_svc")
    return run_process(package, stage, settings_class, arguments, lambda settings: _run(package, stage, settings))


def _run(package: str, stage: str, settings: ServerSettings) -> int:
    spin_briefly()
    if quiet.TRACED:
        log.warning("GRPC_TRACE is ignored: gRPC would write what callers send, keys included, past this log")

    async def build(settings: ServerSettings) -> App:
        # Importing torch takes seconds, in which health probes want an answer.
        with explained(), uncollected():
            module = await asyncio.to_thread(importlib.import_module, f"{package}.app")
        app: App = await module.build(settings)
        return app

    return asyncio.run(serve(settings, stage, build))


async def serve(settings: S_contra, stage: str, build: Callable[[S_contra], Awaitable[App]]) -> int:
    """Serves what ``build`` makes until SIGTERM or SIGINT; see `run_process`. Raises what ``build`` raises."""
    stopped = told_to_stop()
    stop_tracing = trace_export.start(settings.tracing, stage)
    handlers, probes = LateHandlers(stage), Health()
    server = new_server(options(settings), [ErrorInterceptor(settings.max_request_bytes)], late=True)
    health_pb2_grpc.add_HealthServicer_to_server(probes, server)
    # Serving is not being ready: "" says that the process lives, each service's name that it takes calls.
    probes.loading = True
    await probes.set("", SERVING)
    guards = guards_of(settings, stage)
    material, front = material_of(settings), None
    if material is not None and settings.permissive:
        log.warning("%s takes callers without TLS too: tls_mode is permissive", stage)
        front = await open_permissive(server, settings.host, settings.port, material)
    port = front.port if front else listen(server, settings.listen, material)
    address = replace(settings, port=port).listen
    if settings.wasted_calls:
        watch_floods(server, Floods(settings.wasted_calls, lambda peer: shut_connection(peer, port)))
    server.add_generic_rpc_handlers((handlers,))
    servers = [server, health_server(settings.health_listen, probes)] if settings.health_listen else [server]
    stop_metrics = serve_metrics(settings.metrics) if settings.metrics else lambda: None
    for each in servers:
        await each.start()
    log.info("%s listens on %s and loads", stage, address)
    try:
        app = await result_unless_stopped(stopped, build(settings))
        if app is None:
            return 0
        names = [name for service in app.services for name in service.health_names]
        services = [*app.services, *(_reflections(app.services) if settings.reflects else ())]
        handlers.open([replace(service, guards=[*guards, *service.guards]) for service in services])

        async def set_ready(ready: bool) -> None:
            for name in names:
                await probes.set(name, SERVING if ready else NOT_SERVING)

        await set_ready(True)
        probes.loading = False
        write_address(settings.address_file, address)
        log.info("%s is ready", stage)
        async with in_background(app.watch(set_ready) if isinstance(app, Dependent) else None):
            await wait_for_any(stopped, app.failed)
        broken = app.failed.is_set()
        log.info("%s %s", stage, "failed" if broken else "drains")
        for name in ("", *names) if broken else names:
            await probes.set(name, NOT_SERVING)
        if not broken:
            await asyncio.sleep(settings.drain)
        handlers.refuse("draining")
        await server.stop(0 if broken else settings.grace)
        await app.close()
        return EXIT_FAILED if broken else 0
    finally:
        await asyncio.gather(*(each.stop(0) for each in servers))
        if front is not None:
            front.close()
        remove_address(settings.address_file)
        await asyncio.to_thread(stop_metrics)
        await asyncio.to_thread(stop_tracing)


def _reflections(services: Sequence[Service]) -> list[Service]:
    """Server reflection, for those who may call all the services it describes."""
    names = [*(service.name for service in services), SERVICE_NAME, *reflection.NAMES]
    guards = [guard for service in services for guard in service.guards]
    servicer = reflection.servicer(names)
    return [Service(name, functools.partial(reflection.add, name), servicer, guards) for name in reflection.NAMES]


PENDING = 8_000  # calls, of at most 16 KB of metadata each, that have come and wait to be looked at


def options(settings: ServerSettings) -> Sequence[tuple[str, int]]:
    """Channel arguments of a server with these settings."""
    longest = settings.max_deadline + 30
    return (
        ("grpc.so_reuseport", 0),  # else a second process would quietly share the port
        # At least what clients of ours send at most: up to there it is we who refuse what is too large, and say so.
        ("grpc.max_receive_message_length", max(MAX_MESSAGE, settings.max_request_bytes)),
        ("grpc.max_send_message_length", MAX_ANSWER),
        ("grpc.max_metadata_size", 8 * 1024),
        ("grpc.absolute_max_metadata_size", 16 * 1024),
        ("grpc.max_concurrent_streams", settings.streams),
        # Beyond a thousand calls that nobody has looked at yet, core would drop newcomers by chance, whoever they are
        # from: a flood leaves as many behind before its connection is shut.
        ("grpc.server.max_pending_requests", PENDING),
        ("grpc.server.max_pending_requests_hard_limit", PENDING),
        ("grpc.server_handshake_timeout_ms", 10_000),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # The gateway asks every 2 s; a server that finds its callers too eager hangs up on them.
        ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
        ("grpc.max_connection_idle_ms", 300_000),
        ("grpc.max_connection_age_ms", round(settings.max_connection_age * 1000)),
        ("grpc.max_connection_age_grace_ms", round(longest * 1000)),
    )
