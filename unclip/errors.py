"""The closed set of errors this project raises on purpose.

Every layer raises these and nothing else for a foreseen failure; `unclip.serving.error_table` is the one place
that turns them into gRPC statuses. Anything outside this set is a bug and reaches a caller as INTERNAL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# Exit statuses of a process that serves: it failed, it cannot start as configured.
EXIT_FAILED, EXIT_MISCONFIGURED = 1, 2


class UnclipError(Exception):
    """Base of every foreseen error; pickles and copies with all its fields.

    reason: the machine-readable name sent as ErrorInfo.reason. request_id: where it is what a client's call ended with,
    the id by which the servers' logs know that call; "" where nothing was sent.
    """

    reason = "UNKNOWN"
    request_id = ""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as it is, whatever its constructor takes: errors come from other processes as well."""
        return _remade, (type(self), self.args), self.__dict__


def _remade(kind: type[UnclipError], args: tuple[Any, ...]) -> UnclipError:
    error = kind.__new__(kind, *args)
    error.args = args
    return error


@dataclass(frozen=True)
class FieldViolation:
    """One rule that one field of a request breaks: the field's path, and a sentence with limit and value."""

    field: str
    description: str


class InvalidRequest(UnclipError):
    """A request breaks one or more rules; every broken rule is listed."""

    reason = "INVALID_REQUEST"

    def __init__(self, violations: Sequence[FieldViolation]) -> None:
        self.violations = tuple(violations)
        super().__init__("; ".join(f"{v.field}: {v.description}" for v in self.violations))

    def brief(self, most: int) -> InvalidRequest:
        """The same, of which the violations beyond about ``most`` characters are but counted."""
        kept, size = list[FieldViolation](), 0
        for violation in self.violations:
            size += len(violation.field) + len(violation.description)
            if kept and size > most:
                left = len(self.violations) - len(kept)
                return InvalidRequest([*kept, FieldViolation("request", f"breaks {left} more rules")])
            kept.append(violation)
        return self

    @classmethod
    def of(cls, field: str, description: str) -> InvalidRequest:
        """The error for a single violation."""
        return cls([FieldViolation(field, description)])


class Overloaded(UnclipError):
    """There is no room. Retry after ``retry_after`` seconds.

    reason: "OVERLOADED" when the queue is full, "CLIENT_SHARE" when one client has all that it may, "TOO_LATE" when
    the wait would outlast the deadline, "OWN_WORK" when it would for other parts of the same request alone (a stage
    says so, a gateway then DEADLINE_EXCEEDED), "PIXELS" when pictures with too many of them are being read,
    "UNREAD_BYTES" or "UNREAD_PICTURES" when finished ones that nobody takes leave no room; "RATE_LIMITED" or
    "CONCURRENCY_LIMITED" when an API key's limit is reached.
    """

    reason = "OVERLOADED"

    def __init__(self, message: str, retry_after: float, reason: str = "OVERLOADED") -> None:
        self.retry_after = retry_after
        self.reason = reason
        super().__init__(message)


class OutOfDeviceMemory(UnclipError):
    """The device has not enough memory for this request; the service lives on."""

    reason = "OUT_OF_DEVICE_MEMORY"


class Unavailable(UnclipError):
    """A stage is loading, draining or down. ``stage`` names it.

    asked_again: it was asked as often as makes sense, so that nobody is to ask once more at once.
    """

    reason = "STAGE_UNAVAILABLE"
    asked_again = False

    def __init__(self, stage: str, message: str) -> None:
        self.stage = stage
        super().__init__(message)


class ReplicaLost(Unavailable):
    """A replica of a stage died, or fell silent, at work on the request. ``replica`` is the name it gave itself."""

    reason = "REPLICA_LOST"

    def __init__(self, stage: str, replica: str, message: str) -> None:
        self.replica = replica
        super().__init__(stage, message)


class PoisonSuspected(Unavailable):
    """So many replicas were lost at work on the request that no other one is tried: it may be what kills them."""

    reason = "POISON_SUSPECTED"
    asked_again = True


class PreconditionFailed(UnclipError):
    """The request is well-formed but this checkpoint cannot serve it (another CLIP space, a missing capability)."""

    reason = "PRECONDITION_FAILED"

    def __init__(self, subject: str, message: str) -> None:
        self.subject = subject
        super().__init__(message)


class DeadlineExceeded(UnclipError):
    """The caller's deadline passed before the work was done."""

    reason = "DEADLINE_EXCEEDED"


class Cancelled(UnclipError):
    """The caller went away; the work was dropped."""

    reason = "CANCELLED"


class Unauthenticated(UnclipError):
    """No credentials, or unknown ones; ``reason`` says which: CREDENTIALS_MISSING, _INVALID or _EXPIRED."""

    reason = "UNAUTHENTICATED"

    def __init__(self, message: str, reason: str = reason) -> None:
        self.reason = reason
        super().__init__(message)


class PermissionDenied(UnclipError):
    """Known credentials that do not allow this call."""

    reason = "PERMISSION_DENIED"


class CheckpointError(UnclipError):
    """A checkpoint folder is unknown, incomplete, altered or of an unsupported shape. Raised at start-up."""

    reason = "CHECKPOINT"


class ConfigurationError(UnclipError):
    """A setting is missing or out of range. Raised at start-up, before anything is served."""

    reason = "CONFIGURATION"


def brief(seconds: float) -> str:
    """Seconds in two digits, for messages."""
    return f"{float(f'{seconds:.2g}'):g} s"
