"""A stream whose gateway is lost goes on with another one, and the caller has everything once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.rpc import code_pb2, error_details_pb2

from tests.unit.client_peer import STEPS, GatewayPeer, status
from unclip import AsyncClient, Client
from unclip.api.gateway.v1 import gateway_pb2
from unclip.api.type.v1 import notice_pb2
from unclip.client import Event, Generate, GeneratedImage, Notice, Preview, Progress
from unclip.errors import Unavailable

REQUEST = Generate("a cat", image_count=3)
ANSWERS = 3 * (STEPS + 2)


class MortalPeer(GatewayPeer):
    """lasts: how many answers each of its streams has before its connection is lost, in turn. versions: of the model,
    likewise."""

    def __init__(self) -> None:
        super().__init__()
        self.lasts: list[int] = []
        self.versions: list[str] = []

    def Stream(self, request: gateway_pb2.StreamRequest, context: Any) -> Iterator[gateway_pb2.StreamResponse]:
        last = self.lasts.pop(0) if self.lasts else ANSWERS
        version = self.versions.pop(0) if self.versions else "v1"
        for number, answer in enumerate(super().Stream(request, context)):
            if number == last:
                context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
            if answer.HasField("image"):
                answer.image.model_version = version
            yield answer


@pytest.fixture
def peer() -> Iterator[MortalPeer]:
    peer = MortalPeer()
    peer.start()
    yield peer
    peer.stop()


async def events(peer: GatewayPeer, blocking: bool) -> list[Event]:
    if blocking:
        with Client(peer.target, timeout=20) as client:
            return list(client.stream(REQUEST, preview_interval=1))
    async with AsyncClient(peer.target, timeout=20) as waiting:
        return [event async for event in waiting.stream(REQUEST, preview_interval=1)]


@pytest.mark.parametrize("blocking", [True, False])
@pytest.mark.parametrize("last", [1, STEPS, STEPS + 1, STEPS + 2, ANSWERS - 1])
async def test_what_was_delivered_before_is_not_delivered_again_and_nothing_is_left_out(
    peer: MortalPeer, last: int, blocking: bool
) -> None:
    peer.lasts = [last]
    found = await events(peer, blocking)
    progress = [(event.image_index, event.step) for event in found if isinstance(event, Progress)]
    assert progress == [(index, step) for index in (2, 1, 0) for step in range(1, STEPS + 1)]
    assert [event.image_index for event in found if isinstance(event, Preview)] == [2, 1, 0]
    images = [event for event in found if isinstance(event, GeneratedImage)]
    assert [image.image_index for image in images] == [2, 1, 0]
    assert len({image.seed - image.image_index for image in images}) == 1  # of one request
    assert len(peer.asked) == 2
    assert peer.asked[0] == peer.asked[1]
    assert peer.metadata[0]["x-request-id"] == peer.metadata[1]["x-request-id"]


async def test_a_stream_that_takes_two_gateways_with_it_is_not_tried_on_a_third(peer: MortalPeer) -> None:
    peer.lasts = [1, 2, 3]
    with pytest.raises(Unavailable, match="the gateway cannot be reached"):
        await events(peer, blocking=True)
    assert len(peer.asked) == 2


async def test_pictures_of_two_versions_are_not_taken_for_one_batch(peer: MortalPeer) -> None:
    peer.lasts, peer.versions = [STEPS + 2], ["v1", "v2"]
    with pytest.raises(Unavailable, match="by another version now"):
        await events(peer, blocking=False)


async def test_what_the_gateway_itself_says_is_final(peer: MortalPeer) -> None:
    down = status(code_pb2.UNAVAILABLE, "UNAVAILABLE", "the decoder is down")
    down.details[0].Pack(
        error_details_pb2.ErrorInfo(domain="unclip", reason="UNAVAILABLE", metadata={"stage": "decoder"})
    )
    peer.fails_after = down
    with pytest.raises(Unavailable) as failed:
        await events(peer, blocking=True)
    assert failed.value.stage == "decoder"
    assert len(peer.asked) == 1


@pytest.mark.parametrize("blocking", [True, False])
async def test_a_notice_is_told_once_whoever_tells_it(peer: MortalPeer, blocking: bool) -> None:
    peer.notices = [notice_pb2.Notice(kind=notice_pb2.NOTICE_KIND_CAPTION_CUT, field="caption", message="cut")]
    peer.lasts = [STEPS, ANSWERS + 1]
    found = await events(peer, blocking)
    told = Notice("caption_cut", "caption", (), "cut")
    assert [event for event in found if isinstance(event, Notice)] == [told]
    assert [event.notices for event in found if isinstance(event, GeneratedImage)] == [(told,)] * 3
    assert len(peer.asked) == 2
