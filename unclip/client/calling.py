"""What the blocking and the asyncio client share: how they reach a gateway, and how a call fails."""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import grpc

from unclip.client.reaching import unreachable
from unclip.client.values import KINDS, Request
from unclip.errors import Cancelled, InvalidRequest, Unavailable, UnclipError
from unclip.serving.channels import resolved
from unclip.serving.error_table import from_rpc_error
from unclip.serving.rich_status import from_call
from unclip.serving.tls import Tls
from unclip.wire.by_name import brief, listed, number, text

DEFAULT_TARGET = "127.0.0.1:50050"
DEFAULT_TIMEOUT_S = 300.0  # the longest that a gateway grants by default
MAX_TIMEOUT_S = 86_400.0  # the longest that a server can be set to grant
FAILURES = (grpc.RpcError, asyncio.CancelledError)
REQUEST_ID = "x-request-id"
KEY = re.compile(r"[0-9a-z_.-]+")
NOT_ASCII = re.compile(r"[^\x20-\x7e]")

Metadata = Sequence[tuple[str, str]]
Method = TypeVar("Method", bound=Callable[..., Any])
Line = TypeVar("Line")


def target_of(given: str | None, tls: Tls | None = None) -> str:
    """The gateway's ``host:port``: the one given, else that of UNCLIP_SERVER, else this machine's.

    Raises:
        ConfigurationError: it is malformed.
        InvalidRequest: it is no text, or ``tls`` something else.
    """
    target = os.environ.get("UNCLIP_SERVER") or DEFAULT_TARGET if given is None else text(given, "target")
    resolved(target)
    if not isinstance(tls, Tls | None):
        raise InvalidRequest.of("tls", f"must be a Tls; got {brief(tls)}")
    return target


def key_of(given: str | None) -> str:
    """The API key: the one given, else that of UNCLIP_API_KEY, else none."""
    return os.environ.get("UNCLIP_API_KEY", "") if given is None else given


def bearer(api_key: str) -> Metadata:
    """The metadata that shows ``api_key``; none for none."""
    return (("authorization", f"Bearer {api_key}"),) if api_key else ()


class Calls:
    """How each call of a client is made. Raises InvalidRequest for what cannot be sent."""

    def __init__(
        self, target: str | None, tls: Tls | None, timeout: float, metadata: Metadata, api_key: str | None
    ) -> None:
        self.target, self._tls = target_of(target, tls), tls
        self.timeout = number(timeout, "timeout")
        if not 0 < self.timeout <= MAX_TIMEOUT_S:  # of more gRPC makes a deadline that is over
            limits = f"more than 0 and at most {MAX_TIMEOUT_S:g} seconds"
            raise InvalidRequest.of("timeout", f"must be {limits}; got {brief(timeout)}")
        self._metadata = (*checked(metadata), *bearer(header(key_of(api_key), "api_key")))

    @contextmanager
    def call(self) -> Iterator[Mapping[str, Any]]:
        """What one call is made with. A request id, made up where the metadata have none, names it in servers' logs.

        Raises:
            UnclipError: how it failed, with that id.
        """
        request_id = dict(self._metadata).get(REQUEST_ID) or uuid.uuid4().hex
        metadata = (*(pair for pair in self._metadata if pair[0] != REQUEST_ID), (REQUEST_ID, request_id))
        try:
            yield {"timeout": self.timeout, "metadata": metadata}
        except FAILURES as error:
            raise identified(self.failure_of(error), request_id) from error
        except UnclipError as error:  # an answer that cannot be read
            raise identified(error, request_id)  # noqa: B904

    def failure_of(self, error: BaseException) -> UnclipError:
        """What a failed call, one of FAILURES, means. Raises CancelledError where it is this task that somebody
        cancels."""
        if isinstance(error, grpc.RpcError):
            failure = from_rpc_error(error, "gateway")
            if type(failure) is Unavailable and from_call(error) is None:  # nobody answered
                assert isinstance(error, grpc.Call | grpc.aio.AioRpcError)
                return Unavailable("gateway", unreachable(self.target, error.details() or "", self._tls))
            return failure
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise error
        return Cancelled("the gateway dropped the call")  # for which a CancelledError is grpc.aio's word


class LazyChannel(Generic[Line]):
    """A channel that is opened by the first call, and again by the first in another ``place``.

    An asyncio channel belongs to the loop it is opened in, which need not run yet when its client is made.
    """

    def __init__(self, open: Callable[[], Line], place: Callable[[], object] = lambda: None) -> None:
        self._open, self._place = open, place
        self._lock = threading.Lock()
        self._opened: tuple[object, Line] | None = None

    def get(self) -> Line:
        """The channel. Raises ConfigurationError when it cannot be opened."""
        with self._lock:
            place = self._place()
            if self._opened is None or self._opened[0] is not place:
                self._opened = place, self._open()
            return self._opened[1]

    def take(self) -> Line | None:
        """The channel where one was opened, which is then to be closed: the next call opens another."""
        with self._lock:
            opened, self._opened = self._opened, None
            return opened and opened[1]


def identified(error: UnclipError, request_id: str) -> UnclipError:
    """``error`` with the id of the call that it ended."""
    error.request_id = request_id
    return error


def checked(metadata: Metadata) -> Metadata:
    """``metadata`` that gRPC can send. Raises InvalidRequest."""
    pairs = []
    for index, pair in enumerate(listed(metadata, "metadata")):
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise InvalidRequest.of(f"metadata[{index}]", f"must be a key and a value; got {brief(pair)}")
        if not isinstance(pair[0], str) or not KEY.fullmatch(pair[0]):
            raise InvalidRequest.of(f"metadata[{index}]", f"must have a key of 0-9, a-z, _.-; got {brief(pair[0])}")
        if pair[0].endswith("-bin") and not isinstance(pair[1], bytes):
            raise InvalidRequest.of(f"metadata[{index}]", f"must be bytes; got {brief(pair[1])}")
        value = pair[1] if pair[0].endswith("-bin") else header(pair[1], f"metadata[{index}]")
        pairs.append((pair[0], value))
    return pairs


def header(value: Any, field: str) -> str:
    """A text that may be a header. Raises InvalidRequest, without the text: it may be secret."""
    if not isinstance(value, str):
        raise InvalidRequest.of(field, f"must be a text of printable ASCII; got a {type(value).__name__}")
    if odd := NOT_ASCII.search(value):
        found = f"U+{ord(odd[0]):04X} at position {odd.start()}"
        raise InvalidRequest.of(field, f"must be a text of printable ASCII; got {found}")
    return value


def described(method: Method, kind: Callable[..., Request]) -> Method:
    """``method``, a client's that takes what ``kind`` takes, with the signature and documentation of ``kind``."""
    own = inspect.signature(method)
    first = next(iter(own.parameters.values()))
    signature = inspect.signature(kind)
    parameters = [first, *signature.parameters.values()]
    method.__doc__ = f"{kind.__doc__}\n\nThe options are those of ``{kind.__name__}``."
    # In tracebacks too it is called as clients know it.
    method.__name__ = method.__qualname__ = next(name for name, each in KINDS.items() if each is kind)
    method.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    return method
