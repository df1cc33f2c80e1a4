"""The one table between our closed set of errors and the errors of OpenAI's API."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from unclip.errors import (
    Cancelled,
    DeadlineExceeded,
    InvalidRequest,
    OutOfDeviceMemory,
    Overloaded,
    PermissionDenied,
    PoisonSuspected,
    PreconditionFailed,
    Unauthenticated,
    Unavailable,
    UnclipError,
)

MAX_MESSAGE = 1500  # characters
DO_NOT_RETRY = {"x-should-retry": "false"}  # which OpenAI's SDKs heed


class HttpError(Exception):
    """What is wrong with a request as far as HTTP, or the API's own names, are concerned; no error of the gateway."""

    def __init__(self, status: int, code: str, message: str, param: str | None = None, **headers: str) -> None:
        self.status, self.code, self.param = status, code, param
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        super().__init__(message)


@dataclass(frozen=True)
class Row:
    """What callers get for a kind of error. message: in the place of the error's own, which may name what is behind."""

    status: int
    type: str
    code: str
    message: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


INTERNAL = Row(500, "server_error", "internal_error", "The server had an error while processing your request.")
NO_MEMORY = "There is not enough memory for this request now."
AWAY = "The service is not available now. Try again later."
TABLE: Mapping[type[UnclipError], Row] = {
    InvalidRequest: Row(400, "invalid_request_error", "invalid_value"),
    PreconditionFailed: Row(400, "invalid_request_error", "precondition_failed"),
    Unauthenticated: Row(401, "invalid_request_error", "invalid_api_key", headers={"www-authenticate": "Bearer"}),
    PermissionDenied: Row(403, "invalid_request_error", "permission_denied"),
    Overloaded: Row(429, "rate_limit_error", "rate_limit_exceeded"),
    OutOfDeviceMemory: Row(429, "rate_limit_error", "out_of_memory", NO_MEMORY, {"retry-after": "5"}),
    PoisonSuspected: Row(503, "server_error", "service_unavailable", AWAY, DO_NOT_RETRY),
    Unavailable: Row(503, "server_error", "service_unavailable", AWAY, {"retry-after": "1"}),
    Cancelled: Row(503, "server_error", "service_unavailable", AWAY, {"retry-after": "1"}),
    DeadlineExceeded: Row(
        504, "server_error", "deadline_exceeded", "The request took longer than it may.", DO_NOT_RETRY
    ),
}
# What requests call the fields of the gateway's, and a value of one that refusals of others name.
PARAMETERS: Mapping[str, str] = {
    "caption": "prompt",
    "after": "prompt",
    "image_count": "n",
    "negative_caption": "negative_prompt",
    "decoder.steps": "steps",
    "decoder.guidance_scale": "guidance",
    "decoder.eta": "eta",
    "decoder": "guidance",
    "format": "output_format",
    "preview_interval": "partial_images",
    "width": "size",
    "height": "size",
    "image.data": "image",
    "mask.data": "mask",
    "QUALITY_FAST": "quality low",
}
KINDS = re.compile(r"(?:generate|vary|edit|text_diff)\.")
WORD = re.compile(r"\b(?:[a-z]+(?:[_.][a-z_]+)*|[A-Z]+(?:_[A-Z]+)+)\b")


@dataclass(frozen=True)
class Refusal:
    """An error as it is answered. headers: beside those of its content."""

    status: int
    type: str
    code: str
    message: str
    param: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def error(self) -> Mapping[str, Any]:
        """The object that SDKs read."""
        return {"message": self.message, "type": self.type, "param": self.param, "code": self.code}

    @property
    def body(self) -> bytes:
        """The answer."""
        return json.dumps({"error": self.error}).encode()


def refusal_of(error: BaseException, request_id: str) -> Refusal:
    """How ``error`` is answered. What is not in the table is an internal error, which tells only the request's id."""
    if isinstance(error, HttpError):
        kind = "invalid_request_error" if error.status < 500 else "server_error"
        return Refusal(error.status, kind, error.code, str(error), error.param, error.headers)
    row = row_of(error)
    if row is INTERNAL:
        return Refusal(row.status, row.type, row.code, f"{row.message} Its id is {request_id}.")
    message, param, headers = row.message or str(error)[:MAX_MESSAGE], None, dict(row.headers)
    if isinstance(error, InvalidRequest):
        found = error.brief(MAX_MESSAGE).violations
        param = parameter(found[0].field) if found else None
        message = "; ".join(f"{parameter(each.field)}: {in_parameters(each.description)}" for each in found)
    elif isinstance(error, Overloaded):
        seconds = max(0.0, min(error.retry_after, 3600.0))
        headers |= {"retry-after": str(max(1, math.ceil(seconds))), "retry-after-ms": str(math.ceil(seconds * 1000))}
    return Refusal(row.status, row.type, row.code, message, param, headers)


def row_of(error: BaseException) -> Row:
    """The row of the table that ``error`` is answered by."""
    return next((TABLE[kind] for kind in type(error).__mro__ if kind in TABLE), INTERNAL)


def in_parameters(text: str) -> str:
    """What is said of the gateway's fields, as said of the parameters."""
    return WORD.sub(lambda word: PARAMETERS.get(word[0], word[0]), text)


def parameter(path: str) -> str:
    """What requests call the gateway's field at ``path``."""
    name = KINDS.sub("", path, count=1)
    return PARAMETERS.get(name, name)
