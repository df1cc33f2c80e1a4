"""While a stage that was full is not asked, the gateway refuses what needs it before anything is done for it."""

from __future__ import annotations

import numpy as np
import pytest

from tests.integration.gateway_front import MODEL, Front
from tests.integration.test_gateway_failures import REQUEST, details, failure
from tests.integration.test_gateway_pictures import picture
from unclip.api.gateway.v1 import gateway_pb2
from unclip.api.type.v1 import embedding_pb2
from unclip.errors import Overloaded
from unclip.testing import StubStages
from unclip.wire import tensors

FULL = Overloaded("full", 60)
GIVEN = embedding_pb2.Embedding(
    values=tensors.to_proto(np.linspace(-1, 1, MODEL.dim, dtype=np.float32)), clip_space=MODEL.clip_space
)


@pytest.fixture(autouse=True)
def long_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.stages.circuit_breaker.OPEN_S", 60.0)


async def test_nothing_is_done_for_who_would_be_refused_in_the_end(front: Front, stages: StubStages) -> None:
    stages.decoder.faults.refuse = FULL
    await failure(front.stub.Generate(REQUEST))
    stages.decoder.faults.refuse = None
    before = [len(stub.asked) for stub in stages.stubs.values()]
    error = await failure(front.stub.Generate(REQUEST))
    assert "decoder: no room a moment ago" in (error.details() or "")
    assert any(getattr(d, "retry_delay", None) and d.retry_delay.seconds == 60 for d in details(error))  # type: ignore[attr-defined]
    assert [len(stub.asked) for stub in stages.stubs.values()] == before


async def test_a_prior_without_room_keeps_only_captions_waiting(front: Front, stages: StubStages) -> None:
    stages.prior.faults.refuse = FULL
    await failure(front.stub.Generate(REQUEST))
    await failure(front.stub.Interpolate(gateway_pb2.InterpolateRequest(image=picture(), to_caption="a cat")))
    assert (await front.stub.Generate(gateway_pb2.GenerateRequest(embedding=GIVEN))).images
    assert (await front.stub.Vary(gateway_pb2.VaryRequest(image=picture()))).images
    assert (await front.stub.Interpolate(gateway_pb2.InterpolateRequest(image=picture(), to_image=picture()))).images
