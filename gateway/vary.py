"""Vary: pictures with the same gist and other details (section 3.1 of the paper).

A picture is the pair (z_i, x_T): the gist that CLIP sees, and the noise holding what CLIP does not see. DDIM with
eta 0 decodes the pair back to the picture; more eta replaces more of x_T's details.
"""

from __future__ import annotations

from dataclasses import replace

from gateway.compose import Stages, paint
from gateway.feed import Feed, Watch, together
from gateway.plan import VaryPlan
from unclip.wire.embeddings import TextEncoding
from unclip.wire.tasks import DecodeTask, InvertTask


async def vary(plan: VaryPlan, stages: Stages, unconditional: TextEncoding, feed: Feed) -> None:
    """Paints every variation of ``plan``. Encoding and inversion are shared, and told as work on image 0."""
    [embedding] = await stages.encode_images([plan.image.data])
    watch = Watch(feed)
    watch.progress("encoder", 1, 1)
    start_noise = psnr = None
    if plan.start == "inverted":
        inversion = await stages.invert(
            InvertTask(plan.image.data, embedding, unconditional, plan.decoder.steps, plan.report_psnr), watch
        )
        start_noise, psnr = inversion.start_noise, inversion.psnr
    task = DecodeTask(
        embedding,
        unconditional,
        plan.seeds[0],
        plan.decoder,
        start_noise=start_noise,
        preview_interval=plan.output.preview_interval,
    )
    await together(
        [
            paint(replace(task, seed=seed), plan.output, stages, feed, index, psnr)
            for index, seed in enumerate(plan.seeds)
        ]
    )
