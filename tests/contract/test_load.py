"""With room for one sample at a time: who is refused, and what makes room again."""

from __future__ import annotations

import time
from typing import Any
from unittest.mock import patch

import grpc
import pytest

from tests.contract.conftest import served_within
from tests.contract.refusals import refusal
from tests.contract.requests import sound
from tests.contract.services import WALKS, Method, Services
from tests.contract.toys import TOYS, each
from unclip.engine.engine import Engine

FULL = grpc.StatusCode.RESOURCE_EXHAUSTED
LATE = grpc.StatusCode.DEADLINE_EXCEEDED
SOON_S = 3.0
LASTING = each(lambda toy: [method for method in WALKS if toy.steps(method, 2) > 1])  # as many steps as one likes


def long(services: Services, method: Method) -> Any:
    """A request that takes at least ten seconds, at 0.01 seconds a step."""
    request = sound(services, method)
    if method == "invert":
        request.steps = 500  # of two passes
    else:
        request.sampling.steps = 1000
    return request


@LASTING
def test_without_room_a_call_is_refused_at_once_and_told_when_to_return(narrow: Services, method: Method) -> None:
    running = narrow.begin(method, long(narrow, method))
    next(running)
    began = time.monotonic()
    told = refusal(lambda: narrow.ask(method, sound(narrow, method)))
    assert time.monotonic() - began < SOON_S
    assert (told.code, told.domain, told.reason) == (FULL, "unclip", "OVERLOADED")
    assert told.retry_after is not None
    assert told.retry_after > 0
    assert "limit 1" in told.message
    running.cancel()


@LASTING
def test_a_cancelled_call_makes_room(narrow: Services, method: Method) -> None:
    running = narrow.begin(method, long(narrow, method))
    next(running)
    running.cancel()
    assert served_within(SOON_S, narrow, method)


@LASTING
def test_a_call_past_its_deadline_ends_and_makes_room(narrow: Services, method: Method) -> None:
    began = time.monotonic()
    told = refusal(lambda: narrow.ask(method, long(narrow, method), timeout=0.3))
    assert told.code == LATE
    assert time.monotonic() - began < SOON_S
    assert served_within(SOON_S, narrow, method)


@LASTING
def test_a_caller_without_deadline_gets_the_services(brief: Services, method: Method) -> None:
    told = refusal(lambda: brief.ask(method, long(brief, method), timeout=None))
    assert (told.code, told.domain, told.reason) == (LATE, "unclip", "DEADLINE_EXCEEDED")
    assert served_within(SOON_S, brief, method)


@LASTING
def test_refused_requests_take_no_room(narrow: Services, method: Method) -> None:
    request = sound(narrow, method)
    request.ClearField({"sample": "text", "upsample": "sample"}.get(method, "embedding"))
    for _ in range(3):
        assert refusal(lambda: narrow.ask(method, request)).code == grpc.StatusCode.INVALID_ARGUMENT
    assert narrow.ask(method, sound(narrow, method))


@LASTING
def test_what_cannot_end_in_time_is_not_begun(narrow: Services, method: Method) -> None:
    narrow.ask(method, sound(narrow, method))  # some have to find out first how fast they are
    began = time.monotonic()
    told = refusal(lambda: narrow.ask(method, long(narrow, method), timeout=7))
    assert time.monotonic() - began < SOON_S
    assert (told.code, told.domain, told.reason) == (LATE, "unclip", "DEADLINE_EXCEEDED")
    assert "1000 steps" in told.message


@LASTING
def test_one_client_leaves_room_for_another(shared: Services, method: Method) -> None:
    def begin(client: str, request: Any) -> Any:
        return shared.begin(method, request, metadata=[("x-unclip-client", client)])

    running = [begin("greedy", long(shared, method)) for _ in range(2)]
    for call in running:
        next(call)
    told = refusal(lambda: list(begin("greedy", sound(shared, method))))
    assert (told.code, told.reason) == (FULL, "CLIENT_SHARE")
    assert told.retry_after is not None
    assert "limit 2" in told.message
    assert list(begin("modest", sound(shared, method)))
    for call in running:
        call.cancel()


@pytest.mark.parametrize("toy", [name for name, toy in TOYS.items() if toy.make], indirect=True, scope="module")
def test_the_engine_knows_which_calls_a_gateway_makes_for_one_request(services: Services) -> None:
    told, reserve = list[object](), Engine.reserve

    def noted(engine: Engine, *arguments: Any, **more: Any) -> Any:
        told.append(more["part_of"])
        return reserve(engine, *arguments, **more)

    requests = {method: sound(services, method) for method in WALKS}
    with patch.object(Engine, "reserve", noted):
        for method, request in requests.items():
            for metadata in ([("x-unclip-part-of", method)], [("x-request-id", method)]):
                list(services.begin(method, request, metadata=metadata))
    assert told == [name for method in WALKS for name in (method, "")]
