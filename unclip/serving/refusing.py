"""The end of a call that is refused: its status, by the error table, and what goes with it."""

from __future__ import annotations

import asyncio
import logging
import traceback
from typing import Any

import grpc
from google.rpc import code_pb2

from unclip.errors import Overloaded, Unavailable
from unclip.serving import request_id
from unclip.serving.error_table import to_status
from unclip.serving.rich_status import to_grpc

PATIENT_S = 2.0  # the longest pause of our channels' retries
log = logging.getLogger(__name__)
Context = grpc.aio.ServicerContext[Any, Any]


def pushback(error: Exception) -> tuple[tuple[str, str], ...]:
    """What has gRPC's own retries wait for a key's rate, or give up where that takes longer than they have patience.

    Otherwise a caller over its rate would ask thrice in two seconds, and be refused thrice. A stage that the gateway
    asked again in vain is no better off for a caller that does the same, who wants to know of it.
    """
    if isinstance(error, Unavailable) and error.asked_again:
        return (("grpc-retry-pushback-ms", "-1"),)
    if not isinstance(error, Overloaded) or error.reason != "RATE_LIMITED":
        return ()
    wait = round(error.retry_after * 1000) + 1 if error.retry_after <= PATIENT_S else -1
    return (("grpc-retry-pushback-ms", str(wait)),)


async def refuse(error: Exception, context: Context, name: str = "") -> None:
    """Ends the call with the error's status. A handler's own abort passes through. name: of the request, its id."""
    if isinstance(error, grpc.aio.AbortError | asyncio.CancelledError):
        raise error
    name = name or request_id.current.get()
    status = to_status(error, name)
    if status.code == code_pb2.INTERNAL:
        log.error("call failed", exc_info=error)
    _forget(error)
    # The trailing metadata of a status replaces what was set before.
    await context.abort_with_status(to_grpc(status, (request_id.HEADER, name), *pushback(error)))


def _forget(error: BaseException) -> None:
    """Lets go of what the code that raised ``error`` had at hand.

    grpc.aio keeps what ends a call in a circle of references, and with it that error: until Python looks for such
    circles, every refused request of some megabytes would stay in memory, tens of them at a time.
    """
    chain: BaseException | None = error
    while chain is not None:
        traceback.clear_frames(chain.__traceback__)
        before, chain.__traceback__ = chain.__cause__ or chain.__context__, None
        chain.__cause__ = chain.__context__ = None
        chain = before
