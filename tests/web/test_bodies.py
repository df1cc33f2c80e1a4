"""Bodies of requests: what SDKs send in all its shapes, and what is refused before it takes room."""

from __future__ import annotations

import contextlib
import gc
import json
import weakref
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from starlette.requests import Request

from tests.web.stacks import WebStack, picture
from unclip.errors import InvalidRequest, Overloaded
from unclip.web.bodies import MAX_FORM, MAX_PARTS, Bodies, Form, FormReader
from unclip.web.errors import HttpError
from unclip.web.fields import Fields
from unclip.web.requests import edit, generation, variation
from unclip.web.sources import Sources

END = b"--B--\r\n"


def part(name: str, data: bytes, more: str = "") -> bytes:
    return f'--B\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + data + b"\r\n"


def read(body: bytes, size: int) -> Form:
    """The form in ``body``, which comes in pieces of ``size``."""
    reader = FormReader(b"B")
    for start in range(0, len(body), size):
        reader.feed(body[start : start + size])
    return reader.done()


FILE = '; filename="upload"\r\nContent-Type: application/octet-stream'


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_a_form_may_come_in_any_order_and_in_pieces_of_any_size(size: int) -> None:
    parts = [part("mask", b"\x00mask", FILE), part("prompt", "größer".encode()), part("image", b"\r\n--Bpic", FILE)]
    for order in (parts, parts[::-1]):
        found = read(b"".join(order) + END, size)
        assert found.texts == {"prompt": "größer"}
        assert found.pictures == {"image": [b"\r\n--Bpic"], "mask": [b"\x00mask"]}


@pytest.mark.parametrize("name", ["image", "image[]", "image[0]"])
def test_a_picture_goes_by_any_of_its_names(name: str) -> None:
    assert read(part(name, b"x") + END, 99).pictures["image"] == [b"x"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        part("prompt", b"x"),  # no end
        part("prompt", b"x")[:-20],
        part("prompt", b"x") * 2 + END,
        part("", b"x") + END,
        part("user", b"\xff") + END,
        part("user", b"x" * 70_000) + END,
        b"".join(part("image", b"") for _ in range(MAX_PARTS + 1)) + END,
        b"--B\r\n" + b"A: b\r\n" * 50 + b"\r\nx\r\n" + END,
        b"no form at all",
    ],
    ids=range(10),
)
def test_a_form_that_is_not_one_is_refused(body: bytes) -> None:
    with pytest.raises(HttpError) as refused:
        read(body, 1000)
    assert refused.value.status == 400


def request_of(chunks: Sequence[bytes], **headers: str) -> Request:
    left = [*chunks]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    sent = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "headers": sent}, receive)


@pytest.mark.parametrize("body", [part("image", b"x" * 100) + END, part("image", b"x") + b"--B??", b"--B\r\n\r\n\r\n"])
def test_what_a_form_held_goes_with_it_and_not_when_python_looks_for_circles(body: bytes) -> None:
    reader = FormReader(b"B")
    parts = weakref.ref(reader._parts)
    gc.collect()
    gc.disable()
    try:
        with contextlib.suppress(HttpError):
            reader.feed(body)
            reader.done()
        del reader
        assert parts() is None
    finally:
        gc.enable()


async def test_what_is_too_large_is_refused_unread_and_what_has_no_room_is_put_off() -> None:
    bodies = Bodies(1000, 5.0)
    with bodies.room("me") as room:
        with pytest.raises(HttpError) as refused:
            await bodies.json(request_of([], content_type="application/json", content_length=str(2**21)), room)
        assert refused.value.status == 413
        with pytest.raises(Overloaded):
            await bodies.json(request_of([b" " * 600] * 3, content_type="application/json"), room)
    with bodies.room("other") as room:
        assert await bodies.json(request_of([b"{}"], content_type="application/json; charset=utf-8"), room) == {}
    assert bodies._budget.taken == 0


async def test_a_form_is_as_large_as_two_pictures_at_most() -> None:
    bodies = Bodies(MAX_FORM * 4, 5.0)
    chunks = [part("image", b"")[:-2], *[b"x" * 2**20] * 22]
    with bodies.room("me") as room, pytest.raises(HttpError) as refused:
        await bodies.form(request_of(chunks, content_type="multipart/form-data; boundary=B"), room)
    assert refused.value.status == 413


@pytest.mark.parametrize(
    ("kind", "encoding"),
    [
        ("", ""),
        ("text/plain", ""),
        ("multipart/form-data", ""),
        ("application/jsonx", ""),
        ("application/json", "gzip"),
        ("application/json", "identity, br"),
    ],
)
async def test_another_type_of_body_is_refused(kind: str, encoding: str) -> None:
    bodies = Bodies(1000, 5.0)
    with bodies.room("me") as room, pytest.raises(HttpError) as refused:
        await bodies.json(request_of([b"{}"], content_type=kind, content_encoding=encoding), room)
    assert refused.value.status == 415


@pytest.mark.parametrize(
    "body",
    ["", "[]", "null", "{", '{"a": NaN}', "[" * 200_000, '{"a":' * 5000 + "1" + "}" * 5000, '{"n": ' + "9" * 9999],
)
async def test_json_that_is_no_object_or_nested_too_deep_is_refused(body: str) -> None:
    bodies = Bodies(2**21, 5.0)
    with bodies.room("me") as room, pytest.raises(HttpError) as refused:
        await bodies.json(request_of([body.encode()], content_type="application/json"), room)
    assert (refused.value.status, refused.value.code) == (400, "invalid_json")


def test_null_and_what_is_left_out_are_the_same() -> None:
    nothing = dict.fromkeys(("n", "size", "stream", "quality", "seed", "user", "response_format", "style"))
    assert generation({"prompt": "x", **nothing}) == generation({"prompt": "x"})


def test_every_broken_rule_is_told_at_once() -> None:
    with pytest.raises(InvalidRequest) as refused:
        generation({"prompt": "x", "n": "2", "size": "1x2", "stream": 1, "seed": 2**70, "guidance": "a"})
    assert [each.field for each in refused.value.violations] == ["n", "size", "stream", "seed", "guidance"]


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("output_compression", 80, "must be 100; got '80'"),
        ("guidance", 1e9, "must be -1000000 to 1000000; got '1000000000.0'"),
        ("guidance", float("inf"), "must be -1000000 to 1000000; got 'inf'"),
        ("eta", True, "must be a number; got a boolean"),
        ("partial_images", 4, "must be 0 to 3; got '4'"),
    ],
)
def test_a_value_out_of_its_limits_is_told_them(field: str, value: object, told: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        generation({"prompt": "x", field: value})
    assert [(each.field, each.description) for each in refused.value.violations] == [(field, told)]


def test_a_stream_that_shall_have_addresses_is_refused_for_it_has_none() -> None:
    assert generation({"prompt": "x", "stream": True}).way == "b64_json"
    with pytest.raises(InvalidRequest) as refused:
        generation({"prompt": "x", "stream": True, "response_format": "url"})
    assert refused.value.violations[0].field == "response_format"


def test_numbers_are_texts_in_forms_only() -> None:
    form = Form(texts={"n": "2", "seed": "-3", "guidance": "1.5", "stream": "false"})
    form.pictures["image"] = [b"x"]
    assert variation(form).count == 2
    with pytest.raises(InvalidRequest):
        generation({"prompt": "x", "n": "2"})
    for bad in ("2.0", "٢", "0x2", "1_0", "nan", "9" * 30):
        with pytest.raises(InvalidRequest):
            variation(Form({"n": bad}, form.pictures))


def test_extra_parameters_are_refused_where_they_would_do_nothing() -> None:
    moved = Sources(b"x", None, repaints=False)
    for name in ("negative_prompt", "candidates"):
        with pytest.raises(InvalidRequest) as refused:
            edit(Form({"prompt": "x", name: "3"}), moved)
        assert refused.value.violations[0].field == name


def test_a_field_that_nobody_knows_is_named_but_not_echoed_at_length() -> None:
    fields = Fields({"x" * 1000: 1}, typed=True)
    with pytest.raises(HttpError) as refused:
        fields.done()
    assert len(str(refused.value)) < 100


def test_a_form_is_sent_in_chunks_without_a_length(stack: WebStack) -> None:
    body = part("image", picture(), FILE) + part("response_format", b"b64_json") + END
    pieces = (body[start : start + 100] for start in range(0, len(body), 100))
    headers = {"Content-Type": "multipart/form-data; boundary=B"}
    answer = httpx.post(f"{stack.base_url}/images/variations", content=pieces, headers=headers)
    assert "content-length" not in answer.request.headers
    assert json.loads(answer.text)["data"][0]["b64_json"]


@pytest.mark.parametrize(
    "path", ["/v1/images/generations", "/v1/nothing", "/v1/images/files/x.png", "/v1/images/", "/v1/models/"]
)
def test_nothing_else_is_at_any_address(stack: WebStack, path: str) -> None:
    answer = httpx.get(stack.root + path)
    assert (answer.status_code, answer.headers.get("allow")) in ((404, None), (405, "POST"))
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert answer.headers["x-request-id"]
