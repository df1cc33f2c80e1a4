"""Gaussian noise as a function of (seed, stage, step, row): the same on every device, in every batch, for ever.

Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") gives 32-bit words from a counter
and a key; Box-Muller turns pairs of words into normal numbers. torch's own generators draw one stream per call, so
that a row's noise would depend on its place in the batch, and differ between CPU and CUDA.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import torch

from unclip.diffusion.sending import sent

MASK = 0xFFFFFFFF
ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)


class Stream(IntEnum):
    """Which trajectory the noise belongs to; part of the key, so that stages with one seed draw different noise."""

    PRIOR = 1
    DECODER = 2
    UPSAMPLER = 3
    EMBEDDING = 4  # that a decoder is told of with noise in it


START = 0  # step number of x_T; a trajectory's step i (from 0) draws its noise as number i + 1


@dataclass(frozen=True)
class NoiseKey:
    """What one row's noise depends on. seed: any int64; row: which sample of the request, from 0; step: see START."""

    seed: int
    stream: Stream
    row: int
    step: int


def philox(counter: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """Philox4x32-10. counter: int64 ``[..., 4]``, key: int64 ``[..., 2]``, both 32-bit words; returns as counter."""
    c0, c1, c2, c3 = counter.unbind(-1)
    k0, k1 = key.unbind(-1)
    for _ in range(ROUNDS):
        high0, low0 = _multiply(c0, MULTIPLIERS[0])
        high1, low1 = _multiply(c2, MULTIPLIERS[1])
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + WEYL[0]) & MASK, (k1 + WEYL[1]) & MASK
    return torch.stack([c0, c1, c2, c3], dim=-1)


def _multiply(word: torch.Tensor, factor: int) -> tuple[torch.Tensor, torch.Tensor]:
    """High and low 32 bits of a product. By halves: int64 would overflow into its sign on the whole."""
    low_part = word * (factor & 0xFFFF)  # < 2^48
    high_part = word * (factor >> 16)  # < 2^48
    low_sum = low_part + ((high_part & 0xFFFF) << 16)
    return (high_part >> 16) + (low_sum >> 32), low_sum & MASK


def gaussian(keys: Sequence[NoiseKey], shape: Sequence[int], device: torch.device | str = "cpu") -> torch.Tensor:
    """Standard normal noise, float32 ``[len(keys), *shape]``; row r depends on ``keys[r]`` and ``shape`` alone."""
    return gaussian_of(sent(words_of(keys), torch.device(device)), shape)


def words_of(keys: Sequence[NoiseKey]) -> torch.Tensor:
    """What `gaussian_of` makes noise of, int64 ``[len(keys), 4]``."""
    words = [[k.seed & MASK, (k.seed >> 32) & MASK, k.step, (k.stream << 16) | k.row] for k in keys]
    return torch.tensor(words, dtype=torch.int64)


def gaussian_of(words: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """`gaussian` on the device where the keys' words are, ``[B, 4]``."""
    count = math.prod(shape)
    blocks = (count + 3) // 4
    table = words[:, None, :].expand(-1, blocks, -1)
    position = torch.arange(blocks, dtype=torch.int64, device=words.device).expand(len(words), -1)
    # Seed is the key; block, step, stream and row are the counter.
    counter = torch.stack([position, torch.zeros_like(position), table[..., 2], table[..., 3]], dim=-1)
    bits = philox(counter, table[..., :2]).to(torch.float64)
    # (0, 1]: the logarithm must not see 0. float64 keeps all 32 bits and devices agree to the last float32 bit or so.
    uniform = (bits + 1.0) / 4294967296.0
    radius = torch.sqrt(-2.0 * torch.log(uniform[..., 0::2]))
    angle = 2.0 * math.pi * uniform[..., 1::2]
    normal = torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], dim=-1)
    return normal.reshape(len(words), -1)[:, :count].reshape(len(words), *shape).to(torch.float32)
