"""Who calls: the name that fair shares are kept by."""

from __future__ import annotations

import contextvars
from typing import Any

import grpc

from unclip.serving.metadata import CLIENT, received

HEADER = CLIENT

# Set by whoever has checked who calls: what a caller says of itself no longer counts then.
authenticated: contextvars.ContextVar[str] = contextvars.ContextVar("authenticated", default="")


def client_of(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """Who calls: the id of its key; else, at the gateway, the allow-listed name in its certificate; else the name it
    gives itself in ``x-unclip-client``; else the host it calls from."""
    if checked := authenticated.get():
        return checked
    return received(context).get(HEADER) or context.peer().rpartition(":")[0]
