"""How a command ends: one line for people, one number for scripts."""

from __future__ import annotations

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

FAILED = 1
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


def one_line(error: UnclipError) -> str:
    """What went wrong, and what to do about it where that is known.

    The log lines of a service that did not start follow, indented, on lines of their own.
    """
    text = str(error) or error.reason.lower().replace("_", " ")
    if isinstance(error, Overloaded):
        return f"{text}; try again in {error.retry_after:.0f} s"
    return text
