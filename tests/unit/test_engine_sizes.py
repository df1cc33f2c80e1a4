"""Pictures of several sizes on one engine: whom they share a tick with, what they take, and that none starves."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Hashable, Sequence
from concurrent.futures import wait
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unclip.engine.admission import Expected
from unclip.engine.cost import CostModel
from unclip.engine.engine import Engine
from unclip.engine.job import Job
from unclip.errors import OutOfDeviceMemory, Overloaded, UnclipError

WAIT = 30
FOREVER = float("inf")


class Picture(Job[str]):
    """A job of a picture of ``scale`` times the usual pixels; ``bad`` is what its ticks raise."""

    def __init__(self, name: str, scale: float, length: int = 3, bad: Exception | None = None, **base: Any) -> None:
        super().__init__(length, **base)
        self.name, self.bad = name, bad
        self.scale = self.width = scale

    @property
    def lane(self) -> Hashable:
        return "a", self.scale

    def result(self) -> str:
        return self.name


class Painter:
    """Writes down every batch; stands still at ``gate``. now: a clock, by which a row takes a hundredth of a second."""

    def __init__(self) -> None:
        self.batches: list[list[Picture]] = []
        self.now = 0.0
        self.gate, self.reached = threading.Event(), threading.Event()

    def tick(self, jobs: Sequence[Picture]) -> None:
        self.reached.set()
        assert self.gate.wait(WAIT)
        for job in jobs:
            if job.bad is not None:
                raise job.bad
        self.batches.append(list(jobs))
        self.now += 0.01 * sum(job.width for job in jobs)


def run(pictures: Sequence[Picture], **limits: Any) -> list[list[Picture]]:
    """The batches in which an engine that has all ``pictures`` before its first tick moves them to their ends."""
    painter = Painter()
    engine = Engine({"a": painter}, clock=lambda: painter.now, **limits)
    try:
        with engine.reserve(1 + len(pictures)) as room:
            room.submit(first := Picture("first", 0.5, 1))
            assert painter.reached.wait(WAIT)
            for picture in pictures:
                room.submit(picture)
        painter.gate.set()
        assert not wait([first.future, *(picture.future for picture in pictures)], WAIT).not_done
    finally:
        painter.gate.set()
        engine.close()
    return painter.batches[1:]


@pytest.mark.parametrize("spare", [FOREVER, 1e4, 1.3], ids=["no deadline", "time for all", "short of time"])
@pytest.mark.parametrize(("many", "few"), [(1.0, 4.0), (4.0, 1.0)], ids=["many small", "many large"])
def test_sizes_share_no_batch_and_neither_starves_the_other(many: float, few: float, spare: float) -> None:
    """spare: the time that they have, over what all of them take."""
    until = spare * 20 * 0.01 * (12 * many + 2 * few)
    crowd = [Picture(f"many {i}", many, 20, deadline=until) for i in range(12)]
    rare = [Picture(f"few {i}", few, 20, deadline=until) for i in range(2)]
    batches = run([*crowd, *rare], capacity=16, max_batch=8)
    for batch in batches:
        assert len({picture.scale for picture in batch}) == 1
        assert sum(picture.scale for picture in batch) <= 8
    assert all(picture.future.exception() is None for picture in [*crowd, *rare])
    moved = [number for number, batch in enumerate(batches) if batch[0].scale == few]
    if spare > 2:  # turn by turn: it never waits for longer than all of the crowd takes to move once
        assert max(after - before for before, after in itertools.pairwise(moved)) <= 1 + 12 * many / 8 + 1


def test_small_pictures_that_keep_coming_do_not_keep_a_large_one_waiting() -> None:
    painter = Painter()
    painter.gate.set()
    engine = Engine({"a": painter}, capacity=4, max_batch=2)
    large, coming = Picture("large", 4.0, 12), threading.Event()

    def next_small(job: Job[Any]) -> None:
        if job.position == job.length and not large.future.done() and len(painter.batches) < 3000:
            small()

    def small() -> None:
        picture = Picture("small", 1.0, 2)
        picture.notify = next_small
        with engine.reserve(client="crowd") as room:
            room.submit(picture)
        coming.set()

    try:
        for _ in range(8):
            small()
        with engine.reserve(client="one") as room:
            room.submit(large)
        assert large.future.result(WAIT) == "large"
        assert len(painter.batches) < 3000
    finally:
        engine.close()


def test_what_a_batch_of_large_pictures_is_expected_to_take_is_of_as_many_as_share_one() -> None:
    costs = CostModel(max_batch=8)
    for _ in range(3):  # a second for each usual picture's pixels
        for rows in (1.0, 4.0, 8.0):
            costs.record("a", [Picture("before", rows)], rows)
    works = costs.works([Picture(str(i), 4.0, 1) for i in range(6)])
    assert works[0].seconds == pytest.approx(4.0)
    assert works[0].least <= 8.0 + 1e-6  # two of them, not six


Step = tuple[str, float, int, str]
STEPS = st.tuples(
    st.sampled_from(["done", "fails", "out of memory", "cancelled", "not submitted", "late"]),
    st.sampled_from([0.25, 1.0, 1.5, 4.0]),
    st.integers(1, 3),
    st.sampled_from(["", "one", "other"]),
)


@given(st.lists(STEPS, max_size=12), st.booleans())
@settings(max_examples=60)
def test_places_are_as_many_as_pictures_are_large_and_all_come_back(steps: list[Step], read_first: bool) -> None:
    painter = Painter()
    engine = Engine({"a": painter}, capacity=4, max_batch=8, queue_limit=60)
    admission, held = engine._admission, 0
    rooms, pictures = [], list[Picture]()
    bad: dict[str, Exception] = {"fails": ValueError("bad"), "out of memory": MemoryError()}
    try:
        for what, scale, rows, client in steps:
            try:
                room = engine.reserve(rows, client, Expected("a", 5, FOREVER, scale=scale))
            except Overloaded:
                continue
            held += rows * max(1, round(scale + 0.49))
            rooms.append(room)
            if read_first:
                pictures.append(reading := Picture("reading", scale, 1, bad.get(what)))
                room.ahead().submit(reading)
            for _ in range(rows if what != "not submitted" else 0):
                picture = Picture(what, scale, 2, bad.get(what), deadline=0.0 if what == "late" else FOREVER)
                if what == "cancelled":
                    picture.cancel()
                try:
                    room.submit(picture)
                except UnclipError:
                    break
                pictures.append(picture)
            assert admission.taken <= held
        if all(what in ("done", "not submitted") for what, *_ in steps):
            assert admission.taken == held  # nothing has ended: the gate is shut
        painter.gate.set()
        wait([picture.future for picture in pictures], WAIT)
        for room in rooms:
            with room:
                pass
    finally:
        painter.gate.set()
        engine.close()
    assert admission.taken == 0
    assert not admission._expected
    assert not any(admission._places.values())


def test_a_reading_goes_ahead_of_what_it_is_for_where_there_is_but_one_place() -> None:
    painter = Painter()
    painter.gate.set()
    engine = Engine({"a": painter}, capacity=1, queue_limit=0)
    try:
        with engine.reserve(1, "", Expected("a", 3, FOREVER)) as room:
            room.ahead().submit(reading := Picture("reading", 1.0, 1))
            assert reading.future.result(WAIT) == "reading"
            with pytest.raises(Overloaded):
                engine.reserve()
            room.submit(picture := Picture("picture", 1.0))
        assert picture.future.result(WAIT) == "picture"
        assert engine._admission.taken == 0
    finally:
        engine.close()


def test_a_result_that_the_device_has_no_memory_for_is_refused_as_such() -> None:
    import torch

    class Large(Picture):
        def result(self) -> str:
            raise torch.OutOfMemoryError("Tried to allocate 2.00 GiB")

    large = Large("large", 1.0, 1)
    run([large])
    assert isinstance(large.future.exception(), OutOfDeviceMemory)
