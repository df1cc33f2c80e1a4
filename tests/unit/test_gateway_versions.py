"""Which version of each stage is served follows from who is there, and every gateway comes to the same."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from gateway.stages.versions import best_set, clip_mismatch, lost_stages, replica_counts, versions_of
from tests.unit.gateway_models import reported_by
from unclip.api.type.v1 import model_info_pb2
from unclip.options import SERVICES, ServiceName

Replicas = dict[ServiceName, dict[str, model_info_pb2.ModelInfo]]
A: dict[ServiceName, str] = dict.fromkeys(SERVICES, "a")
B: dict[ServiceName, str] = dict.fromkeys(SERVICES, "b")
CLIPS = {"a": "one", "b": "other", "c": "one"}  # c is another version of the same CLIP


def census(every: str, /, **others: str) -> Replicas:
    """Replicas by their versions, a letter each, such as "aab"; those of earlier letters have been there longer."""
    words = {service: others.get(service, every) for service in SERVICES}
    return {
        service: {
            f"{service}-{number}": reported_by(service, version, CLIPS[version], f"{service}-{number}", ord(version))
            for number, version in enumerate(word)
        }
        for service, word in words.items()
    }


def served(found: Replicas, before: Mapping[ServiceName, str] | None = None) -> dict[ServiceName, str] | None:
    best = best_set(found, before or {})
    return None if best is None else versions_of(best)


def test_one_version_is_served() -> None:
    assert served(census("aa")) == A


@pytest.mark.parametrize("before", [A, B, None])
def test_nothing_is_served_while_a_stage_is_missing(before: dict[ServiceName, str] | None) -> None:
    found = census("aa")
    found["prior"] = {}
    assert served(found, before) is None


@pytest.mark.parametrize("decoder", ["aac", "ac", "aaaaaaaaac"])
def test_a_stranger_among_a_stages_replicas_is_left_out(decoder: str) -> None:
    assert served(census("a", decoder=decoder), A) == A
    assert served(census("a", decoder=decoder)) == A


@pytest.mark.parametrize("decoder", ["acc", "accccccccc"])
def test_a_version_that_most_replicas_have_is_served(decoder: str) -> None:
    assert served(census("a", decoder=decoder), A) == {**A, "decoder": "c"}


def test_an_encoder_of_another_clip_is_left_out_since_no_other_stage_speaks_it() -> None:
    assert served(census("a", encoder="ab")) == A
    assert served(census("a", encoder="abbbb")) == A


def test_another_clip_is_served_by_all_stages_or_by_none() -> None:
    """Decoder first: nothing moves until the last stage can."""
    for found in (
        census("aa", decoder="aab"),
        census("aa", decoder="aabb"),
        census("aa", decoder="aabb", prior="aabb"),
        census("aa", decoder="aabb", prior="aabb", upsampler="aabb"),
        census("aabb"),  # as good: what is served stays
    ):
        assert served(found, A) == A
    assert served(census("aabb", decoder="abb"), A) == B  # the first of the old ones goes
    assert served(census("aabb", decoder="abb"), B) == B
    assert served(census("abb"), B) == B


def test_an_upsampler_sees_no_clip_and_moves_by_itself() -> None:
    assert served(census("aa", upsampler="abb"), A) == {**A, "upsampler": "b"}
    assert served(census("aa", upsampler="aab"), A) == A


def test_the_rarest_stage_decides() -> None:
    assert served(census("abb", prior="aaab", upsampler="a"), A) == A  # a third against a quarter
    assert served(census("abbbb", prior="aab"), A) == B  # a fifth against a third


def test_stages_of_one_checkpoint_move_together_where_that_is_as_good() -> None:
    """An upsampler sees no CLIP, and might as well stay behind."""
    assert served(census("abb", upsampler="aabb"), A) == B
    assert served(census("aa", upsampler="ab"), {**A, "upsampler": "b"}) == A
    unchanged = census("abb")
    for number, replica in enumerate(unchanged["upsampler"].values()):
        replica.version = "same"
        assert replica.checkpoint == "abb"[number]
    assert served(unchanged, {**A, "upsampler": "same"}) == {**B, "upsampler": "same"}


def test_what_can_no_longer_be_served_gives_way_to_what_can() -> None:
    found = census("aab", encoder="b")
    assert served(found, A) == {**B, "upsampler": "a"}
    assert lost_stages(found, A) == ["encoder"]
    assert lost_stages(census("aab"), A) == []


def test_a_stage_that_is_not_there_is_not_lost_to_another_version() -> None:
    found = census("aab")
    found["decoder"] = {}
    assert lost_stages(found, A) == []


def test_a_gateway_that_starts_amid_equals_serves_the_older_one() -> None:
    assert served(census("aabb")) == A
    assert served(census("aabb"), B) == B
    assert served(census("a", decoder="ca")) == A


def test_stages_of_different_clips_alone_are_no_set() -> None:
    found = census("a", decoder="b")
    assert served(found) is None
    assert clip_mismatch(found) == "encoder one, prior one, decoder other"


def test_replicas_are_counted_by_version() -> None:
    assert replica_counts(census("a", decoder="aab")) == {
        ("encoder", "a"): 1,
        ("prior", "a"): 1,
        ("decoder", "a"): 2,
        ("decoder", "b"): 1,
        ("upsampler", "a"): 1,
    }


def test_many_versions_are_weighed_in_no_time() -> None:
    found = census("a")
    for service in SERVICES:
        for number in range(200):
            found[service][f"more-{number}"] = reported_by(service, f"v{number}", f"clip{number}", f"more-{number}")
    assert served(found, A) == A
