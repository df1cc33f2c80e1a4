"""Figures for Prometheus: what engines do, and how long calls take. Names of RPC metrics are OpenTelemetry's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import Counter, Gauge, Histogram, start_http_server

from unclip.engine.observer import Observer, Outcome
from unclip.errors import ConfigurationError
from unclip.serving import load_report
from unclip.serving.sockets import bindable

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
ROWS = (1, 2, 4, 8, 16, 32, 64)

QUEUE_DEPTH = Gauge("unclip_queue_depth", "Jobs that wait.", ["stage"])
ROWS_RUNNING = Gauge("unclip_rows_running", "Jobs under way.", ["stage"])
SATURATION = Gauge("unclip_saturation", "Jobs running or waiting as a share of capacity, at most 1.", ["stage"])
BATCH_SIZE = Histogram("unclip_batch_size", "Rows of one pass.", ["stage", "program"], buckets=ROWS)
STEP_SECONDS = Histogram("unclip_step_seconds", "Time of one pass.", ["stage", "program"], buckets=SECONDS)
QUEUE_SECONDS = Histogram("unclip_queue_seconds", "Time a job waited.", ["stage"], buckets=SECONDS)
JOBS = Counter("unclip_jobs", "Jobs by how they ended.", ["stage", "outcome"])
REFUSALS = Counter("unclip_refusals", "Requests refused at once, by reason.", ["stage", "reason"])
STAGE_SECONDS = Histogram(
    "unclip_stage_seconds", "Time a stage took, as the gateway sees it.", ["stage"], buckets=SECONDS
)
KEY_REFUSALS = Counter(
    "unclip_api_key_refusals", "Calls refused for their API key; key is empty where none was known.", ["key", "reason"]
)
CONNECTIONS_CUT = Counter(
    "unclip_connections_cut", "Connections that were shut since their host gave up calls as soon as it had begun them."
)
CERTIFICATE_SECONDS = Gauge(
    "unclip_tls_certificate_expiry_seconds",
    "Seconds until the certificate ends that this process serves with (server), calls with (client) or signs with "
    "(c2pa).",
    ["role"],
)
SIGN_SECONDS = Histogram("unclip_sign_seconds", "Time until a picture was signed, waiting included.", buckets=SECONDS)
CALL_SECONDS = Histogram(
    "rpc_server_call_duration_seconds",
    "Time of a call.",
    ["rpc_method", "rpc_response_status_code"],
    buckets=SECONDS,
)
RETRIES = Counter("unclip_stage_retries", "Calls of a stage that the gateway made again.", ["stage"])
POISON = Counter(
    "unclip_poison_suspected",
    "Requests refused since replicas were lost at work on them, by the last one's stage.",
    ["stage"],
)
STAGE_REPLICAS = Gauge(
    "unclip_stage_replicas",
    "Replicas of a stage as the gateway counts them, by the version of their model; those not served are left out.",
    ["stage", "version", "served"],
)
VERSION_SWITCHES = Counter("unclip_version_switches", "How often new requests moved to another version.")
REQUEST_RESTARTS = Counter(
    "unclip_request_restarts", "Requests that began anew with another version, the replicas of theirs being gone."
)
STRAY_ANSWERS = Counter(
    "unclip_stage_stray_answers", "Answers of a stage by another version than the one that was asked.", ["stage"]
)
CALLS_RUNNING = Gauge("rpc_server_active_requests", "Calls under way.", ["rpc_method"])


class EngineMetrics(Observer):
    """Counts what one engine does; ``stage`` labels its figures."""

    def __init__(self, stage: str) -> None:
        self._stage = stage

    def watch(self, load: Callable[[], tuple[int, int]], capacity: int) -> None:
        """Reads the gauges from ``load``, which gives (running, waiting), whenever they are asked for."""
        ROWS_RUNNING.labels(self._stage).set_function(lambda: load()[0])
        QUEUE_DEPTH.labels(self._stage).set_function(lambda: load()[1])
        SATURATION.labels(self._stage).set_function(lambda: min(1.0, sum(load()) / capacity))
        load_report.report.watch(self._stage, lambda: sum(load()) / capacity)

    def admitted(self, waited: float) -> None:
        QUEUE_SECONDS.labels(self._stage).observe(waited)

    def ticked(self, program: str, rows: int, seconds: float) -> None:
        BATCH_SIZE.labels(self._stage, program).observe(rows)
        STEP_SECONDS.labels(self._stage, program).observe(seconds)

    def ended(self, outcome: Outcome) -> None:
        JOBS.labels(self._stage, outcome).inc()

    def refused(self, reason: str) -> None:
        REFUSALS.labels(self._stage, reason).inc()


@contextmanager
def timed(stage: str) -> Iterator[None]:
    """Counts the time spent inside as time of ``stage``."""
    began = time.monotonic()
    try:
        yield
    finally:
        STAGE_SECONDS.labels(stage).observe(time.monotonic() - began)


def watch_certificate(role: str, seconds_left: Callable[[], float]) -> None:
    """Reads the gauge of the certificate's end from ``seconds_left`` whenever it is asked for."""
    CERTIFICATE_SECONDS.labels(role).set_function(seconds_left)


def serve_metrics(address: str) -> Callable[[], None]:
    """Serves /metrics at ``host:port``; call the result to stop.

    Raises:
        ConfigurationError: the address is malformed or taken.
    """
    host, _, port = address.rpartition(":")
    try:
        server, thread = start_http_server(int(port), addr=bindable(host))
    except (OSError, OverflowError, ValueError) as error:
        raise ConfigurationError(f"metrics must be a free host:port; got {address!r}: {error}") from error

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop
