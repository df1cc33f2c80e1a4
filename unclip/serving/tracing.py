"""Where traces come from: what each call, each stage's queue and each sample took, as one tree across all processes.

This module is the seam. It knows nothing of OpenTelemetry, costs nothing while nobody traces, and hands everything to
`unclip.serving.otel` once `start` was told to. Either way the trace that a caller began (W3C ``traceparent``) travels
on to every stage and every log line.
"""

from __future__ import annotations

import contextvars
import logging
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from unclip.errors import ConfigurationError
from unclip.serving.metadata import TRACE_PARENT, Metadata

log = logging.getLogger(__name__)
ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
Attributes = Mapping[str, str | int | float]

trace_id: contextvars.ContextVar[str] = contextvars.ContextVar("trace_id", default="")


class Span(Protocol):
    """What is told of one call."""

    def end(self, code: str) -> None:
        """It is over, with this gRPC status."""
        ...


class Tracer(Protocol):
    """Whoever keeps spans."""

    def serving(self, method: str, metadata: Mapping[str, str]) -> Span:
        """A call of ``method`` has come in; what the code at hand does from now on belongs to it. Sets `trace_id`.

        metadata: those of `unclip.serving.metadata.sound`."""
        ...

    def calling(self, method: str, metadata: Metadata) -> tuple[Span, Metadata]:
        """A call of another service begins; the metadata to send with it."""
        ...

    def doing(self, name: str, attributes: Attributes) -> AbstractContextManager[object]:
        """Work of this process on the call at hand, for as long as the context lasts."""
        ...


class _Untold:
    def end(self, code: str) -> None:
        pass


UNTOLD = _Untold()
tracer: Tracer | None = None


def serving(method: str, metadata: Mapping[str, str]) -> Span:
    """See `Tracer.serving`."""
    if tracer is not None:
        return tracer.serving(method, metadata)
    trace_id.set(metadata.get(TRACE_PARENT, "---").split("-")[1])
    return UNTOLD


def doing(name: str, **attributes: str | int | float) -> AbstractContextManager[object]:
    """See `Tracer.doing`."""
    return nullcontext() if tracer is None else tracer.doing(name, attributes)


def start(wanted: str, stage: str) -> Callable[[], None]:
    """Has spans sent by OTLP where ``wanted`` is "on", or "auto" and the environment names an endpoint; call the result
    to send the last ones and stop. The standard OTEL_ variables say where to, as whom, and which to sample.

    Raises:
        ConfigurationError: "on" without the packages.
    """
    global tracer
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if wanted == "off" or (wanted == "auto" and (disabled or not any(os.environ.get(name) for name in ENDPOINTS))):
        return lambda: None
    try:
        from unclip.serving import otel  # imports that only who traces shall pay for

        tracer, stop = otel.start(stage)
    except ImportError as error:
        if wanted == "on":
            raise ConfigurationError(f"tracing needs pip install 'unclip[otel]': {error}") from error
        log.warning("no traces although the environment names an endpoint: pip install 'unclip[otel]' (%s)", error)
        return lambda: None

    def stopped() -> None:
        global tracer
        tracer = None
        stop()

    return stopped
