"""What an operator sees of a request in real processes: its trace at a collector, its lines in the log."""

from __future__ import annotations

import datetime
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.e2e.processes import PATIENCE_S, service
from tests.tiny import BASE
from unclip import Client
from unclip.api.decoder.v1 import upsampler_pb2, upsampler_pb2_grpc
from unclip.errors import InvalidRequest
from unclip.wire import tensors

STAGES = ("encoder", "prior", "decoder", "upsampler")
GENERATE = "unclip.api.gateway.v1.GatewayService/Generate"
UPSAMPLE = "unclip.api.decoder.v1.UpsamplerService/Upsample"
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = ("traceparent", f"00-{TRACE}-{CALLER}-01")
CAPTION, KEYLIKE = "a secretive octopus", "unclip_never-to-be-logged"


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps (service, span) of what it is sent."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Span]] = []
        self._changed = threading.Condition()

    def Export(self, request: Any, context: Any) -> Any:
        with self._changed:
            for group in request.resource_spans:
                named = {attribute.key: attribute.value.string_value for attribute in group.resource.attributes}
                self.spans += [(named["service.name"], span) for scope in group.scope_spans for span in scope.spans]
            self._changed.notify_all()
        return trace_service_pb2.ExportTraceServiceResponse()

    def trace(self, *wanted: tuple[str, str]) -> list[tuple[str, Span]]:
        """The spans of our trace, once one of each wanted (service, name) is there: each process sends its own."""

        def ours() -> list[tuple[str, Span]]:
            return [(service, span) for service, span in self.spans if span.trace_id.hex() == TRACE]

        with self._changed:
            assert self._changed.wait_for(lambda: set(wanted) <= {(s, span.name) for s, span in ours()}, PATIENCE_S)
            return ours()


@dataclass(frozen=True)
class Observed:
    """A gateway in one process, its stages in another, and where both tell of what they do."""

    gateway: str
    collector: Collector
    logs: dict[str, Path]

    def lines(self, name: str, **wanted: object) -> list[dict[str, Any]]:
        """The lines in the log of a process that have these fields."""
        read = [json.loads(line) for line in self.logs[name].read_text().splitlines()]
        return [line for line in read if all(line.get(key) == value for key, value in wanted.items())]


@pytest.fixture(scope="module")
def collector() -> Iterator[tuple[Collector, dict[str, str]]]:
    """A collector, and the variables that send spans there."""
    collector, server = Collector(), grpc.server(ThreadPoolExecutor(2))
    add: Any = trace_service_pb2_grpc.add_TraceServiceServicer_to_server
    add(collector, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield collector, {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}", "OTEL_BSP_SCHEDULE_DELAY": "100"}
    server.stop(None).wait()


@pytest.fixture(scope="module")
def observed(
    collector: tuple[Collector, dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Observed]:
    folder = tmp_path_factory.mktemp("observed")
    logs = {name: folder / f"{name}.log" for name in ("stages", "gateway")}
    options = ("--log-format", "json", "--log-level", "DEBUG")
    stubs = ("--stages", ",".join(STAGES), "--step-seconds", "0.001", *options)
    with service("unclip.testing", folder, *stubs, variables=collector[1], name="stages") as stages:
        targets = [word for name in STAGES for word in (f"--{name}", stages)]
        with service("gateway", folder, *targets, *options, variables=collector[1]) as gateway:
            metadata = [PARENT, ("x-request-id", "req-7")]
            with Client(gateway, metadata=metadata, api_key=KEYLIKE) as client:
                client.generate(CAPTION, seed=1)
                with pytest.raises(InvalidRequest):
                    client.generate(CAPTION, seed=1, image_count=1000)
            yield Observed(gateway, collector[0], logs)


def test_spans_of_all_processes_meet_in_one_trace(observed: Observed) -> None:
    spans = observed.collector.trace(("unclip-testing", UPSAMPLE), ("unclip-gateway", GENERATE))
    [outer] = [span for _, span in spans if span.name == GENERATE and span.parent_span_id.hex() == CALLER][:1]
    asked = {span.span_id: span for _, span in spans if span.name == UPSAMPLE and span.kind == Span.SPAN_KIND_CLIENT}
    [(process, served)] = [
        (process, span) for process, span in spans if span.name == UPSAMPLE and span.kind == Span.SPAN_KIND_SERVER
    ]
    assert asked[served.parent_span_id].parent_span_id == outer.span_id
    assert process == "unclip-testing"
    assert {"read", "queue", "steps", "transfer"} == {
        span.name for _, span in spans if span.parent_span_id == served.span_id
    }
    assert {process for process, span in spans if span.name == "encode picture"} == {"unclip-gateway"}


def test_a_call_leaves_one_line_in_each_process_with_its_request_and_trace(observed: Observed) -> None:
    [call] = observed.lines("gateway", method=GENERATE, code="OK")
    assert (call["request_id"], call["trace_id"], call["level"]) == ("req-7", TRACE, "INFO")
    assert 0 < call["seconds"] < PATIENCE_S
    moment = datetime.datetime.fromisoformat(call["time"])
    assert moment.utcoffset() == datetime.timedelta(0)
    assert abs(moment.timestamp() - time.time()) < PATIENCE_S
    [stage] = observed.lines("stages", method=UPSAMPLE, code="OK")
    assert (stage["request_id"], stage["trace_id"]) == ("req-7", TRACE)
    [refused] = observed.lines("gateway", method=GENERATE, code="INVALID_ARGUMENT")
    assert refused["request_id"] == "req-7"


def test_nothing_a_caller_said_is_in_the_logs(observed: Observed) -> None:
    for name in observed.logs:
        lines = observed.lines(name)
        assert len(lines) > 3
        assert all({"time", "level", "logger", "message"} <= set(line) for line in lines)
        text = observed.logs[name].read_text()
        assert "octopus" not in text
        assert KEYLIKE not in text


def test_a_real_service_tells_of_its_queue_and_steps(
    tiny_checkpoint: Path, tmp_path: Path, collector: tuple[Collector, dict[str, str]]
) -> None:
    options = ("--checkpoint", str(tiny_checkpoint), "--device", "cpu", "--threads", "1", "--stages", "upsample")
    base = np.zeros((3, BASE, BASE), np.float32)
    request = upsampler_pb2.UpsampleRequest(sample=tensors.to_proto(base), seed=1)
    request.sampling.steps = 7
    parent = ("traceparent", f"00-{TRACE}-{'c' * 16}-01")
    with (
        service("decoder_svc", tmp_path, *options, variables=collector[1]) as address,
        grpc.insecure_channel(address) as channel,
    ):
        list(upsampler_pb2_grpc.UpsamplerServiceStub(channel).Upsample(request, timeout=60, metadata=(parent,)))
    spans = [span for process, span in collector[0].trace(("unclip-decoder", UPSAMPLE)) if process == "unclip-decoder"]
    [served] = [span for span in spans if span.parent_span_id.hex() == "c" * 16]
    parts = sorted((s for s in spans if s.parent_span_id == served.span_id), key=lambda s: s.start_time_unix_nano)
    assert [part.name for part in parts] == ["read", "queue", "steps", "transfer"]
    steps = {attribute.key: attribute.value for attribute in parts[2].attributes}
    assert (steps["unclip.steps"].int_value, steps["unclip.rows_per_pass"].double_value) == (7, 1.0)
    inside = parts[2].end_time_unix_nano - parts[2].start_time_unix_nano
    assert 0 < inside < served.end_time_unix_nano - served.start_time_unix_nano
