"""Who may begin at the gateway: known pace, known way, and a clock that only the tests move."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from gateway.admission.control import MARGIN_S, Admission, Ticket
from gateway.admission.pace import Pool
from gateway.admission.workload import StageLoad, Workload
from unclip.engine.feasibility import FORGOTTEN_S, FRESH_S, Work
from unclip.enum_names import StageName
from unclip.errors import DeadlineExceeded, Overloaded
from unclip.options import ServiceName
from unclip.serving.load_report import Cost

TOGETHER = {"encoder": "e", "prior": "p", "decoder": "d", "upsampler": "d"}
PICTURE: Workload = {"prior": StageLoad(1, 2, 10), "decoder": StageLoad(1, 2, 10), "upsampler": StageLoad(1, 1, 2)}
VARIATION: Workload = {"invert": StageLoad(1, 1, 20), "decoder": StageLoad(1, 2, 10), "upsampler": StageLoad(1, 1, 2)}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Gateway:
    """An admission whose stages have told that the prior takes a tenth of a second, the decoder 0.6 and the upsampler
    0.4, of which one device does one after the other."""

    def __init__(self, replicas: Callable[[ServiceName], float] = lambda service: math.inf) -> None:
        self.clock = Clock()
        self.admission = Admission(TOGETHER, replicas, clock=self.clock)  # type: ignore[arg-type]
        for _ in range(20):
            with self.admission.enter(PICTURE, 1e9, "") as ticket:
                for stage, seconds in (("prior", 0.1), ("decoder", 0.6), ("upsampler", 0.4)):
                    visit = ticket.begin(stage)  # type: ignore[arg-type]
                    self.clock.now += seconds
                    ticket.end(visit, Cost(seconds, seconds / 2))
                ticket.end(ticket.begin("prior"), Cost(0.1, 0.05))  # what it tells is as fresh as what the others do

    def enter(self, patience: float, client: str = "", way: Workload = PICTURE) -> bool:
        """Whether a call with so much patience is let in; it stays under way."""
        try:
            self.admission.enter(way, self.clock.now + MARGIN_S + patience, client).__enter__()
        except Overloaded:
            return False
        return True


def test_before_anything_is_known_everybody_is_let_in() -> None:
    admission = Admission(TOGETHER)  # type: ignore[arg-type]
    for _ in range(1000):
        admission.enter(PICTURE, 1e9, "one").__enter__()


def test_as_many_are_let_in_as_the_callers_have_patience_for() -> None:
    for patience in (5.0, 20.0, 80.0):
        gateway = Gateway()
        let_in = sum(gateway.enter(patience) for _ in range(200))
        assert 0.5 * patience <= let_in <= 0.8 * patience  # at a picture a second


def test_who_is_refused_hears_when_to_return_and_why() -> None:
    gateway = Gateway()
    while gateway.enter(10.0):
        pass
    with pytest.raises(Overloaded, match="with what is under way this takes about") as refused:
        gateway.admission.enter(PICTURE, gateway.clock.now + MARGIN_S + 10.0, "")
    assert refused.value.reason == "TOO_LATE"
    assert refused.value.retry_after > 0


def test_what_could_not_end_in_time_even_alone_is_no_matter_of_trying_again() -> None:
    gateway = Gateway()
    with pytest.raises(DeadlineExceeded):
        gateway.admission.enter({"decoder": StageLoad(1, 2, 1000)}, gateway.clock.now + 5.0, "")


def test_what_a_student_takes_says_nothing_of_its_teacher() -> None:
    gateway = Gateway()
    decoding = gateway.admission.pools["decoder"]
    before = gateway.admission.enter(PICTURE, 1e9, "").work(decoding)
    fast: Workload = {**PICTURE, "decoder": StageLoad(1, 1, 4, fast=True)}
    for _ in range(3):
        with gateway.admission.enter(fast, gateway.clock.now + 10.0, "") as ticket:
            visit = ticket.begin("decoder")
            gateway.clock.now += 0.05
            ticket.end(visit, Cost(0.05, 0.025))

    with pytest.raises(DeadlineExceeded, match="the stages take about"):
        gateway.admission.enter(PICTURE, gateway.clock.now + MARGIN_S + 0.35, "")
    gateway.admission.enter(fast, gateway.clock.now + MARGIN_S + 0.35, "")
    assert gateway.admission.enter(PICTURE, 1e9, "").work(decoding).least == before.least


def sixteen(max_batch: float) -> Workload:
    return {stage: replace(load, calls=16, max_batch=max_batch) for stage, load in PICTURE.items()}


def test_of_many_pictures_it_is_known_how_many_passes_they_take_at_least() -> None:
    """A step of the decoder takes 0.03 s and one of the upsampler 0.1 s; with four pictures four times as much."""
    gateway = Gateway(lambda service: 1.0)

    def refused(way: Workload, patience: float) -> bool:
        try:
            gateway.admission.enter(way, gateway.clock.now + MARGIN_S + patience, "")
        except DeadlineExceeded:
            return True
        return False

    # They were alone: of more rows it is not known whether they take more.
    for max_batch, passes in ((math.inf, 1), (16, 1), (8, 2), (4, 4)):
        least = 0.8 * (passes * 0.5 + 0.05)
        assert refused(sixteen(max_batch), 0.95 * least)
        assert not refused(sixteen(max_batch), 1.05 * least)
    for _ in range(3):
        with gateway.admission.enter(PICTURE, 1e9, "") as ticket:
            for stage, rows, seconds in (("prior", 2, 0.1), ("decoder", 8, 1.2), ("upsampler", 4, 0.8)):
                share = PICTURE[stage].rows / rows  # type: ignore[index]
                visit = ticket.begin(stage)  # type: ignore[arg-type]
                gateway.clock.now += seconds
                ticket.end(visit, Cost(seconds * share, seconds))
    for max_batch, passes in ((4, 4), (math.inf, 1)):
        least = 0.8 * (passes * (1.2 + 0.8) + 0.05)
        assert refused(sixteen(max_batch), 0.95 * least)
        assert not refused(sixteen(max_batch), 1.05 * least)


def test_what_was_measured_of_a_crowd_is_tried_again_though_singles_keep_coming_and_the_other_way_round() -> None:
    """Sixteen of which each step took as long as a hundred do now, and a single each 0.6 s that is quick."""
    slow, quick = Cost(25.0, 50.0), Cost(0.01, 0.01)
    for before, coming in ((sixteen(8), PICTURE), (PICTURE, sixteen(8))):
        gateway = Gateway(lambda service: 1.0)
        admission, clock = gateway.admission, gateway.clock
        clock.now += 2 * FORGOTTEN_S

        def make(way: Workload, cost: Cost, patience: float, admission: Admission = admission) -> bool:
            try:
                with admission.enter(way, admission.now() + MARGIN_S + patience, "") as ticket:
                    for stage in way:
                        ticket.end(ticket.begin(stage), cost)
            except DeadlineExceeded:
                return False
            return True

        assert make(before, slow, 1e9)
        told = [make(before, quick, 30.0)]
        for _ in range(5):
            assert make(coming, quick, 1e9)
            clock.now += 0.6
            told.append(make(before, quick, 30.0))
        assert not told[0]
        assert told[-1]


def test_what_is_not_heard_of_is_tried_though_other_stages_are_heard_of_all_the_time() -> None:
    gateway = Gateway()
    fast: Workload = {**PICTURE, "decoder": StageLoad(1, 1, 4, fast=True)}
    with gateway.admission.enter(PICTURE, 1e9, "") as ticket:
        ticket.end(ticket.begin("decoder"), Cost(1.0, 1.0))
    told = []
    for _ in range(4):
        with gateway.admission.enter(fast, 1e9, "") as ticket:
            for stage in fast:
                ticket.end(ticket.begin(stage), Cost(0.1, 0.1))
        gateway.clock.now += 0.4
        try:
            told.append(gateway.admission.enter(PICTURE, gateway.clock.now + MARGIN_S + 0.2, "").probe)
        except DeadlineExceeded:
            told.append(False)
    assert True in told
    assert told[0] is False


def test_passes_shared_with_others_do_not_make_a_single_one_look_longer() -> None:
    gateway = Gateway(lambda service: 1.0)
    gateway.clock.now += 2 * FORGOTTEN_S
    for _ in range(3):
        with gateway.admission.enter(PICTURE, 1e9, "") as ticket:
            ticket.end(ticket.begin("decoder"), Cost(0.5, 8.0))  # 2 of 32 rows
    assert gateway.admission.enter(PICTURE, 1e9, "").least_of_all() == pytest.approx(0.8 * 0.5)


def test_of_passes_that_are_not_full_the_rest_counts_too() -> None:
    gateway = Gateway(lambda service: 1.0)
    for calls, passes in ((3, 1), (4, 1), (6, 1.5), (7, 2)):  # rows of a step that are left over wait for the next's
        way: Workload = {"decoder": StageLoad(calls, 2, 1, max_batch=4)}
        ticket = gateway.admission.enter(way, 1e9, "")
        assert ticket.least_of_all() == pytest.approx(0.8 * 0.03 * math.ceil(passes))


def test_an_inversion_beside_a_prior_costs_no_time_of_its_own() -> None:
    gateway = Gateway()
    way: Workload = {"prior": PICTURE["prior"], "invert": StageLoad(1, 1, 20), "decoder": PICTURE["decoder"]}
    gateway.clock.now += 2 * FORGOTTEN_S
    for stage, step in (("prior", 0.5), ("invert", 0.2), ("decoder", 0.1)):  # 5 s beside 4 s, then 1 s
        load = way[stage]  # type: ignore[index]
        gateway.admission.speed(stage, load).least.note(load.usual_rows, step, gateway.clock.now)  # type: ignore[arg-type]
    assert gateway.admission.enter(way, 1e9, "").least_of_all() == pytest.approx(0.8 * 6.0)


def test_as_many_replicas_as_there_are_share_many_pictures() -> None:
    found = []
    for replicas in (1.0, 2.0, math.inf):
        gateway = Gateway(lambda service, replicas=replicas: replicas)  # type: ignore[misc]
        ticket = gateway.admission.enter(sixteen(4), 1e9, "")
        found.append(ticket.least_of_all())
    assert found[0] == pytest.approx(0.8 * (4 * 0.5 + 0.05))
    assert found[1] == pytest.approx(0.8 * (2 * 0.5 + 0.05))
    assert found[2] == pytest.approx(0.8 * 0.55)


def test_an_urgent_call_is_let_in_before_patient_ones_but_not_at_their_expense() -> None:
    gateway = Gateway()
    while gateway.enter(40.0):
        pass
    urgent = sum(gateway.enter(6.0) for _ in range(20))
    assert 1 <= urgent <= 6


def test_one_client_leaves_room_for_another() -> None:
    gateway = Gateway()
    while gateway.enter(20.0, "greedy"):
        pass
    with pytest.raises(Overloaded, match=r"under way of this client fills its part of the 20.* left") as refused:
        gateway.admission.enter(PICTURE, gateway.clock.now + MARGIN_S + 20.0, "greedy")
    assert refused.value.reason == "CLIENT_SHARE"
    assert gateway.enter(20.0, "modest")


def test_a_call_that_ends_makes_room() -> None:
    gateway = Gateway()
    while True:
        try:
            ticket = gateway.admission.enter(PICTURE, gateway.clock.now + 10.0, "")
        except Overloaded:
            break
        ticket.__enter__()
    last = next(iter(gateway.admission.pools["decoder"].works))
    last.__exit__(None, None, None)
    assert gateway.enter(10.0)


def test_a_newcomer_is_not_what_all_that_is_under_way_is_worked_out_for_anew() -> None:
    admission, worked = Admission(TOGETHER, clock=Clock()), list[Ticket]()  # type: ignore[arg-type]

    class Counted(Ticket):
        def work(self, pool: Pool) -> Work:
            worked.append(self)
            return super().work(pool)

    for _ in range(500):
        Counted(admission, PICTURE, 1e9, "").__enter__()
    admission.enter(PICTURE, 1e9, "")
    worked.clear()
    for _ in range(20):
        admission.enter(PICTURE, 1e9, "").__enter__()
    assert not worked


def test_a_call_asks_nothing_more_of_stages_that_it_is_done_with() -> None:
    gateway = Gateway()
    prior, decoder = gateway.admission.pools["prior"], gateway.admission.pools["decoder"]
    with gateway.admission.enter(PICTURE, gateway.clock.now + 10.0, "") as ticket:
        before = decoder.works[ticket].seconds
        assert prior.works
        for stage in ("prior", "decoder"):
            ticket.end(ticket.begin(stage), None)
        assert not prior.works
        assert 0 < decoder.works[ticket].seconds < before
    assert not decoder.works


def test_each_stage_leaves_time_for_those_after_it() -> None:
    gateway = Gateway()
    ticket = gateway.admission.enter(PICTURE, gateway.clock.now + 10.0, "")
    assert ticket.after("prior") == pytest.approx(0.5)
    assert ticket.after("decoder") == pytest.approx(0.2)
    assert ticket.after("upsampler") == 0.0


class Stack:
    """Stages of which each step takes ``step`` seconds, and calls that go through them one after the other."""

    def __init__(self, way: Workload = PICTURE) -> None:
        self.clock, self.step, self.way = Clock(), 0.001, way
        self.admission = Admission(TOGETHER, clock=self.clock)  # type: ignore[arg-type]

    def walk(self, ticket: Ticket, stage: StageName) -> bool:
        """Whether the stage has time to do its part in what is left to it; it takes that time, or all it has."""
        leg, left = self.way[stage], ticket.deadline - self.clock.now - ticket.after(stage)
        seconds = leg.steps * self.step
        if left <= 0:
            return False
        visit = ticket.begin(stage)
        self.clock.now += min(seconds, left)
        if seconds <= left:
            ticket.end(visit, Cost(seconds, seconds))
        return seconds <= left

    def call(self, patience: float) -> bool:
        """Whether a call with so much patience gets its picture."""
        try:
            with self.admission.enter(self.way, self.clock.now + MARGIN_S + patience, "") as ticket:
                return all(self.walk(ticket, stage) for stage in self.way)
        except DeadlineExceeded:
            return False

    def healed(self, patience: float) -> float:
        """Seconds until calls with so much patience, ten a second, are served, all of them from then on."""
        began = last = self.clock.now
        for _ in range(200):
            if not self.call(patience):
                last = self.clock.now
            self.clock.now += 0.1
        return last - began


def test_stages_that_were_slow_at_first_and_are_quick_now_serve_the_impatient_again_within_seconds() -> None:
    # 4 s is less than what a variation's decoder and upsampler took at best, on the device that inverts.
    for way, patience in ((PICTURE, 5.0), (VARIATION, 5.0), (VARIATION, 4.0)):
        stack = Stack(way)
        stack.step = 0.5
        assert stack.call(60.0)
        stack.step = 0.005
        ticket = stack.admission.enter(way, stack.clock.now + MARGIN_S + 60.0, "")
        assert ticket.least_of_all() > patience  # for all that is known it could not end in time
        assert stack.healed(patience) <= 3.0


def test_stages_that_were_slow_for_a_while_serve_the_impatient_again_within_seconds() -> None:
    for slow in (0.15, 0.5):
        stack = Stack()
        for step, calls in ((0.003, 3), (slow, 100)):
            stack.step = step
            assert all(stack.call(60.0) for _ in range(calls))
        stack.step = 0.003
        assert stack.healed(1.0) <= 3.0


def test_time_is_kept_for_later_stages_but_not_all_there_is_for_what_was_slow_of_late() -> None:
    stack = Stack()
    for step in (0.003, 0.5, 0.5):
        stack.step = step
        assert stack.call(60.0)
    stack.step = 0.003
    assert stack.call(1.0)


def test_what_looks_hopeless_is_tried_once_in_a_while_and_one_at_a_time() -> None:
    stack = Stack()
    stack.step = 0.5
    assert stack.call(60.0)
    let_in = 0
    for _ in range(100):
        stack.clock.now += 0.1
        try:
            ticket = stack.admission.enter(PICTURE, stack.clock.now + 5.0, "")
        except DeadlineExceeded:
            continue
        with ticket:
            let_in += 1
            stack.clock.now += 2 * FRESH_S
            with pytest.raises(DeadlineExceeded):
                stack.admission.enter(PICTURE, stack.clock.now + 5.0, "")
        if stack.clock.now > 0.9 * FORGOTTEN_S:
            break
    assert 1 <= let_in <= stack.clock.now / FRESH_S


def test_of_what_looks_hopeless_a_stage_keeps_time_for_the_next_ones_on_its_device() -> None:
    for patience, kept in ((8.0, 4.0), (12.0, 4.8)):  # at best decoder and upsampler take 0.8 of 6 s, all 0.8 of 16
        stack = Stack(VARIATION)
        stack.step = 0.5
        assert stack.call(60.0)
        stack.clock.now += 2 * FRESH_S
        ticket = stack.admission.enter(VARIATION, stack.clock.now + MARGIN_S + patience, "")
        assert ticket.probe
        assert ticket.after("invert") == pytest.approx(kept)
    stack = Stack()
    stack.step = 0.5
    assert stack.call(60.0)
    stack.clock.now += 2 * FRESH_S
    ticket = stack.admission.enter(PICTURE, stack.clock.now + MARGIN_S + 5.0, "")
    assert ticket.probe
    assert ticket.after("prior") == 0.0  # the decoder's speed is to be measured, not taken for granted
    assert ticket.after("decoder") == pytest.approx(0.8)
