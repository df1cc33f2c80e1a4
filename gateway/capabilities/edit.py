"""Edit: a caption painted into a picture, or around it (inpainting and outpainting).

The prior imagines the whole picture from the caption, as for Generate; decoder and upsampler then paint only what is
not kept, each at its own size, so that what is kept is seen by both and changed by neither.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from gateway.capabilities.compose import Kept, Stages
from gateway.capabilities.generate import generate
from gateway.events import EventQueue
from gateway.requests.fitting import Size
from gateway.requests.plan import EditPlan
from unclip.wire.embeddings import TextEncoding


async def edit(plan: EditPlan, base: Size, stages: Stages, unconditional: TextEncoding, queue: EventQueue) -> None:
    """Paints every picture of ``plan``. base: width and height of the decoder's pictures, in pixels.

    What the decoder knows is made of what the upsampler knows, so that they agree about the mask: a base pixel is known
    only where all that it stands for is, and the rest is free to be painted.
    """

    def keep() -> Kept:
        final, small = plan.subject, plan.subject.resized(*base)
        return Kept(small.known(plan.resampling), final.known(plan.resampling))

    # Resizing takes milliseconds, which other calls must not wait for.
    generation = replace(plan.generation, request=plan.request)
    await generate(generation, stages, unconditional, queue, await asyncio.to_thread(keep))
