"""The judges of an evaluation: what counts as found, and what guessing would find."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from training.judges import chance, cosines, equal, frechet, hits, pixel_nearness


def test_a_hit_is_a_right_answer_among_the_nearest() -> None:
    nearness = np.array([[9, 8, 7, 6, 5, 4], [9, 8, 7, 6, 5, 4], [9, 8, 7, 6, 5, 4]], np.float32)
    right = np.zeros((3, 6), np.bool_)
    right[0, 0] = right[1, 4] = right[2, 5] = True

    assert hits(nearness, right) == {"top1": pytest.approx(1 / 3), "top5": pytest.approx(2 / 3)}


def test_what_is_no_number_finds_nothing() -> None:
    nearness = np.full((3, 6), np.nan, np.float32)
    assert hits(nearness, np.eye(3, 6, dtype=np.bool_)) == {"top1": 0, "top5": 0}


def test_one_of_several_right_answers_is_enough() -> None:
    nearness = np.array([[3, 2, 1]], np.float32)

    assert hits(nearness, np.array([[True, False, True]]))["top1"] == 1
    assert hits(nearness, np.array([[False, True, True]]))["top1"] == 0


def test_who_finds_everything_equally_near_has_found_nothing() -> None:
    nearness = np.ones((4, 10), np.float32)

    assert hits(nearness, np.eye(4, 10, dtype=np.bool_)) == {"top1": 0, "top5": 0}


@pytest.mark.parametrize("answers", [1, 3])
def test_chance_is_what_random_order_hits(answers: int) -> None:
    right = np.zeros((20000, 12), np.bool_)
    right[:, :answers] = True
    nearness = np.random.default_rng(0).random(right.shape, np.float32)

    expected, found = chance(right), hits(nearness, right)

    assert expected["top1"] == pytest.approx(answers / 12)
    assert found["top1"] == pytest.approx(expected["top1"], abs=0.01)
    assert found["top5"] == pytest.approx(expected["top5"], abs=0.01)


def test_with_fewer_than_five_candidates_top5_cannot_miss() -> None:
    assert chance(np.eye(3, dtype=np.bool_))["top5"] == 1


def test_cosines_leave_length_aside() -> None:
    found = cosines(np.array([[2, 0], [0, 5]], np.float32), np.array([[7, 0], [1, 1]], np.float32))

    assert found == pytest.approx(np.array([[1, 0.5**0.5], [0, 0.5**0.5]]))


def test_the_nearest_picture_is_the_one_of_like_colours_in_like_places() -> None:
    left = np.full((64, 64, 3), 255, np.uint8)
    left[:, :32] = (200, 0, 0)
    right = left[:, ::-1]
    faded = np.clip(left.astype(int) + 20, 0, 255).astype(np.uint8)

    near = pixel_nearness(np.stack([faded]), np.stack([right, left, faded]))

    assert near[0].argsort().tolist() == [0, 1, 2]
    assert near[0, 2] == 0


def test_detail_below_the_side_that_is_compared_does_not_count() -> None:
    grain = np.indices((64, 64)).sum(axis=0) % 2 * 255
    checks = np.repeat(grain[..., None], 3, axis=2).astype(np.uint8)

    assert pixel_nearness(checks[None], 255 - checks[None])[0, 0] == 0
    assert pixel_nearness(checks[None], 255 - checks[None], side=64)[0, 0] < -1


def test_names_are_compared_each_with_each() -> None:
    assert equal(["a", "b"], ["b", "a", "b"]).tolist() == [[False, True, False], [True, False, True]]


# Fréchet distance.


def features(shift: float = 0.0, scale: float = 1.0, seed: int = 0) -> npt.NDArray[np.float32]:
    return (shift + scale * np.random.default_rng(seed).standard_normal((4000, 6))).astype(np.float32)


def test_the_distance_of_a_set_to_itself_is_nothing() -> None:
    assert frechet(features(), features()) == pytest.approx(0, abs=1e-6)


def test_a_shift_counts_by_its_square() -> None:
    assert frechet(features(), features(shift=2.0)) == pytest.approx(6 * 2.0**2, rel=1e-4)


def test_a_wider_spread_counts_by_the_difference_of_deviations() -> None:
    assert frechet(features(), features(scale=3.0)) == pytest.approx(6 * (3.0 - 1.0) ** 2, rel=0.05)


def test_two_draws_of_one_distribution_are_near_and_the_distance_is_mutual() -> None:
    there, back = frechet(features(), features(seed=1)), frechet(features(seed=1), features())

    assert there == pytest.approx(back)
    assert there < 0.02


def test_fewer_pictures_than_dimensions_are_measured_too() -> None:
    few = np.random.default_rng(2).standard_normal((5, 32)).astype(np.float32)

    assert frechet(few, few + 1) == pytest.approx(32, rel=1e-3)
