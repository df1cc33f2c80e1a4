"""Which request the code at hand works for: known to every log line, sent on to every stage."""

from __future__ import annotations

import contextvars
import uuid
from typing import Any

import grpc

from unclip.serving import clients
from unclip.serving.metadata import REQUEST_ID, TRACE_PARENT, TRACE_STATE, received

HEADER = REQUEST_ID
TRAVELLING = (HEADER, TRACE_PARENT, TRACE_STATE)

current: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="")


def of(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """The id the caller sent, or a new one where it sent none that can be logged."""
    return received(context).get(HEADER) or uuid.uuid4().hex


def call_metadata(context: grpc.aio.ServicerContext[Any, Any]) -> tuple[tuple[str, str], ...]:
    """Metadata for calls made on behalf of ``context``: the request id, its trace, and whose call it is."""
    sent = received(context)
    travelling = {key: sent[key] for key in TRAVELLING if key in sent}
    travelling[HEADER] = current.get() or of(context)
    travelling[clients.HEADER] = clients.client_of(context)
    return tuple(travelling.items())
