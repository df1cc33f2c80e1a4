"""What a Triton server says when it fails, as errors of ours."""

from __future__ import annotations

import re

from unclip.errors import DeadlineExceeded, OutOfDeviceMemory, Overloaded, Unavailable, UnclipError

RETRY_S = 1.0
QUEUE_FULL = re.compile(r"exceeds maximum queue size", re.IGNORECASE)
QUEUED_TOO_LONG = re.compile(r"request timeout expired", re.IGNORECASE)


def error_of(status: str, message: str, model: str) -> UnclipError | RuntimeError:
    """The error behind a failed call of ``model``; a RuntimeError, a bug, for what none of ours is.

    status: as tritonclient gives it, such as "StatusCode.UNAVAILABLE". message: stays out of what callers see, who
    have no business with addresses.
    """
    code = status.rpartition(".")[2]
    if OutOfDeviceMemory.reason in message:
        return OutOfDeviceMemory("the device has not enough free memory for this request")
    if code == "RESOURCE_EXHAUSTED" or QUEUE_FULL.search(message):
        return Overloaded(f"{model}: the model's queue is full", RETRY_S)
    if QUEUED_TOO_LONG.search(message):
        return Overloaded(f"{model}: the request waited too long in the model's queue", RETRY_S)
    if code == "DEADLINE_EXCEEDED":
        return DeadlineExceeded(f"{model}: the model did not answer in time")
    if code in ("UNAVAILABLE", "CANCELLED"):
        return Unavailable(model, f"the model {model} cannot be reached or is not ready")
    if code == "NOT_FOUND":
        return Unavailable(model, f"the model {model} is not on the server")
    return RuntimeError(f"the model {model} failed: {code}: {message}")
