"""Of what callers send beside a request only that counts, is logged and travels on which is what it claims to be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.trace.span import TraceState

from unclip.serving.metadata import MAX_STATE, received, sanitized
from unclip.serving.request_id import TRAVELLING

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"


class Context:
    """A call with this metadata, which counts how often it was asked for it."""

    def __init__(self, *metadata: tuple[str, str | bytes]) -> None:
        self.metadata, self.asked = metadata, 0

    def invocation_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        self.asked += 1
        return self.metadata


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "x" * 10_000,
        PARENT.upper(),
        PARENT + "-more",  # of a later version only
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        PARENT + "\n",
        "café",
    ],
)
def test_a_malformed_parent_is_dropped_and_so_is_its_state(parent: str) -> None:
    assert sanitized([("traceparent", parent), ("tracestate", "a=1")]) == {}


def test_two_parents_are_none() -> None:
    assert sanitized([("traceparent", PARENT), ("traceparent", PARENT)]) == {}


def test_a_parent_of_a_later_version_goes_on_as_one_of_this() -> None:
    assert sanitized([("traceparent", f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like")]) == {"traceparent": PARENT}


def state(*values: str) -> str | None:
    """What becomes of a trace's state."""
    return sanitized([("traceparent", PARENT), *(("tracestate", value) for value in values)]).get("tracestate")


@pytest.mark.parametrize(
    "value",
    [
        *("", "a", "a=", "=1", "A=1", "a=1,a=2", "a=é", "a=1\x01", "a=b=c", "a b=1", "x" * 10_000, "," * 10_000),
        ",".join(f"k{i}=1" for i in range(33)),
        "a=" + "x" * 257,
        "a" * 257 + "=1",
    ],
)
def test_a_malformed_state_is_dropped_and_the_parent_stays(value: str) -> None:
    assert sanitized([("traceparent", PARENT), ("tracestate", value)]) == {"traceparent": PARENT}


def test_a_state_may_come_in_pieces_and_with_blanks() -> None:
    assert state("a=1 , ,b@c=x y", "9d=4") == "a=1,b@c=x y,9d=4"


def test_a_long_state_loses_its_long_members_first_and_then_the_last() -> None:
    long, short = "l=" + "x" * 200, [f"k{i:02}={'v' * 60}" for i in range(20)]
    kept = state(",".join([short[0], long, *short[1:]]))
    assert kept == ",".join(short[:7])
    assert len(kept) <= MAX_STATE


@given(st.lists(st.tuples(st.text("ab@*_-/09", min_size=1, max_size=9), st.text(" !~ab/", min_size=1, max_size=40))))
def test_what_is_passed_on_is_what_opentelemetry_reads(pairs: list[tuple[str, str]]) -> None:
    sent = ",".join(f"{key}={value}" for key, value in pairs)
    kept = state(sent) or ""
    assert len(kept) <= MAX_STATE
    read = TraceState.from_header([sent])
    assert all(read.get(key) == value for key, value in TraceState.from_header([kept]).items())


@pytest.mark.parametrize("value", ["", "a b", "x" * 129, "caf\xe9", "a\n", b"raw"])
def test_names_that_cannot_be_logged_are_dropped(value: str | bytes) -> None:
    assert sanitized([("x-request-id", value), ("x-unclip-client", value), ("anything", "else")]) == {}


def test_all_that_travels_on_together_is_small() -> None:
    most = [("x-request-id", "r" * 128), ("traceparent", PARENT), ("tracestate", "a=" + "x" * 250 + ",b=" + "y" * 240)]
    kept = sanitized(most)
    assert set(kept) == set(TRAVELLING)
    assert sum(len(key) + len(value) + 32 for key, value in kept.items()) < 1024


def test_gRPC_is_asked_once_for_the_metadata_of_a_call() -> None:
    first, second = Context(("x-request-id", "a")), Context(("x-request-id", "b"))
    for context, name in ((first, "a"), (first, "a"), (second, "b"), (second, "b")):
        assert received(context)["x-request-id"] == name  # type: ignore[arg-type]
    assert (first.asked, second.asked) == (1, 1)
