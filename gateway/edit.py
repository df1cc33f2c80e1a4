"""Edit: a caption painted into a picture, or around it (inpainting and outpainting).

The prior imagines the whole picture from the caption, as for Generate; decoder and upsampler then paint only what is
not kept, each at its own size, so that what is kept is seen by both and changed by neither.
"""

from __future__ import annotations

import asyncio

from gateway.compose import Kept, Stages
from gateway.feed import Feed
from gateway.generate import generate
from gateway.plan import EditPlan
from unclip.wire.embeddings import TextEncoding


async def edit(plan: EditPlan, base: int, final: int, stages: Stages, unconditional: TextEncoding, feed: Feed) -> None:
    """Paints every picture of ``plan``. base, final: sides of the decoder's and the upsampler's pictures, in pixels."""
    kept = await asyncio.to_thread(kept_of, plan, base, final)
    await generate(plan.wanted, stages, unconditional, feed, kept)


def kept_of(plan: EditPlan, base: int, final: int) -> Kept:
    """What is known at both sizes. The smaller picture is made of the larger one, so that they agree about the mask:

    a base pixel is known only where all it stands for is, and the rest is free to be painted.
    """
    subject = plan.subject.fitted(final)
    return Kept(subject.resized(base, base).known(plan.resampling), subject.known(plan.resampling))
