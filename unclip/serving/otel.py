"""Spans by OpenTelemetry: imported only where traces are wanted.

Our own few lines instead of opentelemetry-instrumentation-grpc: its asyncio interceptors wrap streaming calls in ways
that change how these end, and know neither our error table nor the engine.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from unclip.engine import observer
from unclip.engine.observer import EngineUsage
from unclip.serving import tracing
from unclip.serving.metadata import Metadata
from unclip.serving.tracing import Attributes

PROPAGATOR = TraceContextTextMapPropagator()
FLUSH_S = 2.0
# Semantic conventions: a server's span has failed when the server is to blame, a caller's by any other end than OK.
SERVER_ERRORS = {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}


def start(stage: str) -> tuple[OpenTelemetry, Callable[[], None]]:
    """Spans of ``stage`` by OTLP to where the environment says, and what sends the last ones and stops.

    Raises:
        ImportError: the environment wants OTLP over HTTP, whose exporter is not installed.
    """
    attributes = {SERVICE_VERSION: importlib.metadata.version("unclip")}
    if "OTEL_SERVICE_NAME" not in os.environ:
        attributes[SERVICE_NAME] = f"unclip-{stage.removeprefix('unclip.')}"
    provider = TracerProvider(resource=Resource.create(attributes), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter()))
    return OpenTelemetry(provider), lambda: flush(provider)


def exporter() -> SpanExporter:
    """What sends spans, by the protocol that the environment names; gRPC where it names none."""
    variables = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    protocol = next((found for name in variables if (found := os.environ.get(name))), "grpc")
    sender = "http" if protocol.startswith("http") else "grpc"
    module = importlib.import_module(f"opentelemetry.exporter.otlp.proto.{sender}.trace_exporter")
    made: SpanExporter = module.OTLPSpanExporter()
    return made


def flush(provider: TracerProvider, patience: float = FLUSH_S) -> None:
    """Sends the last spans, and gives up after ``patience`` seconds: no service waits for a collector to end."""
    sending = threading.Thread(target=provider.shutdown, name="unclip-last-spans", daemon=True)
    sending.start()
    sending.join(patience)


class OpenTelemetry:
    """See `unclip.serving.tracing.Tracer`."""

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("unclip")

    def serving(self, method: str, metadata: Mapping[str, str]) -> ServerSpan:
        """A call has come in."""
        parent = PROPAGATOR.extract(metadata, contexts.Context())
        span = self._tracer.start_span(method, parent, trace.SpanKind.SERVER, call_attributes(method))
        served = ServerSpan(self._tracer, span, time.time_ns())
        # Not taken back: the context ends with the call's task, and a generator may be closed in another one.
        contexts.attach(trace.set_span_in_context(span, parent))
        tracing.trace_id.set(trace.format_trace_id(span.get_span_context().trace_id))
        observer.usage_listener.set(served.record_usage)
        return served

    def calling(self, method: str, metadata: Metadata) -> tuple[ClientSpan, Metadata]:
        """A call of another service begins."""
        span = self._tracer.start_span(method, None, trace.SpanKind.CLIENT, call_attributes(method))
        sent: dict[str, str] = {}
        PROPAGATOR.inject(sent, trace.set_span_in_context(span))
        kept = [(key, value) for key, value in metadata if key not in PROPAGATOR.fields]
        return ClientSpan(span), (*kept, *sent.items())

    def internal(self, name: str, attributes: Attributes) -> AbstractContextManager[object]:
        """Work of this process."""
        return self._tracer.start_as_current_span(name, attributes=dict(attributes))


class ClientSpan:
    """A call of another service."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def end(self, code: str) -> None:
        """It is over."""
        finish(self._span, code, failed=code != "OK")


class ServerSpan:
    """A call that came in, and what the engine did for it: spans of reading its request, of waiting for the device, of
    all steps, and of bringing the result to its caller."""

    def __init__(self, tracer: trace.Tracer, span: trace.Span, began: int) -> None:
        self._tracer, self._span, self._last_end = tracer, span, began
        self._has_engine_spans = False

    def record_usage(self, work: EngineUsage) -> None:
        """The engine is done with jobs of this call."""
        # The engine's clock never jumps; spans want the time of day.
        offset = time.time_ns() - time.monotonic_ns()
        queued, began, ended = (offset + round(moment * 1e9) for moment in (work.queued, work.began, work.ended))
        self._child("read", self._last_end, queued)
        if work.began:
            self._child("queue", queued, began)
            attributes = {
                "unclip.steps": work.steps,
                "unclip.jobs": work.jobs,
                "unclip.rows_per_pass": work.rows_per_pass,
            }
            self._child("steps", began, ended, attributes)
        else:
            self._child("queue", queued, ended)
        self._last_end, self._has_engine_spans = ended, True

    def end(self, code: str) -> None:
        """It is over."""
        if self._has_engine_spans and code == "OK":
            self._child("transfer", self._last_end, time.time_ns())
        finish(self._span, code, failed=code in SERVER_ERRORS)

    def _child(self, name: str, began: int, ended: int, attributes: Attributes | None = None) -> None:
        parent = trace.set_span_in_context(self._span)
        given = dict(attributes or {})
        self._tracer.start_span(name, parent, attributes=given, start_time=began).end(max(began, ended))


def finish(span: trace.Span, code: str, failed: bool) -> None:
    """Ends ``span`` with a gRPC status."""
    span.set_attribute("rpc.response.status_code", code)
    if failed:
        span.set_status(trace.StatusCode.ERROR, code)
    span.end()


def call_attributes(method: str) -> dict[str, str]:
    """Attributes of a call of ``method``, "package.Service/Method", or of HTTP "POST /path"."""
    verb, _, route = method.partition(" ")
    if route:
        return {"http.request.method": verb, "http.route": route}
    return {"rpc.system.name": "grpc", "rpc.method": method}
