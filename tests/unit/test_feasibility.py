"""Whether work can end when it must: no clock but the one that is passed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unclip.engine.feasibility import CLIENT_PART, PROMISED, MinimumTime, Work, overdue, refusal

works = st.builds(Work, seconds=st.floats(0.01, 5), deadline=st.floats(0.1, 30))


def lateness(kept: list[Work]) -> list[float]:
    """How late each is, the earliest deadline first."""
    total, late = 0.0, []
    for work in sorted(kept, key=lambda work: work.deadline):
        total += work.seconds
        late.append(total - work.deadline)
    return late


def test_alone_it_is_always_tried() -> None:
    assert refusal(Work(100.0, 1.0, least=100.0), [], 0.0) is None


def test_what_goes_before_may_take_so_much_of_the_time_left() -> None:
    spare = 10.0
    new = Work(2.0, spare + 2.0)
    assert refusal(new, [Work(PROMISED * spare - 0.01, 1.0)], 0.0) is None
    found = refusal(new, [Work(PROMISED * spare + 0.5, 1.0)], 0.0)
    assert found is not None
    assert found.reason == "TOO_LATE"
    assert found.wait == pytest.approx(0.5)
    assert found.ahead == pytest.approx(PROMISED * spare + 2.5)


def test_later_stages_go_before_earlier_deadlines() -> None:
    upsampling = Work(9.0, 100.0, rank=1)
    assert refusal(Work(1.0, 10.0), [upsampling], 0.0) is not None
    assert refusal(Work(1.0, 10.0, rank=1), [Work(9.0, 9.5)], 0.0) is None


def test_earlier_stages_take_nothing_from_later_ones() -> None:
    assert refusal(Work(1.0, 4.0, least=9.0, rank=1), [Work(1.0, 5.0)], 0.0) is None
    assert refusal(Work(1.0, 4.0, least=9.0, rank=1), [Work(1.0, 5.0, rank=1)], 0.0) is not None


def test_whoever_shares_the_device_ends_later_than_alone() -> None:
    before = [Work(3.0, 1.0)]
    assert refusal(Work(1.0, 6.0), before, 0.0) is None
    assert refusal(Work(1.0, 6.0, least=5.0), before, 0.0) is not None


def test_a_client_may_fill_part_of_its_patience_and_others_the_rest() -> None:
    mine = [Work(CLIENT_PART * 10 + 0.1, 1.0, client="a")]
    found = refusal(Work(1.0, 11.0, client="a"), mine, 0.0)
    assert found is not None
    assert found.reason == "CLIENT_SHARE"
    assert refusal(Work(1.0, 11.0, client="b"), mine, 0.0) is None
    assert refusal(Work(1.0, 11.0), [Work(CLIENT_PART * 10 + 0.1, 1.0)], 0.0) is None  # nobody's in particular


def test_many_rows_are_known_by_passes_of_many_and_where_there_are_none_by_the_largest() -> None:
    least = MinimumTime()
    least.note(2, 0.5, 0.0)
    assert [least.of(rows, 0.0) for rows in (1, 2, 16)] == [0.25, 0.5, 0.5]
    least.note(10, 2.0, 0.0)
    least.note(20, 3.0, 0.0)
    told = [least.of(rows, 0.0) for rows in (2, 4, 5, 16, 50)]
    assert told == pytest.approx([0.3, 0.5, 0.75, 2.0, 2.0])


def test_parts_of_one_request_leave_nothing_to_spare_among_themselves() -> None:
    new = Work(2.0, 12.0, client="a", request="r")
    mine = [Work(9.0, 11.0, client="a", request="r")]
    assert refusal(new, mine, 0.0) is None
    found = refusal(new, [Work(11.0, 11.0, client="a", request="r")], 0.0)
    assert found is not None
    assert (found.reason, found.ahead, found.wait) == ("OWN_WORK", 13.0, 1.0)
    behind = Work(10.0, 13.0, client="a", request="r")
    assert refusal(new, [behind], 0.0) is None
    found = refusal(new, [Work(2.0, 11.9, client="a", request="r"), behind], 0.0)
    assert found is not None
    assert found.reason == "OWN_WORK"
    assert refusal(new, [Work(11.0, 20.0, rank=-1, client="a", request="r")], 0.0) is None  # it goes after all of them


def test_what_other_requests_may_take_is_of_the_time_that_its_own_leave_a_newcomer() -> None:
    new = Work(2.0, 12.0, least=8.0, client="a", request="r")
    mine = [Work(9.0, 11.0, client="a", request="r")]
    for client, request in (("a", ""), ("b", "r"), ("b", None)):
        for seconds, deadline, fits in ((0.1, 50.0, True), (0.5, 5.0, True), (0.9, 5.0, False)):
            found = refusal(new, [*mine, Work(seconds, deadline, client=client, request=request)], 0.0)
            assert (found is None) == fits
            assert found is None or found.reason == "TOO_LATE"
    behind = [Work(5.0, 18.0, least=18.0, client="a", request="r"), Work(1.0, 100.0)]
    assert refusal(Work(2.0, 12.0, client="a", request="r"), [*mine[:0], *behind], 0.0) is None


def test_passes_of_another_size_tell_that_things_are_quick_again() -> None:
    for slow, quick in ((16, 2), (2, 16), (16, 1)):
        least = MinimumTime()
        least.note(slow, 50.0, 0.0)
        assert least.of(slow, 0.0) == 50.0
        least.note(quick, 0.01, 1.0)
        assert least.of(slow, 1.0) <= 0.01 * max(1.0, slow / quick)
        assert least.of(slow, 1.0, since=1.0) > 0 == least.of(slow, 1.0, since=1.1)


def test_who_stands_in_front_has_lower_bounds() -> None:
    before = [Work(7.0, 1.0)]
    assert refusal(Work(1.0, 11.0), before, 0.0) is None
    assert refusal(Work(1.0, 11.0), before, 0.0, part=0.8) is not None


@given(st.lists(works, max_size=12), works)
def test_a_newcomer_makes_nobody_late_that_was_in_time(others: list[Work], new: Work) -> None:
    if refusal(new, others, 0.0) is None and others:
        assert sum(late > 1e-9 for late in lateness([*others, new])) <= sum(late > 0 for late in lateness(others))


@given(st.lists(works.filter(lambda work: work.seconds <= work.deadline), max_size=8))
def test_as_few_are_given_up_as_can_be(here: list[Work]) -> None:
    given_up = set(overdue(here, [True] * len(here), 0.0))
    kept = [work for index, work in enumerate(here) if index not in given_up]
    assert all(late <= 1e-9 for late in lateness(kept))
    most = max(
        (len(some) for some in subsets(here) if all(late <= 1e-9 for late in lateness(some))),
        default=0,
    )
    assert len(kept) >= most


def subsets(here: list[Work]) -> list[list[Work]]:
    found: list[list[Work]] = [[]]
    for work in here:
        found += [[*some, work] for some in found]
    return found


def test_what_has_begun_is_not_given_up_for_what_has_not() -> None:
    begun, waiting = Work(5.0, 6.0), Work(2.0, 5.0)
    assert overdue([begun, waiting], [False, True], 0.0) == [1]
    assert overdue([begun, waiting], [False, False], 0.0) == []
