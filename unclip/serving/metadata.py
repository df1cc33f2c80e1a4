"""What callers send beside their requests: read once for each call, and only as far as it is what it claims to be.

gRPC decodes all metadata of a call each time it is asked for them, and strangers may send hundreds of entries.
"""

from __future__ import annotations

import contextvars
import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import grpc

Metadata = Iterable[tuple[str, str | bytes]]

REQUEST_ID, CLIENT, AUTHORIZATION = "x-request-id", "x-unclip-client", "authorization"
PART_OF = "x-unclip-part-of"  # a name that a gateway makes for each request, of those of its calls that belong together
TRACE_PARENT, TRACE_STATE = "traceparent", "tracestate"  # W3C trace context

NAME = re.compile(r"[\x21-\x7e]{1,128}")  # of requests and clients
SECRET = re.compile(r"[\x20-\x7e]{1,1024}")

# https://www.w3.org/TR/trace-context-2/
PARENT = re.compile(r"(?!ff)([0-9a-f]{2})-((?!0{32})[0-9a-f]{32})-((?!0{16})[0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
STATE_KEY = r"[a-z0-9][a-z0-9_*/@-]{0,255}"
MEMBER = re.compile(rf"({STATE_KEY})=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{{0,255}}[\x21-\x2b\x2d-\x3c\x3e-\x7e]")
MAX_MEMBERS, MAX_STATE, LONG_MEMBER = 32, 512, 128

_read: contextvars.ContextVar[tuple[object, Mapping[str, str]] | None] = contextvars.ContextVar(
    "metadata", default=None
)


def received(context: grpc.aio.ServicerContext[Any, Any]) -> Mapping[str, str]:
    """What is known and sound among the metadata of a call, see `sanitized`; read once for each call."""
    seen = _read.get()
    if seen is None or seen[0] is not context:
        seen = context, sanitized(context.invocation_metadata() or ())
        _read.set(seen)
    return seen[1]


def sanitized(metadata: Metadata) -> Mapping[str, str]:
    """The entries that services know, each as it may be logged (but for a secret) and sent on; the rest is dropped.

    Of an entry sent twice the last one counts, but a trace has one parent, and its state may come in pieces.
    """
    sent: dict[str, list[str]] = {}
    for key, value in metadata:
        if key in KNOWN and isinstance(value, str):
            sent.setdefault(key, []).append(value)
    found = {key: value for key, values in sent.items() if (value := KNOWN[key](values))}
    if TRACE_PARENT not in found:
        found.pop(TRACE_STATE, None)
    return MappingProxyType(found)


def trace_parent(values: list[str]) -> str:
    """The parent that a trace goes on from, of version 00; "" where there is none or more than one."""
    parsed = PARENT.fullmatch(values[0]) if len(values) == 1 and len(values[0]) <= MAX_STATE else None
    if parsed is None or (parsed[1] == "00" and parsed[5]):
        return ""
    return f"00-{parsed[2]}-{parsed[3]}-{parsed[4]}"


def trace_state(values: list[str]) -> str:
    """What tracing systems say of a trace, in at most 512 characters: beyond that long members go first, then the last
    ones. "" where any member is malformed, or one comes twice, or there are more than 32."""
    if sum(map(len, values)) > MAX_MEMBERS * MAX_STATE:
        return ""
    members = [member.strip(" \t") for value in values for member in value.split(",", MAX_MEMBERS)]
    members = [member for member in members if member]
    parsed = [MEMBER.fullmatch(member) for member in members[: MAX_MEMBERS + 1]]
    names = {each[1] for each in parsed if each}
    if len(members) > MAX_MEMBERS or len(names) < len(members):
        return ""
    if len(",".join(members)) > MAX_STATE:
        members = [member for member in members if len(member) <= LONG_MEMBER]
    while len(",".join(members)) > MAX_STATE:
        members.pop()
    return ",".join(members)


def _last(pattern: re.Pattern[str]) -> Callable[[list[str]], str]:
    return lambda values: values[-1] if pattern.fullmatch(values[-1]) else ""


KNOWN: Mapping[str, Callable[[list[str]], str]] = {
    REQUEST_ID: _last(NAME),
    CLIENT: _last(NAME),
    PART_OF: _last(NAME),
    AUTHORIZATION: _last(SECRET),
    TRACE_PARENT: trace_parent,
    TRACE_STATE: trace_state,
}
