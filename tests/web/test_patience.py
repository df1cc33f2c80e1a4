"""Callers who take their time: connections are theirs for as long as the settings say, and not for ever."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import uvicorn

from unclip.web.calls import CallerLeft, while_connected
from unclip.web.server import Server, bounded

MOST, HEADERS_S, LONGEST_S = 3, 0.5, 1.5
PIECE = b"x" * 2**20


@contextlib.asynccontextmanager
async def serving(app: Any) -> AsyncIterator[int]:
    """The port of a server of ``app`` with these limits."""
    config = uvicorn.Config(
        app,
        port=0,
        http=bounded(MOST, HEADERS_S, LONGEST_S),
        ws="none",
        lifespan="off",
        log_config=None,
        interface="asgi3",
    )
    server = Server(config)
    running = asyncio.create_task(server.serve())
    await server.listens.wait()
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = server.force_exit = True
        await running


async def quick(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def seconds_until_shut(port: int, *pieces: bytes, pause: float = 0.0) -> tuple[float, bytes]:
    """How long a connection lives on which these bytes are sent and everything is read, and what was read."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = time.monotonic()
    with contextlib.suppress(ConnectionError):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)
    found = b""
    with contextlib.suppress(ConnectionError):
        found = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    return time.monotonic() - began, found


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: a\r\n"], ids=["nothing", "half of a header"])
async def test_headers_that_do_not_come_end_the_connection(sent: bytes) -> None:
    async with serving(quick) as port:
        seconds, found = await seconds_until_shut(port, sent)
    assert HEADERS_S * 0.9 < seconds < 10
    assert found == b""


async def test_headers_that_trickle_end_it_too_and_so_do_those_of_a_second_request() -> None:
    whole = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    trickle = [b"X: y\r\n"] * 20
    async with serving(quick) as port:
        seconds, found = await seconds_until_shut(port, whole[:-2], *trickle, pause=0.1)
        assert (seconds < 10, found) == (True, b"")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(whole)
        assert b"204 No Content" in await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(2 * HEADERS_S)  # it may be kept between requests
        writer.write(whole[:-2])
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 20) == b""
        assert HEADERS_S * 0.9 < time.monotonic() - began < 10
        writer.close()


async def test_more_connections_than_there_may_be_are_told_to_come_back() -> None:
    async with serving(quick) as port, httpx.AsyncClient() as client:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MOST)]
        await asyncio.sleep(0.05)
        answer = await client.get(f"http://127.0.0.1:{port}/")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json()["error"]["code"] == "service_unavailable"
        for _, writer in held:
            writer.close()
        await asyncio.sleep(0.05)
        assert (await client.get(f"http://127.0.0.1:{port}/")).status_code == 204


async def test_a_caller_who_does_not_take_its_answer_is_left_and_what_made_it_ends() -> None:
    left = asyncio.Event()

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            async with while_connected(receive):
                while True:
                    await send({"type": "http.response.body", "body": PIECE, "more_body": True})
                    await asyncio.sleep(0)
        except CallerLeft:
            left.set()

    async with serving(endless) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")  # and reads nothing
        await asyncio.sleep(LONGEST_S * 0.5)
        assert not left.is_set()
        await asyncio.wait_for(left.wait(), 20)
        writer.close()
