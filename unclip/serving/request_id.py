"""Which request the code at hand works for: known to every log line, sent on to every stage."""

from __future__ import annotations

import contextvars
import re
import uuid
from typing import Any

import grpc

from unclip.serving import clients

HEADER = "x-request-id"
TRAVELLING = (HEADER, "traceparent", "tracestate")  # the latter two: W3C trace context
ACCEPTED = re.compile(r"[\x21-\x7e]{1,128}")

current: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="")


def of(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """The id the caller sent, or a new one where it sent none that can be logged."""
    sent = dict(context.invocation_metadata() or ()).get(HEADER, "")
    return sent if isinstance(sent, str) and ACCEPTED.fullmatch(sent) else uuid.uuid4().hex


def call_metadata(context: grpc.aio.ServicerContext[Any, Any]) -> tuple[tuple[str, str], ...]:
    """Metadata for calls made on behalf of ``context``: the request id, its trace, and whose call it is."""
    sent = dict(context.invocation_metadata() or ())
    travelling = {key: value for key in TRAVELLING if isinstance(value := sent.get(key), str)}
    travelling[HEADER] = current.get() or of(context)
    travelling[clients.HEADER] = clients.client_of(context)
    return tuple(travelling.items())
