"""Who may begin at the gateway: known pace, known way, and a clock that only the tests move."""

from __future__ import annotations

import pytest

from gateway.admission import Admission, Pool
from gateway.calls import MARGIN_S
from gateway.way import Leg, Way
from unclip.errors import DeadlineExceeded, Overloaded
from unclip.serving.load_report import Cost

TOGETHER = {"encoder": "e", "prior": "p", "decoder": "d", "upsampler": "d"}
PICTURE: Way = {"prior": Leg(1, 2, 10), "decoder": Leg(1, 2, 10), "upsampler": Leg(1, 1, 2)}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Gateway:
    """An admission whose stages have told that the prior takes a tenth of a second, the decoder 0.6 and the upsampler
    0.4, of which one device does one after the other."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.admission = Admission(TOGETHER, self.clock)  # type: ignore[arg-type]
        for _ in range(20):
            with self.admission.enter(PICTURE, 1e9, "") as ticket:
                for stage, seconds in (("prior", 0.1), ("decoder", 0.6), ("upsampler", 0.4)):
                    visit = ticket.begin(stage)  # type: ignore[arg-type]
                    self.clock.now += seconds
                    ticket.end(visit, Cost(seconds, seconds / 2))

    def enter(self, patience: float, client: str = "", way: Way = PICTURE) -> bool:
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
        gateway.admission.enter({"decoder": Leg(1, 2, 1000)}, gateway.clock.now + 5.0, "")


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
    assert gateway.enter(20.0, "modest")


def test_a_call_that_ends_makes_room() -> None:
    gateway = Gateway()
    while True:
        try:
            ticket = gateway.admission.enter(PICTURE, gateway.clock.now + 10.0, "")
        except Overloaded:
            break
        ticket.__enter__()
    last = next(iter(gateway.admission._tickets))
    last.__exit__(None, None, None)
    assert gateway.enter(10.0)


def test_each_stage_leaves_time_for_those_after_it() -> None:
    gateway = Gateway()
    ticket = gateway.admission.enter(PICTURE, gateway.clock.now + 10.0, "")
    assert ticket.after("prior") == pytest.approx(0.5)
    assert ticket.after("decoder") == pytest.approx(0.2)
    assert ticket.after("upsampler") == 0.0


def deliver(pool: Pool, rate: float, *, waited: bool, begin: float, seconds: float = 60.0) -> None:
    """Calls that end four at a time, every second."""
    for second in range(int(seconds)):
        for _ in range(4):
            pool.deliver(rate / 4, waited, begin + second)


def test_the_rate_follows_what_busy_stages_deliver_and_what_idle_ones_show_they_can() -> None:
    pool = Pool()
    assert pool.rate == float("inf")
    deliver(pool, 1.0, waited=True, begin=0.0)
    assert pool.rate == pytest.approx(1.0, rel=0.2)
    deliver(pool, 0.5, waited=True, begin=60.0)
    assert pool.rate == pytest.approx(0.5, rel=0.2)
    deliver(pool, 0.01, waited=False, begin=120.0)  # nobody asked for more
    assert pool.rate >= 0.5
    deliver(pool, 2.0, waited=False, begin=180.0, seconds=10.0)
    assert pool.rate >= 1.5


def test_a_time_in_which_nobody_called_says_nothing_of_the_rate() -> None:
    pool = Pool()
    deliver(pool, 1.0, waited=True, begin=0.0)
    before = pool.rate
    pool.deliver(0.5, True, 3600.0)
    assert pool.rate == before


def test_a_stages_refusal_lowers_the_rate() -> None:
    pool = Pool()
    pool.refused(under_way=6.0, left=3.0)
    assert pool.rate == pytest.approx(2.0)
    pool.refused(under_way=6.0, left=3.0)
    assert pool.rate < 2.0
