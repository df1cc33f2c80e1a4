"""Which request the code at hand works for: known to every log line, sent on to every stage."""

from __future__ import annotations

import contextvars
import uuid
from typing import Any

import grpc

from unclip.serving import clients
from unclip.serving.metadata import PART_OF, REQUEST_ID, TRACE_PARENT, TRACE_STATE, received

HEADER = REQUEST_ID
TRAVELLING = (HEADER, TRACE_PARENT, TRACE_STATE)

current: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="")


def of(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """The id the caller sent, or a new one where it sent none that can be logged."""
    return received(context).get(HEADER) or uuid.uuid4().hex


def part_of(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """The name of the request that a gateway makes this call for; "" where the caller is none. (The request id is the
    caller's to choose, the same for several requests if he likes.)"""
    return received(context).get(PART_OF, "")


def call_metadata(context: grpc.aio.ServicerContext[Any, Any]) -> tuple[tuple[str, str], ...]:
    """Metadata for calls made on behalf of ``context``: the request id, its trace, whose call it is, and a name for
    what they are parts of."""
    sent = received(context)
    travelling = {key: sent[key] for key in TRAVELLING if key in sent}
    travelling[HEADER] = current.get() or of(context)
    travelling[clients.HEADER] = clients.client_of(context)
    travelling[PART_OF] = uuid.uuid4().hex
    return tuple(travelling.items())
