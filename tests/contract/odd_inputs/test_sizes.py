"""Requests of many bytes: what the contract allows is served, what it does not is refused by name and at once."""

from __future__ import annotations

import struct
import time
import zlib

import numpy as np
import pytest

from tests.contract.gateways import noise_picture, png
from tests.contract.services import Array
from tests.tiny import FINAL
from unclip import Client
from unclip.errors import InvalidRequest
from unclip.serving.settings import MAX_REQUEST_BYTES
from unclip.wire.images import MAX_BYTES, MAX_BYTES_TOGETHER


def padded(size: int, pixels: Array | None = None) -> bytes:
    """A PNG of ``size`` bytes, most of them in a chunk that is no picture."""
    data = png(noise_picture(FINAL, FINAL) if pixels is None else pixels)
    chunk = b"teXt" + b"v" * (size - len(data) - 12)
    return data[:-12] + struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[-12:]


LARGEST, MASK = padded(MAX_BYTES), np.eye(FINAL, dtype=np.bool_)


def test_a_picture_of_the_most_bytes_is_served(client: Client) -> None:
    assert len(LARGEST) == MAX_BYTES
    assert client.vary(LARGEST, seed=1)


@pytest.mark.parametrize("size", [7_000_000, MAX_BYTES])
def test_two_large_pictures_are_interpolated_and_embedded(client: Client, size: int) -> None:
    one, other = padded(size), padded(size, noise_picture(FINAL, FINAL, 4))
    assert client.interpolate(one, other, ts=[0.5], seed=1)
    assert len(client.embed(images=[one, other]).images) == 2


@pytest.mark.parametrize("size", [9_000_000, MAX_BYTES])
def test_an_edit_takes_a_large_picture_and_a_large_mask(client: Client, size: int) -> None:
    assert client.edit(padded(size), "a cat", padded(size, MASK), seed=1)


def test_sixteen_pictures_may_have_as_many_bytes_together_as_two(client: Client) -> None:
    each = padded(MAX_BYTES_TOGETHER // 16)
    assert len(client.embed(images=[each] * 16).images) == 16


@pytest.mark.parametrize("count", [3, 16])
def test_more_bytes_together_are_refused_by_their_sum_at_once(client: Client, count: int) -> None:
    began = time.monotonic()
    with pytest.raises(InvalidRequest) as refused:
        client.embed(images=[LARGEST] * count)
    assert time.monotonic() - began < 5
    [violation] = refused.value.violations
    assert violation.field == "images"
    assert violation.description == f"must be at most {MAX_BYTES_TOGETHER} bytes together; got {count * MAX_BYTES}"


@pytest.mark.parametrize("extra", [1, MAX_BYTES // 2])
def test_a_picture_of_more_bytes_is_refused_by_name(client: Client, extra: int) -> None:
    for ask in (client.vary, lambda image: client.edit(padded(100_000), "a cat", image)):
        with pytest.raises(InvalidRequest, match=f"at most {MAX_BYTES} bytes; got {MAX_BYTES + extra}"):
            ask(LARGEST + b"\0" * extra)


def test_a_request_that_is_too_large_for_other_reasons_is_refused_with_limit_and_size(client: Client) -> None:
    for caption in ("x" * MAX_REQUEST_BYTES, "x" * (40 << 20)):
        began = time.monotonic()
        with pytest.raises(InvalidRequest, match=r"request: must be at most \d+ bytes; got \d+"):
            client.generate(caption)
        assert time.monotonic() - began < 5
