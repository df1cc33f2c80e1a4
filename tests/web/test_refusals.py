"""What the gateway refuses, as OpenAI's SDK understands it; and the table of errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from tests.certificates import put
from tests.web.stacks import WebStack, stubbed, web_before
from unclip.errors import (
    Cancelled,
    CheckpointError,
    DeadlineExceeded,
    InvalidRequest,
    OutOfDeviceMemory,
    Overloaded,
    PermissionDenied,
    PoisonSuspected,
    PreconditionFailed,
    Unauthenticated,
    Unavailable,
)
from unclip.serving.keys import digest, new_key
from unclip.web.errors import refusal_of

SECRET = "10.0.0.7:50050 refused"


@pytest.mark.parametrize(
    ("error", "status", "code", "headers"),
    [
        (InvalidRequest.of("generate.caption", "must be short"), 400, "invalid_value", {}),
        (PreconditionFailed("x", "cannot edit"), 400, "precondition_failed", {}),
        (Unauthenticated("no key"), 401, "invalid_api_key", {"www-authenticate": "Bearer"}),
        (PermissionDenied("not this"), 403, "permission_denied", {}),
        (Overloaded("full", 2.5), 429, "rate_limit_exceeded", {"retry-after": "3", "retry-after-ms": "2500"}),
        (OutOfDeviceMemory(SECRET), 429, "out_of_memory", {"retry-after": "5"}),
        (Unavailable("gateway", SECRET), 503, "service_unavailable", {"retry-after": "1"}),
        (Cancelled(SECRET), 503, "service_unavailable", {"retry-after": "1"}),
        (PoisonSuspected("decoder", SECRET), 503, "service_unavailable", {"x-should-retry": "false"}),
        (DeadlineExceeded(SECRET), 504, "deadline_exceeded", {"x-should-retry": "false"}),
        (CheckpointError(SECRET), 500, "internal_error", {}),
        (ZeroDivisionError(SECRET), 500, "internal_error", {}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_each_error_has_its_status_and_tells_nothing_from_the_inside(
    error: Exception, status: int, code: str, headers: dict[str, str]
) -> None:
    found = refusal_of(error, "req-1")
    assert (found.status, found.code, dict(found.headers)) == (status, code, headers)
    assert SECRET not in found.message
    assert json.loads(found.body)["error"] == found.error


def test_a_broken_rule_is_told_in_the_words_of_the_api() -> None:
    error = InvalidRequest.of("edit.decoder.guidance_scale", "must be 0 to 30, see negative_caption; got 99")
    found = refusal_of(error, "")
    assert (found.param, found.message) == ("guidance", "guidance: must be 0 to 30, see negative_prompt; got 99")


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[WebStack, str]]:
    folder, key = tmp_path_factory.mktemp("keyed"), new_key()
    entry = {"sha256": digest(key), "requests_per_minute": 6, "concurrency": 8}
    put(folder / "keys.json", json.dumps({"keys": {"alice": entry}}).encode())
    with stubbed(folder, stubs=("--api-keys", str(folder / "keys.json"))) as stack:
        yield stack, key


def test_the_key_of_a_request_is_the_gateways(keyed: tuple[WebStack, str]) -> None:
    stack, key = keyed
    for wrong in ("sk-anything", new_key()):
        with (
            openai.OpenAI(base_url=stack.base_url, api_key=wrong, max_retries=0) as client,
            pytest.raises(openai.AuthenticationError) as refused,
        ):
            client.images.generate(prompt="a cat")
        assert refused.value.code == "invalid_api_key"
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=stack.base_url, api_key="sk-x", max_retries=0).models.list()
    assert httpx.post(f"{stack.base_url}/images/generations", json={"prompt": "x"}).status_code == 401
    with openai.OpenAI(base_url=stack.base_url, api_key=key, max_retries=0) as client:
        answer = client.images.generate(prompt="a cat")
        url = answer.data[0].url if answer.data else None
        assert httpx.get(str(url)).status_code == 200  # without any key
        with pytest.raises(openai.RateLimitError) as limited:
            list(map(lambda _: client.images.generate(prompt="a cat"), range(12)))  # noqa: C417
    assert int(limited.value.response.headers["retry-after"]) >= 1
    assert key not in stack.web.log.read_text()


def test_where_no_gateway_is_the_sdk_is_told_to_come_back(tmp_path: Path) -> None:
    with (
        web_before("127.0.0.1:1", tmp_path, "--max-deadline", "5") as stack,
        openai.OpenAI(base_url=stack.base_url, api_key="x", max_retries=0) as client,
    ):
        assert httpx.get(f"{stack.root}/healthz").status_code == 200
        assert httpx.get(f"{stack.root}/readyz").json() == {"status": "gateway"}
        with pytest.raises(openai.InternalServerError) as refused:
            client.images.generate(prompt="a cat")
        assert (refused.value.status_code, refused.value.response.headers["retry-after"]) == (503, "1")
        assert "127.0.0.1" not in str(refused.value)


@pytest.fixture(scope="module")
def hanging(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebStack]:
    """Whose pictures are never finished."""
    with stubbed(tmp_path_factory.mktemp("hanging"), "--max-deadline", "1.5", stubs=("--hang", "upsampler")) as stack:
        yield stack


def test_what_takes_too_long_is_504_and_not_to_be_tried_again(hanging: WebStack) -> None:
    with (
        openai.OpenAI(base_url=hanging.base_url, api_key="x", max_retries=5) as client,
        pytest.raises(openai.InternalServerError) as refused,
    ):
        client.images.generate(prompt="a cat")
    assert refused.value.status_code == 504
    assert refused.value.response.request.headers["x-stainless-retry-count"] == "0"


def test_a_stream_that_fails_on_its_way_tells_so_as_an_event(hanging: WebStack) -> None:
    with openai.OpenAI(base_url=hanging.base_url, api_key="x", max_retries=0) as client:
        stream = client.images.generate(prompt="a cat", stream=True, partial_images=1)
        assert next(stream).type == "image_generation.partial_image"
        with pytest.raises(openai.APIError) as refused:
            next(stream)
        assert refused.value.code == "deadline_exceeded"
