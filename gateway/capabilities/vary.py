"""Vary: pictures with the same meaning and other details (section 3.1 of the paper).

A picture is the pair (z_i, x_T): what CLIP sees, and the noise holding what CLIP does not see. DDIM with
eta 0 decodes the pair back to the picture; more eta replaces more of x_T's details.
"""

from __future__ import annotations

from dataclasses import replace

from gateway.capabilities.compose import Stages, paint
from gateway.events import EventQueue, Reporter, together
from gateway.requests.plan import VaryPlan
from unclip.wire.embeddings import TextEncoding
from unclip.wire.tasks import DecodeTask, InvertTask


async def vary(plan: VaryPlan, stages: Stages, unconditional: TextEncoding, queue: EventQueue) -> None:
    """Paints every variation of ``plan``. Encoding and inversion are shared, and reported as work on image 0."""
    [embedding] = await stages.encode_images([plan.image.data])
    reporter = Reporter(queue)
    reporter.progress("encoder", 1, 1)
    start_noise = psnr = None
    if plan.start == "inverted":
        inversion = await stages.invert(
            InvertTask(plan.image.data, embedding, unconditional, plan.decoder.steps, plan.report_psnr), reporter
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
            paint(replace(task, seed=seed), plan.output, stages, queue, index, psnr)
            for index, seed in enumerate(plan.seeds)
        ]
    )
