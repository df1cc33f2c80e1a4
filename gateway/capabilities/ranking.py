"""Best of N: more pictures than wanted are made, and those that CLIP finds closest to the caption are kept.

DALL-E reranked its samples so (Ramesh et al. 2021, section 2.6). The prior's own choice of an embedding comes before
any pixel is painted; this one sees the finished picture. The score is the cosine of its embedding and the caption's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import numpy as np

from gateway.capabilities.compose import FRAMES_AT_ONCE, Stages
from gateway.capabilities.slerp import normalise
from gateway.events import EventQueue, Finished, run_concurrently
from gateway.requests.pictures import in_thread
from unclip.api.type.v1 import image_pb2
from unclip.wire.embeddings import Embedding
from unclip.wire.images import decode_image, encode_image, from_pixels, to_pixels
from unclip.wire.stage_reading import Float32Array


async def deliver_best(
    make: Callable[[int], Awaitable[Float32Array]],
    count: int,
    keep: int,
    caption: Embedding,
    stages: Stages,
    queue: EventQueue,
) -> None:
    """Makes ``count`` pictures and delivers the ``keep`` closest to ``caption``, best first, each with its score.

    make: the pixels, float32 ``[3, H, W]`` in [-1, 1], of the row it is given, 0 to count - 1. A kept picture's
    ``image_index`` is its place, 0 the best; its ``row`` says which it was. Of equal scores the lower row comes first.
    """
    # As PNG, which the encoder takes and holds what a file can: so many pictures as float32 would fill the memory.
    files = [b""] * count

    async def candidate(row: int) -> None:
        files[row] = await in_thread(png, await make(row))

    await run_concurrently([candidate(row) for row in range(count)], limit=FRAMES_AT_ONCE)
    scores = [cosine(embedding, caption) for embedding in await stages.encode_images(files)]
    for place, row in enumerate(best(scores, keep)):
        await queue.deliver(Finished(await in_thread(pixels_in, files[row]), place, row=row, score=scores[row]))


def best(scores: Sequence[float], keep: int) -> list[int]:
    """Places of the ``keep`` largest scores, largest first, the first of equals before the others."""
    return sorted(range(len(scores)), key=lambda row: -scores[row])[:keep]


def cosine(one: Embedding, other: Embedding) -> float:
    """Cosine of the angle between two embeddings, -1 to 1; 0 where one is zero and points nowhere."""
    return float(np.clip(normalise(one.values) @ normalise(other.values), -1.0, 1.0))


def png(pixels: Float32Array) -> bytes:
    """``pixels`` as a PNG, written fast rather than small."""
    return encode_image(from_pixels(pixels), "image/png", compress_level=1).data


def pixels_in(file: bytes) -> Float32Array:
    """The pixels in a PNG that ``png`` made."""
    return to_pixels(decode_image(image_pb2.Image(data=file), "candidate"))
