"""What of source pictures goes into a manifest, and the room that it may take in an answer."""

from __future__ import annotations

import zlib

import pytest

from gateway.admission.unread import largest_answer
from gateway.requests.marking import Marking, Origin, ingredient, source_type_of
from tests.unit.gateway_plans import generate_plan, png, vary_plan
from unclip.errors import InvalidRequest
from unclip.serving.channels import MAX_MESSAGE
from unclip.serving.signing import MAX_RETAINED, MAX_SIGNATURE
from unclip.wire.marks import COMPOSITE, TRAINED


def with_manifest(size: int) -> bytes:
    """A PNG with a chunk for a manifest of ``size`` bytes."""
    data, body = png().data, bytes(size)
    return (
        data[:33] + size.to_bytes(4, "big") + b"caBX" + body + zlib.crc32(b"caBX" + body).to_bytes(4, "big") + data[33:]
    )


def test_what_begins_with_a_picture_is_a_composite() -> None:
    assert source_type_of(generate_plan(caption="a cat")) == TRAINED
    assert source_type_of(vary_plan(image=png())) == COMPOSITE


@pytest.mark.parametrize(("size", "kept"), [(0, False), (1, True), (MAX_RETAINED, True), (MAX_RETAINED + 1, False)])
def test_a_source_is_kept_where_it_has_manifests_that_are_not_too_large(size: int, kept: bool) -> None:
    data = with_manifest(size)
    found = ingredient(data, "the source")
    assert found.data == (data if kept else b"")
    assert (found.media_type, len(found.digest)) == ("image/png", 64)


def test_room_is_held_for_what_signing_adds() -> None:
    sources = (ingredient(with_manifest(1000), "the source"), ingredient(png().data, "the mask"))
    origin = Origin(COMPOSITE, sources)
    assert origin.size == MAX_SIGNATURE + 2000
    assert Marking().largest(origin) == 0
    plan = vary_plan(image=png(), image_count=3)
    assert largest_answer(plan, (64, 64), origin.size) == largest_answer(plan, (64, 64)) + 3 * origin.size
    with pytest.raises(InvalidRequest, match="must ask for at most 2 pictures"):
        largest_answer(plan, (64, 64), MAX_MESSAGE // 3)
