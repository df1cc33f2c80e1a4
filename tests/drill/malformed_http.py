"""Malformed and malicious HTTP requests, as bytes on a connection; drawn by chance, the same for the same seed."""

from __future__ import annotations

import json
import random
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

BOUNDARY = b"----shot"
PATHS = ("/v1/images/generations", "/v1/images/edits", "/v1/images/variations")
TRAVERSALS = (
    "../../../../etc/passwd",
    "..%2f..%2f..%2fetc%2fpasswd",
    "%2e%2e/%2e%2e/etc/passwd",
    "..%5c..%5cwindows%5cwin.ini",
    "%00.png",
    "a" * 48 + ".png%00.jpg",
    "....//....//etc/passwd",
    "%c0%ae%c0%ae/etc/passwd",
    "file:///etc/passwd",
    "a" * 6000 + ".png",
    "0" * 48 + ".png/../../models",
    "//evil.example/x.png",
)
FIELDS = (
    "prompt",
    "n",
    "size",
    "model",
    "stream",
    "seed",
    "steps",
    "user",
    "quality",
    "response_format",
    "image",
    "url",
)
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Shot:
    """One request. pieces: what is sent, ``pause`` seconds apart. rest: whether the other side must wait for more."""

    kind: str
    pieces: Sequence[bytes]
    pause: float = 0.0


def request(
    path: str,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    method: str = "POST",
    length: int | None = None,
) -> bytes:
    """A request of HTTP/1.1. length: that it claims, None for the body's own."""
    given = {"Host": "shot", "Content-Length": str(len(body) if length is None else length), **(headers or {})}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items() if value)]
    return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + body


def of_json(body: bytes, path: str = PATHS[0]) -> bytes:
    """A request with ``body`` as its JSON."""
    return request(path, body, JSON)


def part(name: str, data: bytes, more: bytes = b"") -> bytes:
    """A part of a form."""
    head = b'--%s\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n' % (BOUNDARY, name.encode(), more)
    return head + data + b"\r\n"


def of_form(body: bytes, path: str = PATHS[1], boundary: bytes = BOUNDARY, length: int | None = None) -> bytes:
    """A request with ``body`` as its form."""
    kind = f"multipart/form-data; boundary={boundary.decode('latin-1')}"
    return request(path, body, {"Content-Type": kind}, length=length)


def png_bomb(side: int) -> bytes:
    """A PNG of some hundred bytes that says it has ``side`` squared pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 4096))
        + chunk(b"IEND", b"")
    )


def unended_form(chance: random.Random) -> Shot:
    body = part("prompt", b"x") + part("image", chance.randbytes(chance.randrange(2000)), b'; filename="upload"')
    cut = body[: chance.randrange(1, len(body))]
    return Shot("form without end", [of_form(cut, chance.choice(PATHS[1:]))])


def bad_form(chance: random.Random) -> Shot:
    bodies = (
        b"",
        b"--" + BOUNDARY,
        part("prompt", b"x") * 200 + b"--" + BOUNDARY + b"--\r\n",
        part("", b"x") + b"--" + BOUNDARY + b"--\r\n",
        part("n" * 5000, b"x") + b"--" + BOUNDARY + b"--\r\n",
        part("prompt", b"x" * 100_000) + b"--" + BOUNDARY + b"--\r\n",
        part("prompt", b"\xff\xfe\x00") + b"--" + BOUNDARY + b"--\r\n",
        part("image", b"x", b'; filename="../../etc/passwd"') + b"--" + BOUNDARY + b"--\r\n",
        b"--" + BOUNDARY + b"\r\n" + b"A: b\r\n" * 500 + b"\r\nx\r\n--" + BOUNDARY + b"--\r\n",
        b"--" + BOUNDARY + b"\r\nContent-Disposition: " + b"x" * 20_000 + b"\r\n\r\n",
        chance.randbytes(3000),
    )
    boundary = chance.choice((BOUNDARY, BOUNDARY, BOUNDARY, b"", b'"', b"x" * 300, b"\xff\xfe", b"a;b=c"))
    return Shot("bad form", [of_form(chance.choice(bodies), chance.choice(PATHS[1:]), boundary)])


def wrong_length(chance: random.Random) -> Shot:
    body = json.dumps({"prompt": "x"}).encode()
    wrong = chance.choice(("-1", "99999999999999999999", "1e3", "0x10", "", "5, 6", "30000000", "3"))
    sent = request(PATHS[0], body, {**JSON, "Content-Length": wrong})
    return Shot("wrong length", [sent])


def short_body(chance: random.Random) -> Shot:
    sent = request(PATHS[0], b'{"prom', JSON, length=chance.randrange(100, 10_000))
    return Shot("body that does not come", [sent])


def bad_chunks(chance: random.Random) -> Shot:
    chunks = chance.choice(
        (
            b"zz\r\nabc\r\n",
            b"-5\r\nabc\r\n",
            b"ffffffffffffffffffff\r\nx",
            b"5\r\nabc\r\n0\r\n\r\n",
            b"3\r\nabcdef\r\n",
        )
    )
    headers = {**JSON, "Transfer-Encoding": "chunked", "Content-Length": ""}
    if chance.random() < 0.3:
        headers["Content-Length"] = "4"  # both: what smugglers send
    return Shot("bad chunks", [request(PATHS[0], chunks, headers)])


def huge_headers(chance: random.Random) -> Shot:
    many = {f"X-{index}": "y" * 100 for index in range(chance.choice((50, 400, 3000)))}
    long = {"X-Long": "y" * chance.choice((5000, 20_000, 200_000))}
    odd = {"Authorization": "Bearer " + chance.choice(("", "\t", "é" * 50, "x" * 5000)), "x-request-id": "\x01\x02" * 9}
    return Shot("huge headers", [request(PATHS[0], b"{}", chance.choice((many, long, odd)))])


def traversal(chance: random.Random) -> Shot:
    where = chance.choice(("/v1/images/files/", "/", "/v1/models/", "/v1/images/"))
    method = chance.choice(("GET", "GET", "HEAD", "POST", "DELETE", "PUT"))
    return Shot("path traversal", [request(where + chance.choice(TRAVERSALS), b"", method=method)])


def inward(address: str) -> Callable[[random.Random], Shot]:
    """Requests that name ``address``, which nobody may be seen to call."""

    def made(chance: random.Random) -> Shot:
        url = chance.choice(
            (f"http://{address}/x.png", f"http://{address}@127.0.0.1/", f"//{address}/", f"file://{address}/")
        )
        if chance.random() < 0.5:
            body = part("prompt", b"x") + part(chance.choice(("image", "mask", "image[]")), url.encode())
            return Shot("address as picture", [of_form(body + b"--" + BOUNDARY + b"--\r\n", chance.choice(PATHS[1:]))])
        field = chance.choice(("image", "image_url", "url", "mask", "images", "prompt", "user"))
        value = chance.choice((url, {"url": url}, [{"image_url": url}]))
        body = json.dumps({"prompt": "x", "n": 99, field: value}).encode()
        return Shot("address as picture", [of_json(body, chance.choice(PATHS))])

    return made


def json_bomb(chance: random.Random) -> Shot:
    deep = chance.choice((10, 900, 100_000, 500_000))
    bodies = (
        b"[" * deep,
        b'{"a":' * min(deep, 150_000) + b"1" + b"}" * min(deep, 150_000),
        b'{"prompt": "x", "n": ' + b"9" * chance.choice((30, 5000, 900_000)) + b"}",
        b'{"prompt": "' + b"x" * 1_000_000 + b'"}',
        b'{"prompt": "x", "n": 1e999}',
        b'{"prompt": "x", "seed": NaN}',
        b'{"prompt": "\\ud800\\u0000"}',
        b"{" + b",".join(b'"k%d": 1' % index for index in range(50_000)) + b"}",
        b'{"prompt": "x", "size": "' + b"9" * 5000 + b'x1"}',
        b"\xff\xfe{}",
        b"null",
        b"",
    )
    return Shot("bad JSON", [of_json(chance.choice(bodies))])


def odd_fields(chance: random.Random) -> Shot:
    texts = ("", "\x00", "x" * 3000, "auto", "../..")
    values: tuple[object, ...] = (None, True, -1, 1e308, 2**70, [], [[]], {}, {"a": {"b": []}}, *texts)
    # Never a sound request: the prompt is wrong, or there is none.
    asked = {chance.choice(FIELDS): chance.choice(values) for _ in range(chance.randrange(1, 6))}
    asked["prompt"] = chance.choice((None, 5, [], {}, "", "\x01", "x" * 4097, False))
    return Shot("odd fields", [of_json(json.dumps(asked).encode())])


def picture_bomb(chance: random.Random) -> Shot:
    file = chance.choice(
        (
            png_bomb(4096),
            png_bomb(60_000),
            b"GIF89a" + chance.randbytes(50),
            b"RIFF....WEBP",
            b"\xff\xd8\xff" * 99,
        )
    )
    body = part("prompt", b"x") + part("image", file, b'; filename="a.png"')
    if chance.random() < 0.5:
        body += part("mask", chance.choice((file, png_bomb(2000))), b'; filename="m.png"')
    return Shot("bad picture", [of_form(body + b"--" + BOUNDARY + b"--\r\n", chance.choice(PATHS[1:]))])


def no_http(chance: random.Random) -> Shot:
    lines = (
        chance.randbytes(500),
        b"GET / HTTP/9.9\r\n\r\n",
        b"\r\n" * 500,
        b"GET  /  HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + chance.randbytes(100),
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET http://169.254.169.254/ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"X" * 20_000,
        request(
            "/v1/images/generations", b'{"prompt": "x"}', {"Host": 'evil"><script>', "Content-Type": "application/json"}
        ),
        request("/", b"", {"Upgrade": "websocket", "Connection": "Upgrade"}, "GET"),
        request(
            PATHS[0],
            b"\x1f\x8b\x08" + chance.randbytes(40),
            {"Content-Encoding": "gzip", "Content-Type": "application/json"},
        ),
        request(
            PATHS[0], b"a=b", {"Content-Type": chance.choice(("text/plain", "x" * 900, "application/json" * 50, ";;;"))}
        ),
        request("/?" + "a=b&" * 3000, b"", method="GET"),
        request(PATHS[0], b"", method=chance.choice(("TRACE", "OPTIONS", "PATCH", "FOO" * 50, "GET"))),
    )
    return Shot("no such HTTP", [chance.choice(lines)])


def slow(chance: random.Random) -> Shot:
    whole = of_json(b'{"prompt": "x", "n": 0' + b" " * 40 + b"}")
    start = chance.randrange(1, len(whole) - 20)
    pieces = [whole[:start], *(whole[index : index + 1] for index in range(start, start + 20))]
    return Shot("slow", pieces, pause=0.2)


def shots(count: int, slow_ones: int, address: str, seed: int = 0) -> list[Shot]:
    """``count`` of them, ``slow_ones`` among them that take seconds."""
    chance = random.Random(seed)
    quick = (
        *(unended_form, bad_form, bad_form, wrong_length, bad_chunks, huge_headers, traversal),
        *(inward(address), json_bomb, odd_fields, odd_fields, picture_bomb, no_http, no_http),
    )
    made = [quick[index % len(quick)](chance) for index in range(count - slow_ones)]
    made += [(slow, short_body)[index % 2](chance) for index in range(slow_ones)]
    chance.shuffle(made)
    return made
