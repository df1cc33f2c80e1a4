"""The prior keeps the best of its candidates."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.contract.requests import UNGUIDED, sound
from tests.contract.services import OTHER, SAME, Services, array, gap
from tests.contract.toys import TOYS
from unclip.api.prior.v1 import prior_pb2

FAMILIES = tuple(TOYS)


def sampled(services: Services, candidates: int | None) -> prior_pb2.SampledEmbedding:
    request = sound(services, "sample")
    if candidates is not None:
        request.candidates = candidates
    answer: prior_pb2.SampleResponse = services.ask("sample", request)[-1]
    return answer.sampled


def test_the_embedding_is_of_the_texts_clip(services: Services) -> None:
    assert sampled(services, 1).embedding.clip_space == services.text("a cat").embedding.clip_space


def test_the_score_is_the_dot_product_with_the_text_embedding(services: Services) -> None:
    best = sampled(services, 3)
    expected = array(best.embedding.values) @ array(services.text("a cat").embedding.values)
    assert best.score == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_one_candidate_is_the_default(services: Services) -> None:
    one, unset = sampled(services, 1), sampled(services, None)
    assert one.candidate == unset.candidate == 0
    assert gap(array(one.embedding.values), array(unset.embedding.values)) < SAME


def test_more_candidates_score_no_worse(services: Services) -> None:
    results = [sampled(services, count) for count in (1, 2, 4, 16)]
    scores = [result.score for result in results]
    assert all(before <= after + SAME for before, after in pairwise(scores))
    assert scores[-1] > scores[0] + OTHER  # each candidate has noise of its own
    assert all(result.candidate < count for result, count in zip(results, (1, 2, 4, 16), strict=True))


def test_without_guidance_the_unconditional_text_does_not_matter(services: Services) -> None:
    request = sound(services, "sample")
    request.sampling.CopyFrom(UNGUIDED)
    given = services.result("sample", request)
    request.ClearField("unconditional_text")
    assert gap(given, services.result("sample", request)) < SAME


def test_guidance_and_caption_matter(services: Services) -> None:
    request = sound(services, "sample")
    guided = services.result("sample", request)
    request.sampling.guidance_scale = 1
    assert gap(guided, services.result("sample", request)) > OTHER
    request = sound(services, "sample")
    request.text.CopyFrom(services.text("a dog"))
    assert gap(guided, services.result("sample", request)) > OTHER
