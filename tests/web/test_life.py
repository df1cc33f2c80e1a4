"""The web process as platforms see it: callers who leave, the end, TLS, figures, logs, ids and traces."""

from __future__ import annotations

import base64
import json
import signal
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.certificates import Authority, presented
from tests.metrics import Metrics
from tests.processes import free_port
from tests.web.stacks import WebStack, stubbed, web_before
from unclip.client import Client, Generate

PATIENCE_S = 20.0
STEP_S = 0.02
SERVICE = "unclip.api.gateway.v1.GatewayService"


@dataclass(frozen=True)
class Slow:
    """Stubs whose pictures take as long as they have steps, and a web process before them; figures: of the gateway, and
    of the web process."""

    stack: WebStack
    gateway: Metrics
    web: Metrics


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slow]:
    gateway, web = (f"127.0.0.1:{free_port()}" for _ in range(2))
    json_logs = ("--log-format", "json")
    stubs = ("--step-seconds", str(STEP_S), "--metrics", gateway, *json_logs)
    with stubbed(tmp_path_factory.mktemp("slow"), "--metrics", web, *json_logs, stubs=stubs) as stack:
        yield Slow(stack, Metrics(gateway), Metrics(web))


def until(what: str, true: object) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():  # type: ignore[operator]
        assert time.monotonic() < end, what
        time.sleep(0.05)


@pytest.mark.parametrize("stream", [False, True])
def test_the_caller_who_leaves_ends_the_work(slow: Slow, stream: bool) -> None:
    method, stack = f"{SERVICE}/{'Stream' if stream else 'Generate'}", slow.stack
    body, left = {"prompt": "x", "stream": stream, "steps": 900}, stack.web.log.read_text().count(" 499 ")
    with (
        pytest.raises(httpx.ReadTimeout),
        httpx.stream("POST", f"{stack.base_url}/images/generations", json=body, timeout=1.0) as answer,
    ):
        answer.read()
    until("work goes on", lambda: slow.gateway.known("rpc_server_active_requests", rpc_method=method) == 0)
    assert httpx.get(f"{stack.root}/healthz").status_code == 200
    until("not logged", lambda: stack.web.log.read_text().count(" 499 ") > left)
    assert "Traceback" not in stack.web.log.read_text()


def test_calls_under_way_end_well_after_sigterm_and_nobody_else_is_sent_here(slow: Slow, tmp_path: Path) -> None:
    with (
        web_before(slow.stack.gateway, tmp_path, "--drain", "1", "--grace", "30") as stack,
        ThreadPoolExecutor(2) as threads,
    ):
        until("not ready", lambda: httpx.get(f"{stack.root}/readyz").status_code == 200)
        url, began = f"{stack.base_url}/images/generations", threading.Event()
        body = {"prompt": "x", "steps": 60}

        def streamed() -> str:
            with httpx.stream("POST", url, json={**body, "stream": True}, timeout=60) as answer:
                began.set()
                return answer.read().decode()

        picture = threads.submit(streamed)
        plain = threads.submit(httpx.post, url, json=body, timeout=60)
        assert began.wait(PATIENCE_S)
        stack.web.send_signal(signal.SIGTERM)
        until("ready for ever", lambda: httpx.get(f"{stack.root}/readyz").status_code == 503)
        assert "image_generation.completed" in picture.result(PATIENCE_S)
        assert plain.result(PATIENCE_S).status_code == 200
        assert stack.web.wait(PATIENCE_S) == 0
        assert not stack.web.announced


def test_a_certificate_that_is_replaced_is_shown_to_the_next_caller(stack: WebStack, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    files = authority.issue("web")
    options = ("--tls-cert", str(files.cert), "--tls-key", str(files.key))
    with web_before(stack.gateway, tmp_path, *options) as secured:
        root = secured.root.replace("http:", "https:")
        trusted = ssl.create_default_context(cafile=str(authority.ca))
        body = {"prompt": "a cat", "size": "64x64"}
        with httpx.Client(verify=trusted) as caller:
            url = caller.post(f"{root}/v1/images/generations", json=body).json()["data"][0]["url"]
            assert url.startswith("https://")
            assert caller.get(url).status_code == 200
        address = root.removeprefix("https://")
        first = presented(address, authority)
        assert first == files.serial
        authority.issue("web")
        assert presented(address, authority) == files.serial != first
        assert httpx.get(f"{root}/healthz", verify=trusted).status_code == 200


def test_figures_logs_and_ids_tell_of_a_call_and_its_trace_goes_on(slow: Slow) -> None:
    trace, stack = "0af7651916cd43dd8448eb211c80319c", slow.stack
    assert stack.stubs is not None
    counted = ("http_server_request_duration_seconds_count",)
    ours = {"http_route": "/v1/images/generations", "http_response_status_code": "200"}
    before = slow.web.total(*counted, **ours)
    headers = {"x-request-id": "mine-7", "traceparent": f"00-{trace}-b7ad6b7169203331-01", "api-key": "sk-secret"}
    answer = httpx.post(f"{stack.base_url}/images/generations", json={"prompt": "a secret cat"}, headers=headers)
    assert answer.headers["x-request-id"] == "mine-7"
    assert httpx.post(f"{stack.base_url}/images/generations", json={}).headers["x-request-id"] not in ("", "mine-7")
    assert slow.web.total(*counted, **ours) == before + 1
    for log in (stack.web.log, stack.stubs.log):
        until("not logged", lambda log=log: "mine-7" in log.read_text())
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        mine = [line for line in lines if line.get("request_id") == "mine-7" and "code" in line]
        assert {line["trace_id"] for line in mine} == {trace}
        assert all(line.get("client", "key-").startswith("key-") for line in mine)
        assert "secret" not in log.read_text()


def test_callers_have_shares_of_their_own_by_key_and_by_host(slow: Slow, tmp_path: Path) -> None:
    with web_before(slow.stack.gateway, tmp_path, "--max-calls", "4") as stack, ThreadPoolExecutor(8) as threads:

        def status(key: str) -> int:
            headers = {"Authorization": f"Bearer {key}"}
            body = {"prompt": "x", "steps": 60}
            url = f"{stack.base_url}/images/generations"
            return httpx.post(url, json=body, headers=headers, timeout=60).status_code

        greedy = [threads.submit(status, "greedy") for _ in range(5)]
        time.sleep(0.5)
        assert status("other") == 200
        assert sorted(each.result() for each in greedy) == [200, 200, 429, 429, 429]


def test_a_proxy_that_is_trusted_says_how_it_was_called(stack: WebStack, tmp_path: Path) -> None:
    headers = {"x-forwarded-proto": "https", "x-forwarded-for": "192.0.2.7", "host": "img.example"}
    with web_before(stack.gateway, tmp_path, "--trusted-proxies", "127.0.0.1") as trusting:
        for web, scheme in ((trusting, "https"), (stack, "http")):
            answer = httpx.post(f"{web.base_url}/images/generations", json={"prompt": "x"}, headers=headers)
            assert answer.json()["data"][0]["url"].startswith(f"{scheme}://img.example/v1/images/files/")
        until("not logged", lambda: "200" in trusting.web.log.read_text())


def test_equal_requests_make_equal_pictures_by_http_and_by_grpc(stack: WebStack) -> None:
    body = {"prompt": "a cat", "seed": 5, "response_format": "b64_json", "size": "128x128"}
    answer = httpx.post(f"{stack.base_url}/images/generations", json=body).json()
    with Client(stack.gateway) as client:
        [picture] = client.make(Generate("a cat", seed=5, size=128))
    assert base64.b64decode(answer["data"][0]["b64_json"]) == picture.data
