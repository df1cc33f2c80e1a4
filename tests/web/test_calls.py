"""Whose call a request is, and what of it goes on to the gateway."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from unclip.serving.otel import call_attributes
from unclip.web.calls import Call

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


def test_spans_of_http_are_told_from_those_of_grpc() -> None:
    expected = {"http.request.method": "POST", "http.route": "/v1/images/edits"}
    assert call_attributes("POST /v1/images/edits") == expected
    assert call_attributes("unclip.api.gateway.v1.GatewayService/Stream")["rpc.system.name"] == "grpc"
