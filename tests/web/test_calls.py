"""Whose call a request is, and what of it goes on to the gateway."""

from __future__ import annotations

import hashlib
import json
import socket
from typing import Any

import grpc
import pytest

from tests.web.stacks import WebStack
from unclip.errors import ConfigurationError
from unclip.serving.otel import call_attributes
from unclip.web.calls import MAX_HEADERS, Call, Calls
from unclip.web.gateway import Gateway
from unclip.web.settings import Settings

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def call(host: str = "192.0.2.7", **headers: str) -> Call:
    sent = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    scope: dict[str, Any] = {"type": "http", "client": (host, 1), "headers": sent}
    return Call.of(scope)


@pytest.mark.parametrize(
    "headers", [{"authorization": "Bearer sk-1"}, {"authorization": "bearer sk-1"}, {"api_key": "sk-1"}]
)
def test_a_caller_with_a_key_is_known_by_its_digest_wherever_it_calls_from(headers: dict[str, str]) -> None:
    found = [call(host, **headers) for host in ("192.0.2.7", "192.0.2.8")]
    name = f"key-{hashlib.sha256(b'sk-1').hexdigest()[:16]}"
    assert {(each.key, each.client) for each in found} == {("sk-1", name)}
    assert dict(found[0].metadata)["x-unclip-client"] == name
    assert "sk-1" not in str(found[0].metadata)


@pytest.mark.parametrize("key", ["", "Basic YTpi", "Bearer ", "Bearer \xe9", "Bearer a\tb", "Bearer " + "x" * 2000])
def test_a_caller_without_a_usable_key_is_known_by_its_host(key: str) -> None:
    found = call(authorization=key)
    assert (found.key, found.client) == ("", "host-192.0.2.7")
    assert dict(found.metadata)["x-unclip-client"] == "host-192.0.2.7"


def test_an_id_and_a_trace_go_on_if_they_are_sound_and_a_name_of_the_callers_own_does_not() -> None:
    sent = dict(call(x_request_id="mine-7", traceparent=TRACE, tracestate="a=b", x_unclip_client="vip").metadata)
    assert (sent["x-request-id"], sent["traceparent"], sent["tracestate"]) == ("mine-7", TRACE, "a=b")
    assert sent["x-unclip-client"] == "host-192.0.2.7"
    odd = dict(call(x_request_id="a b", traceparent="00-zz", tracestate="a=b").metadata)
    assert set(odd) == {"x-request-id", "x-unclip-client"}
    assert odd["x-request-id"] != "a b"


ASKED = b"GET /healthz HTTP/1.1\r\nHost: h\r\n"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (ASKED + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (ASKED + b"X: " + b"x" * MAX_HEADERS + b"\r\n\r\n", 431),
        (b"GET /healthz HTTP/1.1\r\n\r\n", 400),  # no host
        (b"no HTTP at all\r\n\r\n", 400),
    ],
    ids=["two lengths", "large headers", "no host", "no HTTP"],
)
def test_what_is_no_sound_http_is_told_so_as_json_and_the_connection_ends(
    stack: WebStack, sent: bytes, status: int
) -> None:
    host, _, port = stack.root.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection, connection.makefile("rb") as answer:
        connection.sendall(sent)
        head, _, body = answer.read().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}


class States:
    """A channel in one state after the other."""

    def __init__(self, *states: grpc.ChannelConnectivity) -> None:
        self._left = [*states]

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._left.pop(0)


def test_the_gateway_counts_as_there_while_a_connection_is_renewed_and_not_when_that_fails() -> None:
    of = grpc.ChannelConnectivity
    gateway = Gateway.__new__(Gateway)
    gateway._reached = False
    states = (of.IDLE, of.CONNECTING, of.READY, of.IDLE, of.CONNECTING, of.READY, of.TRANSIENT_FAILURE, of.CONNECTING)
    gateway._channel = States(*states)  # type: ignore[assignment]
    assert [gateway.reachable for _ in states] == [False, False, True, True, True, True, False, False]


@pytest.mark.parametrize("proxies", ["proxy.example", "10.0.0.1, 10.0.0.2", "10.0.0.0/99", "*,10.0.0.1"])
def test_a_proxy_that_could_never_be_believed_is_a_mistake_in_the_settings(proxies: str) -> None:
    for sound in ("", "*", "10.0.0.1,10.1.0.0/16,::1"):
        Settings(trusted_proxies=sound)
    with pytest.raises(ConfigurationError, match="trusted_proxies must be"):
        Settings(trusted_proxies=proxies)


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/v1/models", "/v1/models"),
        ("/v1/models/a/b", "/v1/models/{name}"),
        ("/v1/images/files/0a.png", "/v1/images/files/{name}"),
        ("/v1/images/files", "other"),
        ("/secret", "other"),
    ],
)
def test_figures_know_a_request_by_its_route_and_not_by_what_callers_write(path: str, route: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError

    assert (
        Calls(app, 1, ["/v1/models", "/v1/models/{name:path}", "/v1/images/files/{name}"], {}).route_of(path) == route
    )


def test_spans_of_http_are_told_from_those_of_grpc() -> None:
    expected = {"http.request.method": "POST", "http.route": "/v1/images/edits"}
    assert call_attributes("POST /v1/images/edits") == expected
    assert call_attributes("unclip.api.gateway.v1.GatewayService/Stream")["rpc.system.name"] == "grpc"
