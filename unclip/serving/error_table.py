"""The one table between our closed set of errors and gRPC statuses, read in both directions."""

from __future__ import annotations

import re
from collections.abc import Sequence

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from unclip.errors import (
    Cancelled,
    DeadlineExceeded,
    FieldViolation,
    InvalidRequest,
    OutOfDeviceMemory,
    Overloaded,
    PermissionDenied,
    PreconditionFailed,
    ReplicaLost,
    Unauthenticated,
    Unavailable,
    UnclipError,
)
from unclip.serving import acceptance
from unclip.serving.rich_status import from_call

DOMAIN = "unclip"
DEFAULT_RETRY_S = 1.0
# gRPC's core has no status of its own for what is beyond a limit on one call: asking again is no use.
TOO_LARGE = re.compile(
    r"(?:(?P<side>\w+): )?(?P<done>Sent|Received) message larger than max \((?P<value>\d+) vs\. (?P<limit>\d+)\)"
    r"|message larger than max|metadata size exceeds"
)

CODES: dict[type[UnclipError], int] = {
    InvalidRequest: code_pb2.INVALID_ARGUMENT,
    Overloaded: code_pb2.RESOURCE_EXHAUSTED,
    OutOfDeviceMemory: code_pb2.RESOURCE_EXHAUSTED,
    Unavailable: code_pb2.UNAVAILABLE,
    PreconditionFailed: code_pb2.FAILED_PRECONDITION,
    DeadlineExceeded: code_pb2.DEADLINE_EXCEEDED,
    Cancelled: code_pb2.CANCELLED,
    Unauthenticated: code_pb2.UNAUTHENTICATED,
    PermissionDenied: code_pb2.PERMISSION_DENIED,
}
# Characters of broken rules. They travel nearly four times over, in metadata of which gRPC takes 8 KB: what is more is
# refused by the caller's own core, as too much.
MAX_VIOLATION_CHARACTERS = 1500


def to_status(error: BaseException, request_id: str = "") -> status_pb2.Status:
    """The status a caller sees. What is not in the table is INTERNAL and says no more than the request id."""
    code = next((CODES[kind] for kind in type(error).__mro__ if kind in CODES), None)
    if code is None or not isinstance(error, UnclipError):  # CheckpointError and its like belong to start-up
        message = f"internal error; the log has more under request id {request_id}"
        info = error_details_pb2.ErrorInfo(reason="INTERNAL", domain=DOMAIN, metadata={"request_id": request_id})
        return status_pb2.Status(code=code_pb2.INTERNAL, message=message, details=_packed([info]))
    if isinstance(error, InvalidRequest):
        error = error.brief(MAX_VIOLATION_CHARACTERS)
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN)
    if isinstance(error, Unavailable):
        info.metadata["stage"] = error.stage
    return status_pb2.Status(code=code, message=str(error), details=_packed([info, *_details(error)]))


def _details(error: UnclipError) -> list[Message]:
    """The detail message that belongs to the error's kind, if one does."""
    match error:
        case InvalidRequest():
            violation = error_details_pb2.BadRequest.FieldViolation
            found = [violation(field=v.field, description=v.description) for v in error.violations]
            return [error_details_pb2.BadRequest(field_violations=found)]
        case Overloaded():
            delay = duration_pb2.Duration()
            delay.FromNanoseconds(round(error.retry_after * 1e9))
            return [error_details_pb2.RetryInfo(retry_delay=delay)]
        case PreconditionFailed():
            failed = error_details_pb2.PreconditionFailure.Violation(
                type=error.reason, subject=error.subject, description=str(error)
            )
            return [error_details_pb2.PreconditionFailure(violations=[failed])]
    return []


def _packed(messages: Sequence[Message]) -> list[any_pb2.Any]:
    packed = [any_pb2.Any() for _ in messages]
    for box, message in zip(packed, messages, strict=True):
        box.Pack(message)
    return packed


def _too_large(found: re.Match[str], stage: str) -> InvalidRequest:
    """What gRPC's core found too large, its limit and the value where it gives them."""
    if not found["value"]:
        return InvalidRequest.of("request", f"is, or asks for, more than the {stage} takes or gives in one call")
    answer = (found["side"], found["done"]) in (("CLIENT", "Received"), ("SERVER", "Sent"))
    what = f"must ask for at most {{}} bytes in one answer of the {stage}" if answer else "must be at most {} bytes"
    return InvalidRequest.of("request", f"{what.format(found['limit'])}; got {found['value']}")


def from_rpc_error(error: grpc.RpcError, stage: str) -> UnclipError:
    """The error of ours behind a failed call to ``stage``; a bare UnclipError for a status that none of ours makes."""
    assert isinstance(error, grpc.Call | grpc.aio.AioRpcError)
    code, message = error.code(), error.details() or ""
    status = from_call(error)
    bad, retry, failed, info = (
        error_details_pb2.BadRequest(),
        error_details_pb2.RetryInfo(),
        error_details_pb2.PreconditionFailure(),
        error_details_pb2.ErrorInfo(),
    )
    for detail in status.details if status else ():
        for kind in (bad, retry, failed, info):
            detail.Unpack(kind)
    match code:
        case grpc.StatusCode.INVALID_ARGUMENT:
            violations = [FieldViolation(v.field, v.description) for v in bad.field_violations]
            return InvalidRequest(violations or [FieldViolation("request", message)])
        case grpc.StatusCode.RESOURCE_EXHAUSTED if info.reason == OutOfDeviceMemory.reason:
            return OutOfDeviceMemory(message)
        case grpc.StatusCode.RESOURCE_EXHAUSTED if (found := TOO_LARGE.search(message)) and not info.reason:
            return _too_large(found, stage)
        case grpc.StatusCode.RESOURCE_EXHAUSTED if not info.reason:  # of a proxy, say, in words of its own
            return Overloaded(f"the {stage} has no room", DEFAULT_RETRY_S)
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            seconds = retry.retry_delay.ToNanoseconds() / 1e9
            return Overloaded(message, seconds or DEFAULT_RETRY_S, info.reason)
        case grpc.StatusCode.FAILED_PRECONDITION:
            subject = failed.violations[0].subject if failed.violations else stage
            return PreconditionFailed(subject, message)
        case grpc.StatusCode.UNAVAILABLE if info.reason:
            return Unavailable(info.metadata.get("stage", stage), message)
        case grpc.StatusCode.UNAVAILABLE if replica := acceptance.accepted_by(error):
            return ReplicaLost(stage, replica, f"a replica of the {stage} was lost at work on this request")
        case grpc.StatusCode.UNAVAILABLE:  # gRPC's own words name addresses, which are no caller's business
            return Unavailable(stage, f"the {stage} cannot be reached")
        case grpc.StatusCode.CANCELLED:
            return Unavailable(stage, f"the {stage} dropped the call")  # we did not: ours are CancelledErrors
        case grpc.StatusCode.DEADLINE_EXCEEDED:  # gRPC's own words are about streams and their ends
            return DeadlineExceeded(message if info.reason else f"the {stage} did not answer within the deadline")
        case grpc.StatusCode.UNAUTHENTICATED:
            return Unauthenticated(message, info.reason or Unauthenticated.reason)
        case grpc.StatusCode.PERMISSION_DENIED:
            return PermissionDenied(message)
    detail = f": {message}" if info.reason else ""  # words that are not ours may hold anything
    return UnclipError(f"the {stage} failed: {code.name if code else 'unknown'}{detail}")
