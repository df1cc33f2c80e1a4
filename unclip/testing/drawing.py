"""Values that follow from their causes alone: embeddings, and pictures one can look at."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from unclip.diffusion.samplers import sampler_table
from unclip.diffusion.schedule import NoiseSchedule
from unclip.options import SamplerName, SamplingSettings
from unclip.wire.embeddings import TextEncoding

Float32Array = npt.NDArray[np.float32]
SCHEDULE = NoiseSchedule.squaredcos_cap_v2()


def generator(*causes: object) -> np.random.Generator:
    """A source of numbers that is the same for equal ``causes``: arrays, bytes, and what has an exact repr."""
    digest = hashlib.sha256()
    for cause in causes:
        data = cause.tobytes() if isinstance(cause, np.ndarray) else repr(cause).encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return np.random.default_rng(int.from_bytes(digest.digest()[:16], "little"))


def draw(shape: Sequence[int], *causes: object) -> Float32Array:
    """A standard normal float32 array."""
    return generator(*causes).standard_normal(shape, np.float32)


def gradient(side: int, *causes: object) -> Float32Array:
    """A smooth colour gradient, float32 ``[3, side, side]`` in [-1, 1]: a picture, as far as a stub can paint one."""
    corners = generator(*causes).uniform(-1, 1, (3, 3, 3)).astype(np.float32)
    return np.clip(resize(corners, side), -1, 1)  # rounding may leave the range


def resize(pixels: Float32Array, side: int) -> Float32Array:
    """Pixels ``[3, h, h]`` at ``[3, side, side]``, linear between them."""
    size = pixels.shape[-1]
    at = np.linspace(0, size - 1, side)
    weights = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(size))).astype(np.float32)
    resized: Float32Array = weights @ pixels @ weights.T
    return resized


def text_key(text: TextEncoding | None) -> tuple[object, ...]:
    """What of a text encoding an answer follows from."""
    return () if text is None else (text.embedding.values, text.token_states, text.token_mask)


def sampling_key(sampling: SamplingSettings) -> tuple[object, ...]:
    """What of sampling settings an answer follows from: eta where it changes what the sampler does."""
    none, most = (_fresh_noise(sampling.sampler, eta) for eta in (0.0, 1.0))
    eta = sampling.eta if most != none else 0.0
    return (sampling.sampler, sampling.steps, sampling.guidance_scale, eta)


def draws_noise(sampling: SamplingSettings) -> bool:
    """Whether the sampler adds fresh noise on the way; if not, only the start of a trajectory follows from the seed."""
    return any(_fresh_noise(sampling.sampler, sampling.eta))


def _fresh_noise(sampler: SamplerName, eta: float) -> list[float]:
    """Deviations of the noise that two steps of the real sampler add."""
    deviations: list[float] = sampler_table(sampler, SCHEDULE, 2, eta=eta).sigma.tolist()
    return deviations
