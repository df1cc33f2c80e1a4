"""Slerp rotates by a share of the angle, keeps length, and is defined where the angle has no plane."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gateway.capabilities.slerp import Float64Array, normalise, slerp

component = st.floats(-100, 100, allow_nan=False, width=32)
vectors = hnp.arrays(np.float64, 8, elements=component).filter(lambda v: np.linalg.norm(v) > 1e-3)
shares = st.floats(0, 1)


def angle(a: Float64Array, b: Float64Array) -> float:
    """Angle in radians, exact for small ones too (Kahan)."""
    a, b = normalise(a), normalise(b)
    return float(2 * np.arctan2(np.linalg.norm(a - b), np.linalg.norm(a + b)))


@given(vectors, vectors)
def test_it_begins_at_start_and_ends_in_the_direction_of_end(start: Float64Array, end: Float64Array) -> None:
    np.testing.assert_array_equal(slerp(start, end, 0.0), start)
    assert angle(slerp(start, end, 1.0), end) < 1e-7


@given(vectors, vectors, shares)
def test_it_keeps_the_length_of_start(start: Float64Array, end: Float64Array, t: float) -> None:
    assert np.linalg.norm(slerp(start, end, t)) == pytest.approx(np.linalg.norm(start), rel=1e-12)


@given(vectors, vectors, shares)
def test_it_turns_by_the_share_of_the_angle(start: Float64Array, end: Float64Array, t: float) -> None:
    assert angle(start, slerp(start, end, t)) == pytest.approx(t * angle(start, end), abs=1e-7)


@given(vectors, vectors, shares, st.floats(1e-3, 1e3))
def test_the_length_of_end_does_not_matter(start: Float64Array, end: Float64Array, t: float, scale: float) -> None:
    np.testing.assert_allclose(slerp(start, end * scale, t), slerp(start, end, t), rtol=1e-6, atol=1e-6)


@given(vectors, shares)
def test_opposite_directions_pass_through_one_and_the_same_plane(start: Float64Array, t: float) -> None:
    once, again = slerp(start, -start, t), slerp(start.copy(), -3 * start, t)
    np.testing.assert_allclose(once, again, rtol=1e-9, atol=1e-9)
    assert angle(start, once) == pytest.approx(t * np.pi, abs=1e-7)


def test_half_way_between_opposites_is_at_a_right_angle_along_the_smallest_axis() -> None:
    np.testing.assert_allclose(slerp([2.0, 0.0, 0.0], [-5.0, 0.0, 0.0], 0.5), [0.0, 2.0, 0.0], atol=1e-12)


@given(vectors, shares, st.floats(-1e-9, 1e-9))
def test_nearly_parallel_directions_stay_near_start(start: Float64Array, t: float, nudge: float) -> None:
    end = start.copy()
    end[0] += nudge
    np.testing.assert_allclose(slerp(start, end, t), start, rtol=1e-5, atol=1e-8)


@given(vectors, shares)
def test_a_zero_end_leaves_start_alone(start: Float64Array, t: float) -> None:
    np.testing.assert_array_equal(slerp(start, np.zeros_like(start), t), start)


def test_a_zero_start_stays_zero() -> None:
    np.testing.assert_array_equal(slerp(np.zeros(4), np.ones(4), 0.5), np.zeros(4))


@pytest.mark.parametrize("size", [1e-300, 1e-30, 1e30, 1e200])
def test_normalise_survives_extreme_lengths(size: float) -> None:
    np.testing.assert_allclose(normalise(np.array([3.0, 4.0]) * size), [0.6, 0.8], rtol=1e-12)


def test_known_quarter_turn() -> None:
    np.testing.assert_allclose(slerp([2.0, 0.0], [0.0, 7.0], 0.5), [np.sqrt(2), np.sqrt(2)], rtol=1e-12)
