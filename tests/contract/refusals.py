"""What a refused caller is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status


@dataclass
class Refusal:
    """The status of a failed call and its details. violations: description by field; retry_after: in seconds."""

    code: grpc.StatusCode
    message: str
    domain: str = ""
    reason: str = ""
    violations: dict[str, str] = field(default_factory=dict)
    preconditions: dict[str, str] = field(default_factory=dict)
    retry_after: float | None = None
    request_id: str = ""


def refusal(call: Callable[[], object]) -> Refusal:
    """How ``call`` fails."""
    with pytest.raises(grpc.RpcError) as failed:
        call()
    return read(failed.value)


def read(error: grpc.RpcError) -> Refusal:
    """The refusal in an error; an ErrorInfo comes once."""
    call = cast(grpc.Call, error)
    found = Refusal(call.code(), call.details() or "")
    found.request_id = next((str(v) for k, v in call.trailing_metadata() or () if k == "x-request-id"), "")
    status = rpc_status.from_call(call)
    info, bad, failed, retry = (
        error_details_pb2.ErrorInfo(),
        error_details_pb2.BadRequest(),
        error_details_pb2.PreconditionFailure(),
        error_details_pb2.RetryInfo(),
    )
    for detail in status.details if status else ():
        if detail.Unpack(info):
            assert not found.reason
            found.domain, found.reason = info.domain, info.reason
        elif detail.Unpack(bad):
            for violation in bad.field_violations:
                assert violation.field not in found.violations
                found.violations[violation.field] = violation.description
        elif detail.Unpack(failed):
            found.preconditions = {v.subject: v.description for v in failed.violations}
        elif detail.Unpack(retry):
            found.retry_after = retry.retry_delay.ToTimedelta().total_seconds()
    return found
