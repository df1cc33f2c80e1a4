"""Errors as the studio gets them: by the contract's own names, out of the same table as those of the Images API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from google.rpc import code_pb2

from unclip.errors import InvalidRequest, Overloaded, PreconditionFailed, Unavailable, UnclipError
from unclip.serving.error_table import to_status
from unclip.web.calls import CODES
from unclip.web.errors import MAX_MESSAGE, HttpError, Refusal, refusal_of, row_of


@dataclass(frozen=True)
class ContractRefusal(Refusal):
    """told: what is answered of the error."""

    told: Mapping[str, Any] = field(default_factory=dict)

    @property
    def error(self) -> Mapping[str, Any]:
        """The object that the page reads."""
        return self.told


def contract_refusal(error: BaseException, request_id: str) -> ContractRefusal:
    """How ``error`` is answered: ``code`` is the name of its gRPC status, ``reason`` as in ErrorInfo, ``fields`` each
    broken rule, ``retryAfter`` in seconds, ``stage`` what is missing, ``subject`` what cannot be served."""
    http = refusal_of(error, request_id)
    told = {"code": code_of(error, http.status), "reason": http.code.upper(), "requestId": request_id}
    more: dict[str, Any] = {"message": http.message}
    if isinstance(error, UnclipError):
        told["reason"] = error.reason
        more["message"] = row_of(error).message or str(error)[:MAX_MESSAGE] if http.status < 500 else http.message
    match error:
        case InvalidRequest():
            found = error.brief(MAX_MESSAGE)
            more["message"] = str(found)
            more["fields"] = [{"field": each.field, "description": each.description} for each in found.violations]
        case Overloaded():
            more["retryAfter"] = max(0.0, min(error.retry_after, 3600.0))
        case Unavailable():
            more["stage"] = error.stage
        case PreconditionFailed():
            more["subject"] = error.subject
    return ContractRefusal(http.status, http.type, http.code, http.message, None, http.headers, {**told, **more})


def code_of(error: BaseException, status: int) -> str:
    """The name of the gRPC status of ``error``; of one of HTTP's own, that of its ``status``."""
    if isinstance(error, HttpError):
        return CODES.get(status, "INVALID_ARGUMENT")
    return str(code_pb2.Code.Name(to_status(error).code))
