"""Pictures are admitted before they are decoded, within a budget for all and a share for each, in fair turns."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable
from functools import partial

import pytest

from unclip.errors import InvalidRequest, Overloaded, PoisonSuspected
from unclip.serving.budget import Budget
from unclip.serving.decoding import Admitted, Decoding, _FairThread

WAIT_S = 10


@pytest.fixture
async def decoding() -> AsyncIterator[Decoding]:
    made = Decoding("test", limit=100)
    yield made
    made.close()


@pytest.fixture
async def heavy() -> AsyncIterator[Decoding]:
    """For which two pixels are many."""
    made = Decoding("test", limit=100, light=1)
    yield made
    made.close()


class Gate:
    """Work that stands still until it is let go, and notes the order in which it was begun."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.open, self.started = threading.Event(), threading.Event()

    def work(self, name: str) -> Callable[[], str]:
        def run() -> str:
            self.begun.append(name)
            self.started.set()
            assert self.open.wait(WAIT_S)
            return name

        return run

    async def reached(self) -> None:
        assert await asyncio.to_thread(self.started.wait, WAIT_S)


@pytest.fixture
def gate() -> Gate:
    return Gate()


def test_a_budget_is_bounded_for_all_and_by_half_for_each() -> None:
    budget = Budget("test", "pixels", 100)
    budget.take(40, "one")
    with pytest.raises(Overloaded, match="this client has 40 pixels, its share is 50; this request needs 11") as mine:
        budget.take(11, "one")
    budget.take(60, "other")  # the first of a client may be larger than its share: it could never be served else
    with pytest.raises(Overloaded, match="100 of 100 pixels are taken; this request needs 1") as full:
        budget.take(1, "third")
    assert (mine.value.reason, full.value.reason) == ("CLIENT_SHARE", "PIXELS")
    budget.take(0, "third")
    budget.give_back(60, "other")
    budget.take(1, "third")
    assert (budget.taken, budget.taken_by("other")) == (41, 0)


async def test_room_is_given_back_whatever_happens_and_its_price_is_told(decoding: Decoding) -> None:
    def fail() -> None:
        with decoding.admitted(100, "one"):
            with pytest.raises(Overloaded) as refused, decoding.admitted(1, "other"):
                pytest.fail("there is no room")
            assert refused.value.retry_after > 0
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with decoding.admitted(100, "other"):
        pass


async def test_the_client_that_has_had_no_turn_for_longest_has_the_next_one(decoding: Decoding, gate: Gate) -> None:
    with decoding.admitted(50, "greedy"), decoding.admitted(10, "modest"), decoding.admitted(20, "other"):
        asked = [("greedy", "g1"), ("greedy", "g2"), ("greedy", "g3"), ("other", "o1"), ("modest", "m1")]
        tasks = [asyncio.create_task(decoding.run(0, client, gate.work(name))) for client, name in asked]
        await gate.reached()
        gate.open.set()
        assert await asyncio.gather(*tasks) == ["g1", "g2", "g3", "o1", "m1"]
    assert gate.begun == ["g1", "o1", "m1", "g2", "g3"]


class Picture:
    """Something large."""


def refuse(picture: Picture) -> None:
    assert picture
    raise InvalidRequest.of("image", "must be another one")


async def test_a_picture_that_is_refused_goes_with_its_request_and_not_when_python_looks_for_circles(
    decoding: Decoding,
) -> None:
    picture = Picture()
    kept = weakref.ref(picture)
    gc.collect()
    gc.disable()
    try:
        with contextlib.suppress(InvalidRequest):
            await decoding.run(0, "one", partial(refuse, picture))
        del picture
        await decoding.run(0, "one", str)  # by when its thread has let go of it
        assert kept() is None
    finally:
        gc.enable()


async def test_a_thread_whose_caller_has_gone_is_not_given_away_before_it_is_free(
    decoding: Decoding, gate: Gate
) -> None:
    names = ("gone", "waits", "next")
    gone, waits, next_one = (asyncio.create_task(decoding.run(0, "", gate.work(name))) for name in names)
    await gate.reached()
    gone.cancel()
    waits.cancel()
    await asyncio.sleep(0.05)
    assert gate.begun == ["gone"]
    gate.open.set()
    assert await asyncio.wait_for(next_one, WAIT_S) == "next"
    assert await asyncio.wait_for(decoding.run(0, "", gate.work("later")), WAIT_S) == "later"
    assert gate.begun == ["gone", "next", "later"]


async def test_a_request_of_many_pictures_lets_others_go_between_them(decoding: Decoding, gate: Gate) -> None:
    admitted = Admitted(decoding, 3, "")
    many = asyncio.create_task(admitted.each([(1, gate.work(f"picture {number}")) for number in range(3)]))
    await gate.reached()
    one = asyncio.create_task(decoding.run(0, "", gate.work("other")))
    await asyncio.sleep(0.01)
    gate.open.set()
    await asyncio.gather(many, one)
    assert gate.begun == ["picture 0", "other", "picture 1", "picture 2"]


async def test_every_picture_that_breaks_a_rule_is_told_of(decoding: Decoding) -> None:
    def bad(field: str) -> None:
        raise InvalidRequest.of(field, "is bad")

    with pytest.raises(InvalidRequest) as refused:
        await Admitted(decoding, 3, "").each(
            [(1, lambda: bad("images[0]")), (1, lambda: None), (1, lambda: bad("images[2]"))]
        )
    assert [violation.field for violation in refused.value.violations] == ["images[0]", "images[2]"]


async def test_large_requests_are_read_in_a_process_that_stands_back(heavy: Decoding) -> None:
    here, there = os.getpid(), await heavy.run(2, "", os.getpid)
    assert there != here
    assert os.getpriority(os.PRIO_PROCESS, there) > os.getpriority(os.PRIO_PROCESS, 0) or niced_out()
    assert await heavy.run(2, "", os.getpid) == there
    assert await heavy.run(1, "", os.getpid) == here


async def test_small_requests_do_not_wait_for_large_ones(heavy: Decoding) -> None:
    large = asyncio.create_task(heavy.run(2, "", time.sleep, 0.5))
    await asyncio.sleep(0)
    await asyncio.wait_for(heavy.run(1, "", os.getpid), WAIT_S)
    assert not large.done()
    await large


async def test_what_a_large_request_breaks_is_told_as_of_a_small_one(heavy: Decoding) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await Admitted(heavy, 4, "").each([(2, partial(read, f"images[{index}]")) for index in range(2)])
    assert [violation.field for violation in refused.value.violations] == ["images[1]"]


async def test_who_kills_the_process_that_reads_pictures_is_not_tried_again_and_others_get_a_new_one(
    heavy: Decoding,
) -> None:
    with pytest.raises(PoisonSuspected, match="was lost at work on this request"):
        await heavy.run(2, "", os._exit, 1)
    assert await heavy.run(2, "", os.getpid) != os.getpid()


def niced_out() -> bool:
    """Whether this process has already stood back as far as one can."""
    return os.getpriority(os.PRIO_PROCESS, 0) == 19


def read(field: str) -> str:
    """Raises as a picture that cannot be read does, but for the first."""
    if field == "images[0]":
        return field
    raise InvalidRequest.of(field, "is broken")


async def test_who_sends_picture_after_picture_lets_one_with_a_larger_picture_have_a_turn() -> None:
    turns = _FairThread("turns")
    served = list[str]()
    still = True

    async def stream(client: str) -> None:
        while still:
            await turns.run(client, time.sleep, 0.001)
            served.append(client)

    many = [asyncio.create_task(stream("many")) for _ in range(3)]
    await turns.run("first", time.sleep, 0.001)
    before = len(served)
    await turns.run("one", time.sleep, 0.001)
    assert len(served) - before <= 3
    still = False
    await asyncio.gather(*many)
    turns.close()
