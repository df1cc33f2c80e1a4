"""Noise: Philox against its published vectors, normal numbers against their distribution, rows against each other."""

from __future__ import annotations

import math
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unclip.diffusion.noise import NoiseKey, Stream, gaussian, philox

WORD = st.integers(0, 2**32 - 1)
SEED = st.integers(-(2**63), 2**63 - 1)
KEYS = st.builds(NoiseKey, SEED, st.sampled_from(Stream), st.integers(0, 7), st.integers(0, 1000))


def philox_in_integers(counter: list[int], key: list[int]) -> list[int]:
    """Salmon et al. 2011, section 3.3 and table 2, in unbounded integers."""
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for _ in range(10):
        first, second = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (
            (second >> 32) ^ c1 ^ k0,
            second % 2**32,
            (first >> 32) ^ c3 ^ k1,
            first % 2**32,
        )
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return [c0, c1, c2, c3]


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
    ids=["zeros", "ones", "pi"],
)
def test_philox_gives_the_known_answers_of_random123(counter: str, key: str, expected: str) -> None:
    def words(text: str) -> list[int]:
        return [int(word, 16) for word in text.split()]

    assert philox(torch.tensor(words(counter)), torch.tensor(words(key))).tolist() == words(expected)
    assert philox_in_integers(words(counter), words(key)) == words(expected)


@given(counter=st.lists(WORD, min_size=4, max_size=4), key=st.lists(WORD, min_size=2, max_size=2))
def test_philox_never_overflows(counter: list[int], key: list[int]) -> None:
    assert philox(torch.tensor(counter), torch.tensor(key)).tolist() == philox_in_integers(counter, key)


@given(key=KEYS, count=st.integers(1, 9))
def test_noise_is_box_muller_of_counted_blocks_under_the_seed(key: NoiseKey, count: int) -> None:
    """The layout is a promise: a recipe kept for years must draw the same picture."""
    expected: list[float] = []
    for block in range(3):
        counter = [block, 0, key.step, (int(key.stream) << 16) + key.row]
        words = philox_in_integers(counter, [key.seed % 2**32, (key.seed >> 32) % 2**32])
        for one, two in (words[:2], words[2:]):
            radius, angle = math.sqrt(-2 * math.log((one + 1) / 2**32)), 2 * math.pi * (two + 1) / 2**32
            expected += [radius * math.cos(angle), radius * math.sin(angle)]
    drawn = gaussian([key], [count])[0]
    np.testing.assert_allclose(drawn.numpy(), np.array(expected[:count], np.float32), rtol=1e-6, atol=1e-7)


@given(keys=st.lists(KEYS, min_size=1, max_size=6), data=st.data())
def test_a_rows_noise_does_not_depend_on_its_batch(keys: list[NoiseKey], data: st.DataObject) -> None:
    row = data.draw(st.integers(0, len(keys) - 1))
    torch.testing.assert_close(gaussian(keys, (3, 5))[row], gaussian([keys[row]], (3, 5))[0], rtol=0, atol=0)


@given(first=KEYS, second=KEYS)
def test_keys_that_differ_anywhere_draw_different_noise(first: NoiseKey, second: NoiseKey) -> None:
    one, two = gaussian([first, second], (8,))
    assert torch.equal(one, two) == (first == second)


@pytest.mark.parametrize(
    "other",
    [
        NoiseKey(1, Stream.DECODER, 0, 0),
        NoiseKey(2**32, Stream.DECODER, 0, 0),
        NoiseKey(0, Stream.PRIOR, 0, 0),
        NoiseKey(0, Stream.DECODER, 1, 0),
        NoiseKey(0, Stream.DECODER, 0, 1),
    ],
    ids=["seed", "high half of the seed", "stream", "row", "step"],
)
def test_noise_of_neighbouring_keys_is_uncorrelated(other: NoiseKey) -> None:
    count = 40_000
    one, two = gaussian([NoiseKey(0, Stream.DECODER, 0, 0), other], (count,)).numpy()
    assert abs(float(np.corrcoef(one, two)[0, 1])) < 5 / math.sqrt(count)


def test_noise_is_normal() -> None:
    count = 200_000
    drawn: npt.NDArray[np.float64] = np.sort(gaussian([NoiseKey(3, Stream.UPSAMPLER, 0, 5)], (count,))[0].double())
    assert abs(drawn.mean()) < 5 / math.sqrt(count)
    assert abs(drawn.var() - 1) < 5 * math.sqrt(2 / count)
    assert abs((drawn**3).mean()) < 5 * math.sqrt(15 / count)
    assert abs((drawn**4).mean() - 3) < 5 * math.sqrt(96 / count)
    # Kolmogorov-Smirnov: the largest gap to the normal distribution stays under its 0.1 % critical value.
    normal = torch.special.ndtr(torch.from_numpy(drawn)).numpy()
    assert np.abs(normal - (np.arange(count) + 0.5) / count).max() < 1.95 / math.sqrt(count)


def test_neighbouring_values_are_uncorrelated() -> None:
    count = 200_000
    drawn = gaussian([NoiseKey(4, Stream.DECODER, 0, 0)], (count,))[0].numpy()
    for lag in (1, 2, 3, 4, 64):
        assert abs(float(np.corrcoef(drawn[:-lag], drawn[lag:])[0, 1])) < 5 / math.sqrt(count)


@pytest.mark.parametrize("word", [0, 2**32 - 1], ids=["zeros", "ones"])
def test_noise_is_finite_whatever_the_words(word: int) -> None:
    with patch("unclip.diffusion.noise.philox", lambda counter, key: torch.full_like(counter, word)):
        assert gaussian([NoiseKey(0, Stream.PRIOR, 0, 0)], (8,)).isfinite().all()


@pytest.mark.parametrize("shape", [(1,), (3,), (5,), (3, 16, 16), (2, 3, 5, 7), ()], ids=str)
def test_noise_has_the_shape_that_is_asked_for(shape: tuple[int, ...]) -> None:
    drawn = gaussian([NoiseKey(seed, Stream.DECODER, 0, 0) for seed in range(2)], shape)
    assert drawn.shape == (2, *shape)
    assert drawn.dtype == torch.float32
