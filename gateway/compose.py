"""What the compositions need from the stages, and the tail they share: from a gist to a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from gateway.feed import Feed, Finished, Watch
from gateway.plan import Output
from unclip.options import SamplingSettings
from unclip.wire.embeddings import Embedding, TextEncoding
from unclip.wire.known import KnownPixels

# Frames of one request at work at a time: a long trajectory must not fill a stage's queue by itself.
FRAMES_AT_ONCE = 16

Float32Array = npt.NDArray[np.float32]


class Stages(Protocol):
    """The four stages as one call sees them: its deadline and request id are already applied.

    Samples and noise are float32 ``[3, H, W]``; samples lie in [-1, 1]. Every method may raise any UnclipError that
    stands for a failed stage: Unavailable, Overloaded, DeadlineExceeded, PreconditionFailed.
    """

    async def encode_text(self, captions: Sequence[str]) -> list[TextEncoding]:
        """f_t: the encoding of each of 1 to 64 captions."""
        ...

    async def encode_images(self, images: Sequence[bytes]) -> list[Embedding]:
        """f_i: the embedding of each picture file."""
        ...

    async def sample_prior(
        self,
        text: TextEncoding,
        unconditional: TextEncoding,
        seed: int,
        settings: SamplingSettings,
        candidates: int,
        watch: Watch,
    ) -> Embedding:
        """z_i ~ P(z_i | caption): the candidate closest to the caption."""
        ...

    async def decode(self, gist: Gist, seed: int, settings: SamplingSettings, every: int, watch: Watch) -> Float32Array:
        """x ~ P(x | z_i, caption) at base size, with a preview about ``every`` so many steps, 0 for none."""
        ...

    async def invert(
        self,
        image: bytes,
        embedding: Embedding,
        unconditional: TextEncoding,
        steps: int,
        watch: Watch,
        report_psnr: bool = False,
    ) -> Inversion:
        """x_T from which DDIM in ``steps`` steps decodes ``image``, and if asked for, how well it does."""
        ...

    async def upsample(
        self,
        sample: Float32Array,
        seed: int,
        settings: SamplingSettings,
        watch: Watch,
        known: KnownPixels | None = None,
    ) -> Float32Array:
        """The base-size ``sample`` at final size, with the pixels that are ``known`` there."""
        ...


@dataclass(frozen=True, eq=False)
class Inversion:
    """The noise behind a picture. start_noise: x_T, float32 ``[3, H, W]``; psnr: of its reconstruction, in dB."""

    start_noise: Float32Array
    psnr: float | None = None


@dataclass(frozen=True, eq=False)
class Kept:
    """What is known of a picture at the size the decoder makes, ``base``, and at the upsampler's, ``final``."""

    base: KnownPixels
    final: KnownPixels


@dataclass(frozen=True, eq=False)
class Gist:
    """What the decoder paints from.

    text: the caption's encoding, None where no caption is known. unconditional: the encoding of the empty caption.
    start_noise: x_T, float32 ``[3, H, W]``; None draws it from the seed. kept: what stays of a picture that is painted
    on, None for nothing.
    """

    embedding: Embedding
    unconditional: TextEncoding
    text: TextEncoding | None = None
    start_noise: Float32Array | None = None
    kept: Kept | None = None


async def pixels_of(
    gist: Gist, seed: int, decoder: SamplingSettings, output: Output, stages: Stages, watch: Watch
) -> Float32Array:
    """Decodes and upsamples ``gist`` with ``seed``: float32 ``[3, H, W]`` in [-1, 1]."""
    sample = await stages.decode(gist, seed, decoder, output.preview_interval, watch)
    known = None if gist.kept is None else gist.kept.final
    return await stages.upsample(sample, seed, output.upsampler, watch, known)


async def paint(
    gist: Gist,
    seed: int,
    decoder: SamplingSettings,
    output: Output,
    stages: Stages,
    feed: Feed,
    index: int,
    inversion_psnr: float | None = None,
) -> None:
    """Decodes and upsamples ``gist`` with ``seed``, and delivers the result as picture ``index`` of the request."""
    watch = Watch(feed, index)
    # No name for the pixels: what waits to be read is their file alone.
    await feed.deliver(
        Finished(await pixels_of(gist, seed, decoder, output, stages, watch), index, inversion_psnr=inversion_psnr)
    )
