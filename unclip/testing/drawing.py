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


def gradient(width: int, height: int, *causes: object) -> Float32Array:
    """A smooth colour gradient, float32 ``[3, height, width]`` in [-1, 1]: a picture, as far as stubs paint any."""
    corners = generator(*causes).uniform(-1, 1, (3, 3, 3)).astype(np.float32)
    return np.clip(resize(corners, width, height), -1, 1)  # rounding may leave the range


def resize(pixels: Float32Array, width: int, height: int) -> Float32Array:
    """Pixels ``[3, h, w]`` at ``[3, height, width]``, linear between them."""
    _, high, wide = pixels.shape
    rows, columns = weights(high, height), weights(wide, width)
    resized: Float32Array = (rows @ pixels @ columns.T).astype(np.float32, copy=False)
    return resized


def weights(size: int, count: int) -> Float32Array:
    """Of each of ``count`` places along a line of ``size`` values, what each of these weighs there."""
    at = np.linspace(0, size - 1, count)
    weighed: Float32Array = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(size))).astype(np.float32)
    return weighed


def latents_of(pixels: Float32Array, scale: int) -> Float32Array:
    """Pixels ``[3, H, W]`` as latents ``[4, H / scale, W / scale]``: mean colours, and how bright these are."""
    channels, height, width = pixels.shape
    tiles = pixels.reshape(channels, height // scale, scale, width // scale, scale)
    colours: Float32Array = tiles.mean((2, 4), dtype=np.float32)
    return np.concatenate([colours, colours.mean(0, keepdims=True)])


def pixels_of(latents: Float32Array, scale: int) -> Float32Array:
    """The picture of such latents, ``[3, H, W]``, as far as they know it."""
    _, height, width = latents.shape
    return np.clip(resize(latents[:3], scale * width, scale * height), -1, 1)


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
