"""Of many pictures those are kept, in order, that lie closest to the caption; no more are at work than may be."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from gateway.capabilities.compose import FRAMES_AT_ONCE
from gateway.capabilities.ranking import best, cosine, deliver_best, pixels_in, png
from gateway.events import Finished, events_of
from gateway.stages.clients import batches
from tests.unit.test_gateway_compositions import RecordingStages
from unclip.errors import Overloaded
from unclip.wire.embeddings import Embedding
from unclip.wire.stage_reading import Float32Array

CAPTION = Embedding(np.array([3.0, 0.0], np.float32), "clip")


class SeeingStages(RecordingStages):
    """CLIP sees how bright a picture is: the brighter, the further from the caption."""

    async def encode_images(self, images: Sequence[bytes]) -> list[Embedding]:
        angles = [float(pixels_in(image).mean() + 1) for image in images]
        return [Embedding(np.array([np.cos(a), np.sin(a)], np.float32), "clip") for a in angles]


def grey(level: int) -> Float32Array:
    """A picture in one of 256 levels of grey."""
    return np.full((3, 4, 4), level / 127.5 - 1, np.float32)


async def kept(levels: Sequence[int], keep: int) -> list[Finished]:
    async def make(row: int) -> Float32Array:
        return grey(levels[row])

    work = events_of(lambda queue: deliver_best(make, len(levels), keep, CAPTION, SeeingStages(), queue))
    return [event async for event in work if isinstance(event, Finished)]


async def test_the_closest_are_kept_best_first_with_their_scores() -> None:
    finished = await kept([200, 0, 100, 50], 3)
    assert [(picture.image_index, picture.row) for picture in finished] == [(0, 1), (1, 3), (2, 2)]
    expected = [np.cos(level / 127.5) for level in (0, 50, 100)]
    assert [picture.score for picture in finished] == pytest.approx(expected, abs=1e-6)


async def test_a_kept_picture_has_the_pixels_that_were_made() -> None:
    made = np.random.default_rng(0).integers(0, 256, (3, 5, 7)).astype(np.float32) / np.float32(127.5) - 1
    assert np.abs(pixels_in(png(made)) - made).max() < 1e-6


async def test_of_equal_pictures_the_first_comes_first() -> None:
    assert [picture.row for picture in await kept([9, 5, 5, 5], 2)] == [1, 2]


async def test_no_more_are_made_at_once_than_leave_room_for_others() -> None:
    running, most = 0, 0

    async def make(row: int) -> Float32Array:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.002)
        running -= 1
        return grey(row)

    _ = [event async for event in events_of(lambda queue: deliver_best(make, 40, 1, CAPTION, SeeingStages(), queue))]
    assert most == FRAMES_AT_ONCE


async def test_a_candidate_that_fails_fails_the_request() -> None:
    async def make(row: int) -> Float32Array:
        if row == 3:
            raise Overloaded("full", 1.0)
        return grey(row)

    with pytest.raises(Overloaded):
        _ = [event async for event in events_of(lambda queue: deliver_best(make, 5, 1, CAPTION, SeeingStages(), queue))]


def test_the_best_of_none_are_none() -> None:
    assert best([], 3) == []


def test_nothing_points_nowhere() -> None:
    assert cosine(Embedding(np.zeros(2, np.float32), "clip"), CAPTION) == 0
    assert cosine(CAPTION, CAPTION) == 1


def test_files_travel_in_batches_of_so_many_and_so_large() -> None:
    files = [b"xx"] * 5 + [b"yyyy"]
    assert batches(files, most=100, count=4) == [[b"xx"] * 4, [b"xx", b"yyyy"]]
    assert batches(files, most=4, count=4) == [[b"xx"] * 2, [b"xx"] * 2, [b"xx"], [b"yyyy"]]
    assert batches([b"too large"], most=4, count=4) == [[b"too large"]]
