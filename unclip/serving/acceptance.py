"""A stage says at once that it has begun to work on a call, and which of its replicas it is.

Without it a call that a dying replica took with it would look like one that never reached a replica: of both gRPC says
UNAVAILABLE. And gRPC itself asks the next replica again and again, until it has had a first answer: a request that
kills whoever reads it would go round them all.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Any

import grpc

HEADER = "x-unclip-replica"
REPLICA = secrets.token_hex(8)  # this process

# A call of the public service may be made again by its caller's channel as long as it was not answered.
PUBLIC = "unclip.api.gateway."


async def accept(context: grpc.aio.ServicerContext[Any, Any], method: str) -> None:
    """Shows the caller of ``method``, "package.Service/Method", that this replica has begun with it."""
    if not method.startswith(PUBLIC):
        await context.send_initial_metadata(((HEADER, REPLICA),))


def accepted_by(error: grpc.RpcError) -> str:
    """The replica that had begun with the call that ended with ``error``; empty where none had."""
    assert isinstance(error, grpc.Call | grpc.aio.AioRpcError)
    return begun_by(error.initial_metadata())


def begun_by(initial_metadata: Iterable[tuple[str, str | bytes]] | None) -> str:
    """The replica that has begun with the call to which this was the first answer; empty where it does not say."""
    return str(dict(initial_metadata or ()).get(HEADER, ""))
