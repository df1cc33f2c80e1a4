"""Captions met before are not encoded again, within the memory allowed, and only for the version that encoded them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from gateway.stages.text_cache import TextCache, size
from unclip.errors import Unavailable
from unclip.wire.embeddings import Embedding, TextEncoding
from unclip.wire.notices import caption_cut


def encoding(caption: str, space: str = "one") -> TextEncoding:
    values = np.full(4, len(caption), np.float32)
    return TextEncoding(Embedding(values, space), np.zeros((3, 2), np.float32), np.ones(3, np.bool_))


SIZE = size(encoding(""))


class Encoder:
    """Remembers what it was asked."""

    def __init__(self) -> None:
        self.space = "one"
        self.asked: list[list[str]] = []

    async def __call__(self, captions: Sequence[str]) -> list[TextEncoding]:
        self.asked.append(list(captions))
        return [encoding(caption, self.space) for caption in captions]


async def test_a_caption_is_asked_for_once_and_answers_keep_their_order() -> None:
    ask, cache = Encoder(), TextCache(10 * SIZE)
    await cache.encode(["a"], "v1", ask)
    found = await cache.encode(["ccc", "a", "bb", "a"], "v1", ask)
    assert ask.asked == [["a"], ["ccc", "bb"]]
    assert [e.embedding.values[0] for e in found] == [3, 1, 2, 1]


async def test_what_was_not_used_for_longest_goes_when_there_is_too_much() -> None:
    ask, cache = Encoder(), TextCache(2 * SIZE)
    for caption in ("a", "b", "a", "c", "a", "b"):
        await cache.encode([caption], "v1", ask)
    assert ask.asked == [["a"], ["b"], ["c"], ["b"]]


async def test_nothing_is_kept_where_nothing_may_be() -> None:
    ask, cache = Encoder(), TextCache(0)
    for _ in range(2):
        assert len(await cache.encode(["a"], "v1", ask)) == 1
    assert ask.asked == [["a"], ["a"]]


async def test_each_version_of_the_encoder_has_encodings_of_its_own() -> None:
    """Calls of both run side by side while weights are replaced."""
    ask, cache = Encoder(), TextCache(10 * SIZE)
    spaces = []
    for version, ask.space in (("v1", "one"), ("v2", "other"), ("v1", "none"), ("v2", "none")):
        [found] = await cache.encode(["a"], version, ask)
        spaces.append(found.embedding.clip_space)
    assert spaces == ["one", "other", "one", "other"]
    assert len(ask.asked) == 2


async def test_what_there_was_to_say_of_a_caption_is_said_each_time_and_counts_as_memory() -> None:
    told = caption_cut("captions[0]", 9, 1, "long " * 50)

    async def ask(captions: Sequence[str]) -> list[TextEncoding]:
        return [replace(encoding(caption), notices=(told,)) for caption in captions]

    cache = TextCache(10 * SIZE + 1000)
    for _ in range(2):
        [found] = await cache.encode(["a"], "v1", ask)
        assert found.notices == (told,)
    assert size(found) > SIZE + 250


async def test_a_failure_is_passed_on_and_not_kept() -> None:
    async def fail(captions: Sequence[str]) -> list[TextEncoding]:
        raise Unavailable("encoder", "down")

    cache = TextCache(10 * SIZE)
    with pytest.raises(Unavailable):
        await cache.encode(["a"], "v1", fail)
    assert len(await cache.encode(["a"], "v1", Encoder())) == 1


async def test_the_null_picture_is_asked_for_once_of_each_version_and_goes_like_captions() -> None:
    asked = list[str]()

    def ask(version: str) -> Callable[[], Awaitable[Embedding]]:
        async def null() -> Embedding:
            asked.append(version)
            return Embedding(np.zeros(4, np.float32), version)

        return null

    cache = TextCache(SIZE + 16)
    for version in ("v1", "v1", "v2", "v1"):
        assert (await cache.null_picture(version, ask(version))).clip_space == version
    assert asked == ["v1", "v2"]
    for caption in ("a", "b"):
        await cache.encode([caption], "v1", Encoder())
    await cache.null_picture("v2", ask("v2"))
    assert asked == ["v1", "v2", "v2"]
