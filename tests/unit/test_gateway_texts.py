"""Captions met before are not encoded again, within the memory allowed, and only for the CLIP that encoded them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from gateway.texts import TextCache, size
from unclip.errors import Unavailable
from unclip.wire.embeddings import Embedding, TextEncoding


def encoding(caption: str, space: str = "one") -> TextEncoding:
    values = np.full(4, len(caption), np.float32)
    return TextEncoding(Embedding(values, space), np.zeros((3, 2), np.float32), np.ones(3, np.bool_))


SIZE = size(encoding(""))


class Encoder:
    """Remembers what it was asked."""

    def __init__(self, space: str = "one") -> None:
        self.space = space
        self.asked: list[list[str]] = []

    async def __call__(self, captions: Sequence[str]) -> list[TextEncoding]:
        self.asked.append(list(captions))
        return [encoding(caption, self.space) for caption in captions]


async def test_a_caption_is_asked_for_once_and_answers_keep_their_order() -> None:
    ask, cache = Encoder(), TextCache(10 * SIZE).of("one")
    await cache.encode(["a"], ask)
    found = await cache.encode(["ccc", "a", "bb", "a"], ask)
    assert ask.asked == [["a"], ["ccc", "bb"]]
    assert [e.embedding.values[0] for e in found] == [3, 1, 2, 1]


async def test_what_was_not_used_for_longest_goes_when_there_is_too_much() -> None:
    ask, cache = Encoder(), TextCache(2 * SIZE).of("one")
    for caption in ("a", "b", "a", "c", "a", "b"):
        await cache.encode([caption], ask)
    assert ask.asked == [["a"], ["b"], ["c"], ["b"]]


async def test_nothing_is_kept_where_nothing_may_be() -> None:
    ask, cache = Encoder(), TextCache(0).of("one")
    for _ in range(2):
        assert len(await cache.encode(["a"], ask)) == 1
    assert ask.asked == [["a"], ["a"]]


async def test_another_clip_begins_anew() -> None:
    ask, cache = Encoder(), TextCache(10 * SIZE)
    await cache.of("one").encode(["a"], ask)
    ask.space = "other"
    [found] = await cache.of("other").encode(["a"], ask)
    assert found.embedding.clip_space == "other"
    assert len(ask.asked) == 2


async def test_an_encoder_replaced_between_two_calls_leaves_nothing_behind() -> None:
    ask, cache = Encoder("other"), TextCache(10 * SIZE).of("one")
    await cache.encode(["a"], ask)
    ask.space = "one"
    [found] = await cache.encode(["a"], ask)
    assert found.embedding.clip_space == "one"


async def test_a_failure_is_passed_on_and_not_kept() -> None:
    async def fail(captions: Sequence[str]) -> list[TextEncoding]:
        raise Unavailable("encoder", "down")

    cache = TextCache(10 * SIZE).of("one")
    with pytest.raises(Unavailable):
        await cache.encode(["a"], fail)
    assert len(await cache.encode(["a"], Encoder())) == 1
