"""Where traces come from: what each call, each stage's queue and each sample took, as one tree across all processes.

This module is the seam. It knows nothing of OpenTelemetry, costs nothing while nobody traces, and hands everything to
`unclip.serving.otel` once `unclip.serving.trace_export` has started that. Either way the trace that a caller began (W3C
``traceparent``) travels on to every stage and every log line.
"""

from __future__ import annotations

import contextvars
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from unclip.serving.metadata import TRACE_PARENT, Metadata

Attributes = Mapping[str, str | int | float]

trace_id: contextvars.ContextVar[str] = contextvars.ContextVar("trace_id", default="")


class Span(Protocol):
    """The span of one call."""

    def end(self, code: str) -> None:
        """It is over, with this gRPC status."""
        ...


class Tracer(Protocol):
    """Whoever keeps spans."""

    def serving(self, method: str, metadata: Mapping[str, str]) -> Span:
        """A call of ``method`` has come in; what the code at hand does from now on belongs to it. Sets `trace_id`.

        metadata: those of `unclip.serving.metadata.sanitized`."""
        ...

    def calling(self, method: str, metadata: Metadata) -> tuple[Span, Metadata]:
        """A call of another service begins; the metadata to send with it."""
        ...

    def internal(self, name: str, attributes: Attributes) -> AbstractContextManager[object]:
        """Work of this process on the call at hand, for as long as the context lasts."""
        ...


class _NoSpan:
    def end(self, code: str) -> None:
        pass


NO_SPAN = _NoSpan()
tracer: Tracer | None = None


def serving(method: str, metadata: Mapping[str, str]) -> Span:
    """See `Tracer.serving`."""
    if tracer is not None:
        return tracer.serving(method, metadata)
    trace_id.set(metadata.get(TRACE_PARENT, "---").split("-")[1])
    return NO_SPAN


def internal(name: str, **attributes: str | int | float) -> AbstractContextManager[object]:
    """See `Tracer.internal`."""
    return nullcontext() if tracer is None else tracer.internal(name, attributes)
