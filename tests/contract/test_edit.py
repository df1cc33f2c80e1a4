"""Known pixels stay exactly as they were sent, while the rest is painted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.contract.bad_edits import EDITED, known_pixels, mask_of, random_mask, side_of
from tests.contract.refusals import refusal
from tests.contract.requests import noise, sound
from tests.contract.services import OTHER, SAME, Method, Services, array, gap
from tests.contract.test_trajectories import SAMPLERS
from tests.contract.toys import each
from unclip.api.type.v1 import sampling_pb2, tensor_pb2

EVERY = each(lambda toy: EDITED)
KEEPING = each(lambda toy: toy.keeping)
DRAWING = each(lambda toy: [method for method in EDITED if method in toy.seeded])


def edit(services: Services, method: Method, seed: int = 0) -> Any:
    """A sound request that knows half of a picture."""
    request = sound(services, method)
    request.known.CopyFrom(known_pixels(side_of(services.toy, method), seed))
    return request


def is_kept(services: Services, method: Method, request: Any) -> bool:
    """Whether what comes back holds the known pixels, bit for bit, and others beside them."""
    result, mask = services.result(method, request), array(request.known.mask)
    pixels = array(request.known.pixels)
    return result[:, mask].tobytes() == pixels[:, mask].tobytes() and gap(result, pixels) > OTHER


@KEEPING
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 3])
def test_every_sampler_keeps_the_known_pixels_exactly(
    services: Services, method: Method, sampler: sampling_pb2.Sampler.ValueType, steps: int
) -> None:
    request = edit(services, method)
    request.sampling.sampler, request.sampling.steps = sampler, steps
    for request.known.resampling in (1, 3):
        assert is_kept(services, method, request)


@KEEPING
def test_no_pixel_outside_100_random_masks_changes(services: Services, method: Method) -> None:
    for seed in range(100):
        assert is_kept(services, method, edit(services, method, seed))


@EVERY
def test_where_nothing_is_known_all_is_painted_as_if_none_had_been_sent(services: Services, method: Method) -> None:
    request = edit(services, method)
    request.known.mask.CopyFrom(mask_of(np.zeros((side_of(services.toy, method),) * 2, bool)))
    request.known.resampling = 5
    told = [answer.progress.of for answer in services.ask(method, request) if answer.HasField("progress")]
    assert set(told) == {services.toy.steps(method, request.sampling.steps)}
    assert gap(services.result(method, request), services.result(method, sound(services, method))) < SAME


@KEEPING
def test_where_everything_is_known_the_picture_comes_back(services: Services, method: Method) -> None:
    request = edit(services, method)
    request.known.mask.CopyFrom(mask_of(np.ones((side_of(services.toy, method),) * 2, bool)))
    assert services.result(method, request).tobytes() == request.known.pixels.data


@DRAWING
def test_the_painted_part_follows_from_the_seed(services: Services, method: Method) -> None:
    request = edit(services, method)
    one, again = (services.result(method, request) for _ in range(2))
    assert gap(one, again) < SAME
    request.seed += 1
    assert gap(one, services.result(method, request)) > OTHER


@DRAWING
@pytest.mark.parametrize(("steps", "resampling", "walked"), [(1, 10, 1), (4, 1, 4), (4, 3, 10)])
def test_progress_counts_the_steps_that_are_taken_again(
    services: Services, method: Method, steps: int, resampling: int, walked: int
) -> None:
    request = edit(services, method)
    request.sampling.steps, request.known.resampling = steps, resampling
    told = [answer.progress for answer in services.ask(method, request) if answer.HasField("progress")]
    assert {progress.of for progress in told} == {walked}
    assert [p.step for p in told if p.queue_position == 0 and p.step] == list(range(1, walked + 1))


@EVERY
def test_every_rule_that_known_pixels_break_is_told_at_once(services: Services, method: Method) -> None:
    request = edit(services, method)
    request.sampling.steps, request.known.resampling = 0, 99
    request.known.pixels.CopyFrom(noise(3))
    request.known.mask.CopyFrom(mask_of(random_mask(2)))
    told = refusal(lambda: services.ask(method, request))
    assert set(told.violations) == {"sampling.steps", "known.resampling", "known.pixels.shape", "known.mask.shape"}


@KEEPING
def test_known_pixels_of_minus_zero_keep_their_sign(services: Services, method: Method) -> None:
    side = side_of(services.toy, method)
    request = edit(services, method)
    zeros = np.full((3, side, side), -0.0, "<f4").tobytes()
    pixels = tensor_pb2.Tensor(data_type=tensor_pb2.DATA_TYPE_FLOAT32, shape=[3, side, side], data=zeros)
    request.known.pixels.CopyFrom(pixels)
    assert is_kept(services, method, request)
