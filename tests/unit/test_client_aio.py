"""Both clients side by side against a real socket: the same calls, the same answers, the same failures."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
from contextlib import aclosing
from typing import Any

import numpy as np
import pytest

from tests.unit.client_peer import GatewayPeer, overloaded, picture
from tests.unit.everything import EVERYTHING
from unclip.client import (
    AsyncClient,
    Client,
    Generate,
    Progress,
)
from unclip.client.messages import stream_message
from unclip.client.values import KINDS
from unclip.errors import Overloaded


@pytest.mark.parametrize("name", EVERYTHING)
async def test_every_option_of_a_method_is_sent_as_that_of_its_request(
    peer: GatewayPeer, client: Client, name: str
) -> None:
    value = EVERYTHING[name]
    options = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    message = stream_message(value)
    method = message.WhichOneof("request") or ""

    getattr(client, method)(**options)
    async with AsyncClient(peer.target, timeout=20) as waiting:
        await getattr(waiting, method)(**options)

    assert peer.asked == [getattr(message, method)] * 2


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_method_shows_what_its_request_takes(kind: type[Any]) -> None:
    for name, request in KINDS.items():
        method = getattr(kind, name)
        _, *taken = inspect.signature(method).parameters.values()
        assert taken == list(inspect.signature(request).parameters.values())
        assert request.__doc__ in method.__doc__


async def test_the_async_client_gives_what_the_blocking_one_gives(peer: GatewayPeer, client: Client) -> None:
    async with AsyncClient(peer.target, timeout=20) as waiting:
        assert await waiting.generate("a cat", image_count=2) == client.generate("a cat", image_count=2)
        assert await waiting.vary(picture(7), eta=0.5) == client.vary(picture(7), eta=0.5)
        diffed = await waiting.text_diff(picture(7), "", "a house", thetas=[0.1])
        assert diffed == client.text_diff(picture(7), "", "a house", thetas=[0.1])
        assert await waiting.edit(picture(7), "a cat", picture(8)) == client.edit(picture(7), "a cat", picture(8))
        assert await waiting.model_info() == client.model_info()
        embedded = await waiting.embed(["a cat"])
        assert np.array_equal(embedded.captions[0].values, client.embed(["a cat"]).captions[0].values)
        request = Generate("a cat", seed=3, image_count=2)
        assert [event async for event in waiting.stream(request)] == list(client.stream(request))


async def test_the_async_client_raises_the_same_errors(peer: GatewayPeer) -> None:
    peer.fails = overloaded(7)
    async with AsyncClient(peer.target, timeout=20) as client:
        with pytest.raises(Overloaded, match="the queue is full"):
            await client.generate("a cat")
        with pytest.raises(Overloaded):
            _ = [event async for event in client.stream(Generate("a cat"))]


async def test_leaving_an_async_stream_cancels_the_work(peer: GatewayPeer) -> None:
    peer.hangs = True
    async with AsyncClient(peer.target, timeout=20) as client, aclosing(client.stream(Generate("a cat"))) as events:
        assert isinstance(await anext(events), Progress)

    assert await asyncio.to_thread(peer.left.wait, 5)


async def test_cancelling_the_task_cancels_the_work(peer: GatewayPeer) -> None:
    peer.hangs = True
    async with AsyncClient(peer.target, timeout=20) as client:
        begun = asyncio.Event()

        async def watch() -> None:
            async for _ in client.stream(Generate("a cat")):
                begun.set()

        task = asyncio.create_task(watch())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert await asyncio.to_thread(peer.left.wait, 5)
