"""Who gets in: what cannot end in time is refused at once, and no client crowds out the others."""

from __future__ import annotations

import time

import pytest

from tests.unit.engine_bench import Bench, Count, MakeBench
from unclip.engine.admission import Admission, Expected
from unclip.engine.cost import CostModel
from unclip.engine.observer import Observer
from unclip.errors import DeadlineExceeded, Overloaded, brief


class Refusals(Observer):
    def __init__(self) -> None:
        self.reasons: list[str] = []

    def refused(self, reason: str) -> None:
        self.reasons.append(reason)


def submit(bench: Bench, client: str, *jobs: Count) -> None:
    with bench.engine.reserve(len(jobs), client) as room:
        for job in jobs:
            room.submit(job)


def test_a_job_that_could_not_end_in_time_even_alone_is_refused_with_both_times(make_bench: MakeBench) -> None:
    refusals = Refusals()
    bench = make_bench(observer=refusals)
    for _ in range(2):  # the first says nothing of the least
        bench.engine._costs.record("a", [Count("before", 1)], 1.0)
    with pytest.raises(DeadlineExceeded, match=r"bench: 100 steps take about 80 s, [34](\.\d)? s are left"):
        bench.submit(Count("hopeless", 100, deadline=time.monotonic() + 4))
    assert refusals.reasons == ["deadline"]


def made(costs: CostModel) -> Admission:
    return Admission("bench", 300, Observer(), costs, clock=lambda: 0.0)


def one_at_a_time() -> CostModel:
    """Each step takes a second."""
    costs = CostModel(max_batch=1)
    costs.record("a", [Count("before", 1)], 1.0)
    return costs


def test_what_waits_counts_as_well_as_what_runs() -> None:
    admission = made(one_at_a_time())
    ahead = [Count(str(i), 3, deadline=50.0) for i in range(5)]
    admission.enter(Count("in time", 3, deadline=60.0), ahead[:3])
    with pytest.raises(Overloaded, match="with what goes before 3 steps take about 18 s, 18 s are left") as refused:
        admission.enter(Count("too late", 3, deadline=18.0), [Count(str(i), 3, deadline=17.0) for i in range(5)])
    assert refused.value.reason == "TOO_LATE"
    assert refused.value.retry_after == pytest.approx(15 - 0.8 * 15)


def test_who_must_end_first_is_let_in_before_others_that_have_time_but_not_at_their_expense() -> None:
    admission = made(one_at_a_time())
    patient = [Count(str(i), 3, deadline=40.0) for i in range(10)]
    admission.enter(Count("urgent", 3, deadline=6.0), patient)
    with pytest.raises(Overloaded):
        admission.enter(Count("another", 3, deadline=40.0), [*patient, Count("urgent", 3, deadline=6.0)])
    full = [Count(str(i), 3, deadline=31.0) for i in range(10)]
    with pytest.raises(Overloaded):
        admission.enter(Count("urgent", 3, deadline=6.0), full)


def test_expected_jobs_count_until_they_come_and_are_let_in_for_what_was_expected() -> None:
    admission = made(one_at_a_time())
    expected = Expected("a", 10, 21.0)
    admission.take(1, "", [], [expected])
    with pytest.raises(Overloaded):
        admission.take(1, "", [], [Expected("a", 10, 22.0)])
    admission.enter(Count("it", 10, deadline=21.0), [], expected)
    admission.take(1, "", [], [Expected("a", 10, 22.0)])


def test_what_was_expected_and_did_not_come_leaves_its_time_to_others() -> None:
    admission = made(one_at_a_time())
    expected = Expected("a", 10, 30.0)
    admission.take(2, "", [], [expected] * 2)
    admission.give_back(2, "", [expected] * 2)
    admission.take(1, "", [], [Expected("a", 10, 15.0)])


def test_jobs_of_other_lengths_count_each_for_its_own() -> None:
    admission = made(one_at_a_time())
    with pytest.raises(DeadlineExceeded, match="with other parts of its request 10 steps take about 15 s, 14 s are"):
        admission.take(2, "", [], [Expected("a", 10, 14.0), Expected("a", 5, 14.0)], object())
    parts = [Expected("a", 10, 15.0), Expected("a", 5, 15.0)]
    admission.take(2, "", [], parts, object())
    admission.give_back(2, "", parts)
    there, back = both = [Expected("a", 10, 17.0), Expected("a", 5, 17.0, follows=True)]
    admission.take(2, "", [], both)
    running = Count("there", 10, deadline=17.0)
    admission.enter(running, [], there)
    with pytest.raises(Overloaded):
        admission.take(1, "", [running], [Expected("a", 3, 17.0)])
    admission.give_back(1, "", [back])
    admission.take(1, "", [running], [Expected("a", 3, 17.0)])


@pytest.mark.parametrize("left", [11.0, 13.0, 15.0, 20.0])
def test_jobs_that_follow_one_another_are_let_in_as_one_of_their_length(left: float) -> None:
    """Alone they are tried where one is, and what has no time for them is no overload."""
    costs = one_at_a_time()
    costs.record("a", [Count("again", 1)], 1.0)  # the first says nothing of the least that a step takes

    def taken(*expected: Expected) -> type[Exception] | None:
        try:
            made(costs).take(len(expected), "", [], expected)
        except (DeadlineExceeded, Overloaded) as error:
            return type(error)
        return None

    one = taken(Expected("a", 15, left))
    assert taken(Expected("a", 10, left), Expected("a", 5, left, follows=True)) is one
    assert one is (DeadlineExceeded if left < 12 else None)


def test_jobs_that_follow_one_another_wait_together_for_what_goes_before() -> None:
    admission, ahead = made(one_at_a_time()), [Count("ahead", 3, deadline=10.0)]
    with pytest.raises(Overloaded, match="with what goes before 15 steps take about 18 s, 16 s are left"):
        admission.take(2, "", ahead, [Expected("a", 10, 16.0), Expected("a", 5, 16.0, follows=True)])
    admission.take(2, "", ahead, [Expected("a", 10, 19.0), Expected("a", 5, 19.0, follows=True)])


def test_one_clients_work_fills_at_most_half_of_its_patience() -> None:
    admission = made(one_at_a_time())
    mine = [Count(str(steps), steps, deadline=25.0) for steps in (5, 6)]
    for job in mine:
        job.client = "greedy"
    late = Count("mine", 2, deadline=26.0)
    late.client = "greedy"
    admission.enter(late, mine)
    more = Count("more", 5, deadline=25.0)
    more.client = "greedy"
    with pytest.raises(Overloaded) as refused:
        admission.enter(more, [*mine, late])
    assert refused.value.reason == "CLIENT_SHARE"
    other = Count("other", 2, deadline=26.0)
    other.client = "modest"
    admission.enter(other, [*mine, late])


def parts(count: int, steps: int, deadline: float, request: str) -> list[Count]:
    """Jobs of one request of one client."""
    made = [Count(f"{request}-{i}", steps, deadline=deadline) for i in range(count)]
    for job in made:
        job.client, job.request = "a client", request
    return made


def test_one_request_may_take_all_of_its_time() -> None:
    """16 pictures of 3 s, with 48 s to go: nobody else is there to leave any for."""
    admission = made(one_at_a_time())
    pictures = parts(16, 3, 48.0, "sixteen")
    for index, picture in enumerate(pictures):
        admission.enter(picture, pictures[:index])
    other = parts(1, 3, 48.0, "another")
    with pytest.raises(Overloaded) as refused:
        admission.enter(other[0], pictures)
    assert refused.value.reason == "TOO_LATE"


def test_a_request_that_leaves_itself_too_little_time_hears_that_it_is_its_own_work() -> None:
    admission = made(one_at_a_time())
    pictures = parts(16, 3, 30.0, "sixteen")
    for index, picture in enumerate(pictures[:10]):
        admission.enter(picture, pictures[:index])
    message = "bench: with other parts of its request 3 steps take about 33 s, 30 s are left"
    with pytest.raises(Overloaded, match=message) as refused:
        admission.enter(pictures[10], pictures[:10])
    assert refused.value.reason == "OWN_WORK"
    [other] = parts(1, 3, 29.0, "another")
    with pytest.raises(Overloaded) as refused:
        admission.enter(pictures[10], [*pictures[:10], other])
    assert refused.value.reason == "OWN_WORK"  # whoever else is there
    with pytest.raises(Overloaded) as refused:
        admission.enter(pictures[10], [*pictures[:9], other])
    assert refused.value.reason == "TOO_LATE"


def test_the_parts_of_one_call_hear_that_its_deadline_is_too_short() -> None:
    admission, call = made(one_at_a_time()), object()
    candidates = parts(11, 3, 30.0, "")
    for job in candidates:
        job.request = call
    for index, job in enumerate(candidates[:10]):
        admission.enter(job, candidates[:index])
    with pytest.raises(
        DeadlineExceeded, match="with other parts of its request 3 steps take about 33 s, 30 s are left"
    ):
        admission.enter(candidates[10], candidates[:10])


def test_jobs_are_parts_of_what_their_reservation_says_or_else_of_it_alone(make_bench: MakeBench) -> None:
    bench, jobs = make_bench(), [Count(name, 1) for name in "abcd"]
    for first, name in ((0, "mine"), (2, "")):
        with bench.engine.reserve(2, "", part_of=name) as room:
            for job in jobs[first : first + 2]:
                room.submit(job)
    bench.go(*jobs)
    assert [job.request for job in jobs[:2]] == ["mine", "mine"]
    assert jobs[2].request is jobs[3].request is not None
    assert not isinstance(jobs[2].request, str)


def test_many_that_share_their_steps_take_no_longer_than_these() -> None:
    costs = CostModel(max_batch=16)
    for _ in range(3):
        costs.record("a", [Count("before", 1)] * 16, 1.0)
    for left, fits in ((61.0, True), (59.0, False)):
        expected = [Expected("a", 60, left) for _ in range(16)]
        if fits:
            made(costs).take(16, "", [], expected, object())
        else:
            with pytest.raises(DeadlineExceeded):
                made(costs).take(16, "", [], expected, object())


def test_what_nobody_waits_for_any_more_stands_in_nobodys_way(make_bench: MakeBench) -> None:
    bench = make_bench(clock=lambda: 0.0, max_batch=1)
    bench.engine._costs.record("a", [Count("before", 1)], 1.0)
    gone = Count("gone", 50, deadline=60.0)
    bench.submit(gone)
    with pytest.raises(Overloaded):
        bench.submit(Count("too late", 5, deadline=10.0))
    gone.cancel()
    bench.submit(late := Count("in time", 5, deadline=10.0))
    bench.go(late)


def test_other_requests_of_a_client_count_as_its_own_and_those_of_other_clients_by_the_same_name_do_not() -> None:
    admission = made(one_at_a_time())
    [new], mine = parts(1, 3, 26.0, "new"), parts(4, 3, 25.0, "before")
    with pytest.raises(Overloaded) as refused:
        admission.enter(new, mine)
    assert refused.value.reason == "CLIENT_SHARE"
    admission.enter(new, [*mine[:3], *parts(2, 3, 25.0, "new")])
    stranger = parts(7, 3, 25.0, "new")
    for job in stranger:
        job.client = "a stranger"
    with pytest.raises(Overloaded) as refused:
        admission.enter(new, stranger)
    assert refused.value.reason == "TOO_LATE"


def test_more_rows_than_there_are_places_are_served_when_nothing_else_is() -> None:
    admission = Admission("bench", 8, Observer(), CostModel())
    admission.take(16, "one", [])
    with pytest.raises(Overloaded):
        admission.take(1, "other", [])


def test_a_refused_job_gives_its_place_back(make_bench: MakeBench) -> None:
    bench = make_bench(capacity=1, queue_limit=1)
    for _ in range(5):
        with pytest.raises(DeadlineExceeded):
            bench.submit(Count("late", 1, deadline=time.monotonic() - 1))
    job = Count("good", 1)
    bench.submit(job)
    assert bench.go(job) == ["good done"]


def test_a_client_gets_at_most_half_of_all_places(make_bench: MakeBench) -> None:
    refusals = Refusals()
    bench = make_bench(capacity=4, queue_limit=4, observer=refusals)
    submit(bench, "greedy", *[Count(str(i), 1) for i in range(4)])
    with pytest.raises(Overloaded, match="4 places are taken by this client, limit 4"):
        submit(bench, "greedy", Count("one more", 1))
    assert refusals.reasons == ["client_share"]
    modest = Count("modest", 1)
    submit(bench, "modest", modest)
    assert bench.go(modest) == ["modest done"]


def test_a_clients_single_large_request_is_not_refused_for_its_size(make_bench: MakeBench) -> None:
    bench = make_bench(capacity=2, queue_limit=6)
    jobs = [Count(str(i), 1) for i in range(6)]
    submit(bench, "one", *jobs)
    assert len(bench.go(*jobs)) == 6


def test_places_of_a_client_return_when_its_jobs_end(make_bench: MakeBench) -> None:
    bench = make_bench(capacity=2, queue_limit=4)
    for _ in range(3):
        jobs = [Count(str(i), 1) for i in range(3)]
        submit(bench, "one", *jobs)
        bench.go(*jobs)
        while bench.engine._admission.taken:
            time.sleep(0.001)


def test_when_one_client_floods_the_next_place_goes_to_another(make_bench: MakeBench) -> None:
    bench = make_bench(capacity=3, max_batch=1, queue_limit=20)  # the gate holds one of the three for now
    flood = [Count(f"flood {i}", 2) for i in range(8)]
    submit(bench, "flood", *flood)
    single = Count("single", 2)
    submit(bench, "other", single)
    bench.go(single)
    names = [name for [name] in bench.scribe.batches]
    before = set(names[: names.index("single")]) - {"single"}
    assert len(before) <= 4  # those that ran already, and not the eight that came first


@pytest.mark.parametrize(("value", "text"), [(174.2, "170 s"), (80, "80 s"), (3.14159, "3.1 s"), (0.0341, "0.034 s")])
def test_seconds_in_messages_are_as_people_write_them(value: float, text: str) -> None:
    assert brief(value) == text
