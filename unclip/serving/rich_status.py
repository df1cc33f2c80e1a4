"""google.rpc statuses as gRPC carries them: whole, in a call's trailing metadata.

As grpcio-status does it, whose every release wants a protobuf of its own: what clients install must not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import status_pb2

KEY = "grpc-status-details-bin"
CODES = {code.value[0]: code for code in grpc.StatusCode}


@dataclass(frozen=True)
class RichStatus(grpc.Status):
    """How a call ends: what ``context.abort_with_status`` takes."""

    code: grpc.StatusCode
    details: str
    trailing_metadata: tuple[tuple[str, str | bytes], ...]


def to_grpc(status: status_pb2.Status, *metadata: tuple[str, str]) -> RichStatus:
    """``status`` as the end of a call. metadata: what else goes with it."""
    return RichStatus(CODES[status.code], status.message, ((KEY, status.SerializeToString()), *metadata))


def from_call(call: Any) -> status_pb2.Status | None:
    """The status that a failed call, asyncio's or not, ended with; None where there is none, or where it cannot be
    read or contradicts the call's own: then no server of ours made it."""
    found = next((value for key, value in call.trailing_metadata() or () if key == KEY), None)
    if found is None:
        return None
    try:
        status = status_pb2.Status.FromString(found)
    except DecodeError:
        return None
    agrees = status.code == call.code().value[0] and status.message == (call.details() or "")
    return status if agrees else None
