"""A stage that breaks off is asked again; one that refuses is not; our own caller's cancel is never mistaken for it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import pytest
from google.rpc import code_pb2
from grpc_status import rpc_status

from gateway.admission.control import MARGIN_S
from gateway.stages.calls import PAUSES_S, BrokenOff, Call, with_retries
from gateway.stages.circuit_breaker import CircuitBreaker
from unclip.errors import (
    DeadlineExceeded,
    InvalidRequest,
    Overloaded,
    PoisonSuspected,
    PreconditionFailed,
    Unavailable,
    UnclipError,
)
from unclip.serving import acceptance
from unclip.serving.error_table import to_status
from unclip.serving.metrics import POISON
from unclip.serving.refusing import pushback


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.stages.calls.PAUSES_S", (0.0,) * len(PAUSES_S))


@pytest.fixture
def breaker() -> CircuitBreaker:
    return CircuitBreaker("decoder")


def soon(seconds: float = 10) -> Call:
    return Call(deadline=time.monotonic() + seconds)


def sent(error: UnclipError) -> grpc.aio.AioRpcError:
    """How a stage's error reaches the gateway."""
    status: Any = rpc_status.to_status(to_status(error))
    trailing = grpc.aio.Metadata(*status.trailing_metadata)
    return grpc.aio.AioRpcError(status.code, grpc.aio.Metadata(), trailing, status.details)


def lost(replica: str) -> grpc.aio.AioRpcError:
    """What gRPC says of a replica that had begun with a call, and died."""
    told = grpc.aio.Metadata((acceptance.HEADER, replica))
    return grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, told, grpc.aio.Metadata(), "Socket closed")


def never_reached() -> grpc.aio.AioRpcError:
    """What it says where no replica could be reached."""
    none = grpc.aio.Metadata()
    return grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, none, none, "connections to all backends failing")


class Attempts:
    """Raises each of ``failures`` in turn, then answers "done"."""

    def __init__(self, *failures: BaseException) -> None:
        self.failures = list(failures)
        self.made = 0

    async def __call__(self, seconds: float) -> str:
        self.made += 1
        if self.failures:
            raise self.failures.pop(0)
        return "done"


async def test_a_stream_that_ends_early_is_run_again(breaker: CircuitBreaker) -> None:
    attempts = Attempts(BrokenOff(), BrokenOff())
    assert await with_retries(attempts, "decoder", soon(), breaker) == "done"
    assert attempts.made == 3


async def test_a_stage_that_always_breaks_off_is_unavailable_by_name(breaker: CircuitBreaker) -> None:
    attempts = Attempts(*[BrokenOff() for _ in range(9)])
    with pytest.raises(Unavailable) as refused:
        await with_retries(attempts, "decoder", soon(), breaker)
    assert refused.value.stage == "decoder"
    assert attempts.made == len(PAUSES_S) + 1


@pytest.mark.parametrize("failure", [BrokenOff(), lost("only")])
async def test_callers_are_told_not_to_ask_again_for_what_was_asked_again_in_vain(
    breaker: CircuitBreaker, failure: Exception
) -> None:
    with pytest.raises(Unavailable) as refused:
        await with_retries(Attempts(*[failure] * 9), "decoder", soon(), breaker)
    assert pushback(refused.value) == (("grpc-retry-pushback-ms", "-1"),)
    assert pushback(Unavailable("gateway", "the gateway is draining")) == ()


async def test_a_stage_that_was_not_to_be_had_is_named_when_time_is_over(breaker: CircuitBreaker) -> None:
    attempts = Attempts(BrokenOff("the decoder fell silent"), DeadlineExceeded("no time is left"))
    with pytest.raises(Unavailable, match="the decoder fell silent"):
        await with_retries(attempts, "decoder", soon(), breaker)


async def test_a_request_that_a_replica_died_of_is_tried_on_another(breaker: CircuitBreaker) -> None:
    assert await with_retries(Attempts(lost("one")), "decoder", soon(), breaker) == "done"


async def test_a_request_that_two_replicas_died_of_is_tried_on_no_third_and_counted_once(
    breaker: CircuitBreaker,
) -> None:
    before = POISON.labels("decoder")._value.get()
    attempts, call = Attempts(lost("one"), lost("other")), soon()
    with pytest.raises(PoisonSuspected, match="2 replicas were lost at work on this request") as refused:
        await with_retries(attempts, "decoder", call, breaker)
    assert (attempts.made, refused.value.stage) == (2, "decoder")
    status = to_status(refused.value)
    assert (status.code, pushback(refused.value)) == (code_pb2.UNAVAILABLE, (("grpc-retry-pushback-ms", "-1"),))
    with pytest.raises(PoisonSuspected):  # nor is another part of the same request
        await with_retries(Attempts(lost("third")), "upsampler", call, breaker)
    assert POISON.labels("decoder")._value.get() == before + 1


async def test_a_replica_that_takes_many_parts_of_a_request_with_it_counts_once(breaker: CircuitBreaker) -> None:
    call = soon()
    parts = [with_retries(Attempts(lost("one")), "decoder", call, breaker) for _ in range(4)]
    assert await asyncio.gather(*parts) == ["done"] * 4


async def test_replicas_that_were_never_reached_or_said_why_are_no_sign_of_poison(breaker: CircuitBreaker) -> None:
    draining = sent(Unavailable("decoder", "the decoder is draining"))
    assert await with_retries(Attempts(never_reached(), draining), "decoder", soon(), breaker) == "done"


async def test_a_cancel_that_the_stage_sent_is_a_break(breaker: CircuitBreaker) -> None:
    assert await with_retries(Attempts(asyncio.CancelledError()), "prior", soon(), breaker) == "done"


async def test_a_cancel_from_our_own_caller_stands(breaker: CircuitBreaker) -> None:
    started = asyncio.Event()

    async def hang(seconds: float) -> str:
        started.set()
        await asyncio.sleep(60)
        return "late"

    task = asyncio.create_task(with_retries(hang, "prior", soon(), breaker))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_foreseen_refusal_is_not_asked_again(breaker: CircuitBreaker) -> None:
    attempts = Attempts(sent(PreconditionFailed("invert", "cannot")))
    with pytest.raises(PreconditionFailed):
        await with_retries(attempts, "decoder", soon(), breaker)
    assert attempts.made == 1


async def test_another_replica_is_asked_where_one_has_no_room(breaker: CircuitBreaker) -> None:
    assert await with_retries(Attempts(sent(Overloaded("full", 1.0))), "decoder", soon(), breaker) == "done"
    breaker.check()


async def test_the_only_replica_is_not_asked_again_for_room(breaker: CircuitBreaker) -> None:
    for reason in ("OVERLOADED", "OWN_WORK"):
        attempts = Attempts(*[sent(Overloaded("full", 1.0, reason))] * 9)
        with pytest.raises(Overloaded):
            await with_retries(attempts, "decoder", soon(), breaker, replicas=lambda: 1.0)
        assert attempts.made == 1
    attempts = Attempts(BrokenOff(), BrokenOff())  # what breaks off may be replaced
    assert await with_retries(attempts, "decoder", soon(), breaker, replicas=lambda: 1.0) == "done"


async def test_for_room_that_its_own_request_takes_a_call_looks_once_more_at_no_cost_to_others(
    breaker: CircuitBreaker,
) -> None:
    for _ in range(100):
        attempts = Attempts(*[sent(Overloaded("mine", 1.0, "OWN_WORK"))] * 9)
        with pytest.raises(Overloaded):
            await with_retries(attempts, "decoder", soon(), breaker, replicas=lambda: 2.0)
        assert attempts.made == 2
    assert await with_retries(Attempts(BrokenOff()), "decoder", soon(), breaker) == "done"


@pytest.mark.parametrize("reasons", [("TOO_LATE", "OWN_WORK", "OWN_WORK"), ("OWN_WORK", "TOO_LATE", "OWN_WORK")])
async def test_where_others_are_in_the_way_at_one_replica_it_is_they_that_are_told_of(
    breaker: CircuitBreaker, reasons: tuple[str, ...]
) -> None:
    attempts = Attempts(*[sent(Overloaded(reason, 1.0, reason)) for reason in reasons])
    with pytest.raises(Overloaded) as told:
        await with_retries(attempts, "decoder", soon(), breaker, replicas=lambda: 2.0)
    assert told.value.reason == "TOO_LATE"


async def test_a_stage_without_room_is_not_asked_for_a_moment_by_anybody(breaker: CircuitBreaker) -> None:
    with pytest.raises(Overloaded):
        await with_retries(Attempts(*[sent(Overloaded("full", 7.0))] * 9), "decoder", soon(), breaker)
    with pytest.raises(Overloaded) as refused:
        breaker.check()
    assert refused.value.retry_after == 7.0


async def test_what_one_caller_has_too_much_of_is_no_reason_to_refuse_others(breaker: CircuitBreaker) -> None:
    with pytest.raises(Overloaded):
        await with_retries(Attempts(*[sent(Overloaded("yours", 7.0, "CLIENT_SHARE"))] * 9), "decoder", soon(), breaker)
    breaker.check()


async def test_when_everything_breaks_off_few_calls_ask_again(breaker: CircuitBreaker) -> None:
    made = 0
    for _ in range(100):
        attempts = Attempts(*[BrokenOff() for _ in range(9)])
        with pytest.raises(Unavailable):
            await with_retries(attempts, "decoder", soon(), breaker)
        made += attempts.made
    assert 110 <= made <= 135  # a burst of 10, and a fifth of the calls


async def test_a_malformed_answer_is_a_fault_behind_the_gateway_not_the_callers(breaker: CircuitBreaker) -> None:
    with pytest.raises(RuntimeError, match="encoder sent an invalid answer"):
        await with_retries(Attempts(InvalidRequest.of("encodings", "length")), "encoder", soon(), breaker)


async def test_a_stage_is_given_what_remains_less_a_margin(breaker: CircuitBreaker) -> None:
    given: list[float] = []

    async def note(seconds: float) -> None:
        given.append(seconds)

    await with_retries(note, "encoder", soon(5), breaker)
    assert given[0] == pytest.approx(5 - MARGIN_S, abs=0.05)


async def test_no_stage_is_asked_when_no_time_is_left(breaker: CircuitBreaker) -> None:
    attempts = Attempts()
    with pytest.raises(DeadlineExceeded):
        await with_retries(attempts, "encoder", soon(MARGIN_S / 2), breaker)
    assert attempts.made == 0
