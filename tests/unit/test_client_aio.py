"""Both clients side by side against a real socket: the same calls, the same answers, the same failures."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from typing import Any

import numpy as np
import pytest

from tests.unit.client_peer import GatewayPeer, overloaded, picture
from unclip.client import (
    AsyncClient,
    Client,
    Edit,
    Generate,
    Interpolate,
    Progress,
    Request,
    Sampling,
    TextDiff,
    Vary,
)
from unclip.client.messages import stream_message
from unclip.errors import Overloaded
from unclip.wire.embeddings import Embedding


@pytest.fixture
def peer() -> Iterator[GatewayPeer]:
    peer = GatewayPeer()
    peer.start()
    yield peer
    peer.stop()


@pytest.fixture
def client(peer: GatewayPeer) -> Iterator[Client]:
    with Client(peer.target, timeout=20) as client:
        yield client


# Every option of every kind of request, each with a value that no other option of its type has.
COMMON: dict[str, Any] = {"seed": 3, "upsampler": Sampling("ddpm", 4), "format": "webp"}
DDIM = Sampling("ddim", 5, 6.0)
PRIOR: dict[str, Any] = {"prior_candidates": 7, "prior": Sampling("ddpm", 8), "candidates": 9, "image_count": 2}
FRAMES: dict[str, Any] = {"fit": "letterbox", "report_psnr": True, "decoder": DDIM}
EVERYTHING: dict[type[Request], dict[str, Any]] = {
    Generate: {
        **{**COMMON, **PRIOR},
        **{"caption": "a cat", "negative_caption": "a dog", "decoder": Sampling("dpm++2m", 5, 6.0)},
        "embedding": Embedding(np.arange(4, dtype=np.float32), "space"),
    },
    Vary: {**COMMON, **FRAMES, "image": picture(1), "image_count": 2, "eta": 0.25, "start": "random"},
    TextDiff: {**COMMON, **FRAMES, "image": picture(1), "before": "a cat", "after": "a dog", "thetas": [0.1, 0.2]},
    Interpolate: {
        **{**COMMON, **FRAMES, "image": picture(1), "to_caption": "a dog", "ts": [0.1, 0.2], "start": "random"},
        "prior": Sampling("ddpm", 8),
    },
    Edit: {
        **{**COMMON, **PRIOR, "image": picture(1), "mask": picture(2), "caption": "a cat", "negative_caption": "a dog"},
        **{"decoder": Sampling("dpm++2m", 5, 6.0), "resampling": 4, "fit": "letterbox"},
    },
}
METHODS = {Generate: "generate", Vary: "vary", TextDiff: "text_diff", Interpolate: "interpolate", Edit: "edit"}


@pytest.mark.parametrize("kind", EVERYTHING)
async def test_every_option_of_a_method_is_sent_as_that_of_its_request(
    peer: GatewayPeer, client: Client, kind: type[Request]
) -> None:
    options, method = EVERYTHING[kind], METHODS[kind]
    fields = set(kind.__dataclass_fields__)
    assert fields - {"to"} == set(options) - {"to"}, "an option was added: name it above"

    getattr(client, method)(**options)
    async with AsyncClient(peer.target, timeout=20) as waiting:
        await getattr(waiting, method)(**options)

    expected = getattr(stream_message(kind(**options)), method)
    assert peer.asked == [expected, expected]


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
