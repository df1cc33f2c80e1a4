"""One trace of a request shows every hop, and what each stage did in it."""

from __future__ import annotations

import contextlib
import contextvars
import sys
import threading
from collections.abc import AsyncIterator, Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from tests.integration.gateway_front import MODEL, STEPS
from tests.waiting import until
from unclip import AsyncClient, Generate
from unclip.errors import ConfigurationError
from unclip.serving import trace_export, tracing
from unclip.serving.otel import OpenTelemetry, flush
from unclip.testing import StubStack

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = ("traceparent", f"00-{TRACE}-{CALLER}-01")
GENERATE = "unclip.api.gateway.v1.GatewayService/Generate"
STREAM = "unclip.api.gateway.v1.GatewayService/Stream"
SAMPLE = "unclip.api.prior.v1.PriorService/Sample"
DECODE = "unclip.api.decoder.v1.DecoderService/Decode"
UPSAMPLE = "unclip.api.decoder.v1.UpsamplerService/Upsample"
ENCODE = "unclip.api.encoder.v1.EncoderService/EncodeText"


class Spans:
    """What was exported so far."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    @property
    def all(self) -> Sequence[ReadableSpan]:
        return self._exporter.get_finished_spans()

    def named(self, name: str, kind: SpanKind | None = None) -> list[ReadableSpan]:
        return [span for span in self.all if span.name == name and kind in (None, span.kind)]

    def under(self, parent: ReadableSpan) -> list[ReadableSpan]:
        children = [span for span in self.all if span.parent and span.parent.span_id == parent.context.span_id]
        return sorted(children, key=lambda span: span.start_time or 0)


def code(span: ReadableSpan) -> str:
    return str((span.attributes or {})["rpc.response.status_code"])


def told(span: ReadableSpan, name: str) -> object:
    return (span.attributes or {})[name]


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Spans:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "tracer", OpenTelemetry(provider))
    return Spans(exporter)


@pytest.fixture
async def stack(spans: Spans) -> AsyncIterator[StubStack]:
    async with StubStack(MODEL) as stack:
        yield stack


async def test_one_trace_joins_caller_gateway_and_stages(stack: StubStack, spans: Spans) -> None:
    async with AsyncClient(stack.address, metadata=[PARENT]) as client:
        await client.generate("a cat", seed=1, image_count=2)
    [outer] = spans.named(GENERATE)
    assert outer.parent is not None
    assert (f"{outer.parent.span_id:016x}", outer.kind, code(outer)) == (CALLER, SpanKind.SERVER, "OK")
    below = [span for span in spans.all if f"{span.context.trace_id:032x}" == TRACE]
    for method, times in ((ENCODE, 2), (SAMPLE, 2), (DECODE, 2), (UPSAMPLE, 2)):
        asked = [span for span in spans.under(outer) if span.name == method]
        assert [span.kind for span in asked] == [SpanKind.CLIENT] * times
        for ask in asked:
            [served] = spans.under(ask)
            assert (served.name, served.kind, code(served), code(ask)) == (method, SpanKind.SERVER, "OK", "OK")
            assert served in below
    assert len(spans.named("encode picture")) == 2
    assert all(span in spans.under(outer) for span in spans.named("encode picture"))


async def test_a_stages_span_shows_reading_queue_steps_and_transfer_in_order(stack: StubStack, spans: Spans) -> None:
    stack.decoder.faults.capacity = 1
    stack.decoder.faults.step_seconds = 0.01
    async with AsyncClient(stack.address, metadata=[PARENT]) as client:
        await client.generate("a cat", seed=1, image_count=2)
    waits = []
    for method in (SAMPLE, DECODE, UPSAMPLE):
        for served in spans.named(method, SpanKind.SERVER):
            parts = spans.under(served)
            assert [part.name for part in parts] == ["read", "queue", "steps", "transfer"]
            edges = [edge for part in parts for edge in (part.start_time, part.end_time)]
            assert edges == sorted(edges, key=lambda edge: edge or 0)
            assert told(parts[2], "unclip.steps") == STEPS
            if method == DECODE:
                waits.append([edge or 0 for part in parts[1:3] for edge in (part.start_time, part.end_time)])
    # One of the two pictures had to wait until the other's four steps of 10 ms were taken.
    (_, _, began, ended), (came, waited, *_) = sorted(waits, key=lambda edges: edges[2])
    assert ended - began >= 0.01 * STEPS * 1e9
    assert came < ended <= waited


async def test_a_stage_that_breaks_off_is_seen_to_fail_and_to_be_asked_again(stack: StubStack, spans: Spans) -> None:
    stack.decoder.faults.break_streams = 1
    async with AsyncClient(stack.address, metadata=[PARENT]) as client:
        # Watched, the stream has begun to answer when it breaks, and the gateway asks again; before that gRPC does.
        assert [event async for event in client.stream(Generate("a cat", seed=1))]
    asked = sorted(spans.named(DECODE, SpanKind.CLIENT), key=lambda span: span.start_time or 0)
    assert [code(span) for span in asked] == ["UNAVAILABLE", "OK"]
    assert [span.status.is_ok for span in asked] == [False, True]
    broken, whole = (spans.under(span)[0] for span in asked)
    assert [part.name for part in spans.under(broken)] == ["read", "queue", "steps"]
    assert [told(spans.under(span)[2], "unclip.steps") for span in (broken, whole)] == [2, STEPS]


async def test_a_caller_that_leaves_ends_every_span(stack: StubStack, spans: Spans) -> None:
    stack.prior.faults.hang = True
    async with AsyncClient(stack.address, metadata=[PARENT]) as client:
        async with contextlib.aclosing(client.stream(Generate("a cat", seed=1))) as events:
            await anext(events)
            await until(lambda: stack.prior.asked)  # a stage that is not asked has no span
        await until(lambda: len(spans.named(SAMPLE)) == 2 and spans.named(STREAM))
    assert [code(span) for span in spans.named(SAMPLE)] == ["CANCELLED", "CANCELLED"]
    [outer] = spans.named(STREAM)
    assert code(outer) == "CANCELLED"
    assert outer.status.is_ok  # the server is not to blame


async def test_a_call_without_a_trace_begins_one_of_its_own(stack: StubStack, spans: Spans) -> None:
    async with AsyncClient(stack.address) as client:
        await client.model_info()
        await client.model_info()
    first, second = spans.named("unclip.api.gateway.v1.GatewayService/GetModelInfo")
    assert (first.parent, second.parent) == (None, None)
    assert first.context.trace_id != second.context.trace_id


async def test_captions_are_in_no_span(stack: StubStack, spans: Spans) -> None:
    async with AsyncClient(stack.address) as client:
        await client.generate("a very private cat", seed=1)
    assert not any("private" in span.to_json() for span in spans.all)


class Stuck(SpanExporter):
    """Waits for a collector that does not answer."""

    def __init__(self) -> None:
        self.waiting, self.let_go = threading.Event(), threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.waiting.set()
        assert self.let_go.wait(60)
        return SpanExportResult.FAILURE


def test_no_service_waits_for_a_collector_to_end() -> None:
    stuck, provider = Stuck(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(stuck))
    contextvars.copy_context().run(lambda: OpenTelemetry(provider).serving("s/m", {}).end("OK"))
    flush(provider, patience=0.05)
    assert stuck.waiting.wait(60)
    assert not stuck.let_go.is_set()
    stuck.let_go.set()


def test_a_protocol_without_its_package_is_a_setting_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(ConfigurationError, match=r"http\.trace_exporter"):
        trace_export.start("on", "x")
    assert tracing.tracer is None
