"""A stage that breaks off is asked again; one that refuses is not; our own caller's cancel is never mistaken for it."""

from __future__ import annotations

import asyncio
import time

import pytest

from gateway.calls import MARGIN_S, PAUSES_S, BrokenOff, Call, steadily
from unclip.errors import DeadlineExceeded, InvalidRequest, Overloaded, Unavailable


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.calls.PAUSES_S", (0.0,) * len(PAUSES_S))


def soon(seconds: float = 10) -> Call:
    return Call(deadline=time.monotonic() + seconds)


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


async def test_a_stream_that_ends_early_is_run_again() -> None:
    attempts = Attempts(BrokenOff(), BrokenOff())
    assert await steadily(attempts, "decoder", soon()) == "done"
    assert attempts.made == 3


async def test_a_stage_that_always_breaks_off_is_unavailable_by_name() -> None:
    attempts = Attempts(*[BrokenOff() for _ in range(9)])
    with pytest.raises(Unavailable) as refused:
        await steadily(attempts, "decoder", soon())
    assert refused.value.stage == "decoder"
    assert attempts.made == len(PAUSES_S) + 1


async def test_a_cancel_that_the_stage_sent_is_a_break() -> None:
    assert await steadily(Attempts(asyncio.CancelledError()), "prior", soon()) == "done"


async def test_a_cancel_from_our_own_caller_stands() -> None:
    started = asyncio.Event()

    async def hang(seconds: float) -> str:
        started.set()
        await asyncio.sleep(60)
        return "late"

    task = asyncio.create_task(steadily(hang, "prior", soon()))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_foreseen_refusal_is_not_asked_again() -> None:
    attempts = Attempts(Overloaded("full", 1.0))
    with pytest.raises(Overloaded):
        await steadily(attempts, "decoder", soon())
    assert attempts.made == 1


async def test_a_malformed_answer_is_a_fault_behind_the_gateway_not_the_callers() -> None:
    with pytest.raises(RuntimeError, match="encoder sent an invalid answer"):
        await steadily(Attempts(InvalidRequest.of("encodings", "length")), "encoder", soon())


async def test_a_stage_is_given_what_remains_less_a_margin() -> None:
    given: list[float] = []

    async def note(seconds: float) -> None:
        given.append(seconds)

    await steadily(note, "encoder", soon(5))
    assert given[0] == pytest.approx(5 - MARGIN_S, abs=0.05)


async def test_no_stage_is_asked_when_no_time_is_left() -> None:
    attempts = Attempts()
    with pytest.raises(DeadlineExceeded):
        await steadily(attempts, "encoder", soon(MARGIN_S / 2))
    assert attempts.made == 0
