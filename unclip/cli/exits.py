"""How a command ends: one line for people, one number for scripts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from unclip.errors import (
    Cancelled,
    CheckpointError,
    ConfigurationError,
    DeadlineExceeded,
    InvalidRequest,
    OutOfDeviceMemory,
    Overloaded,
    PermissionDenied,
    PreconditionFailed,
    Unauthenticated,
    Unavailable,
    UnclipError,
)

FAILED, WRONG = 1, 2
INTERRUPTED = 130

# 2: what was asked is wrong, 3: not now, try again, 4: this stack cannot or will not, 5: no answer in time.
CODES: dict[type[UnclipError], int] = {
    InvalidRequest: 2,
    ConfigurationError: 2,
    CheckpointError: 2,
    Overloaded: 3,
    OutOfDeviceMemory: 3,
    Unavailable: 3,
    Cancelled: 3,
    PreconditionFailed: 4,
    Unauthenticated: 4,
    PermissionDenied: 4,
    DeadlineExceeded: 5,
}


def exit_code(error: UnclipError) -> int:
    """The exit status that stands for ``error``; 1 for what has no place in the table."""
    return CODES.get(type(error), FAILED)


@dataclass(frozen=True)
class Ended:
    """How a command failed: the exit status, a reason for programs, and words for people.

    lines: the words have lines of their own, which are ours. more: what else is known of it.
    """

    status: int
    reason: str
    message: str
    lines: bool = False
    more: Mapping[str, Any] = field(default_factory=dict)

    def fields(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return {"reason": self.reason, "message": self.message, "exit_status": self.status, **self.more}


def ended(error: UnclipError, request_id: str) -> Ended:
    """How ``error`` ends a command."""
    more: dict[str, Any] = {"request_id": request_id} if request_id else {}
    if isinstance(error, InvalidRequest):
        more["violations"] = [asdict(violation) for violation in error.violations]
    elif isinstance(error, Overloaded):
        more["retry_after"] = error.retry_after
    elif isinstance(error, Unavailable):
        more["stage"] = error.stage
    # The log of a service that this process started is shown as it is; a server's words are one line.
    lines = isinstance(error, Unavailable) and not request_id
    return Ended(exit_code(error), error.reason, one_line(error), lines, more)


def one_line(error: UnclipError) -> str:
    """What went wrong, and what to do about it where that is known.

    The log lines of a service that did not start follow, indented, on lines of their own.
    """
    text = str(error) or error.reason.lower().replace("_", " ")
    if isinstance(error, Overloaded):
        return f"{text}; try again in {error.retry_after:.0f} s"
    return text
