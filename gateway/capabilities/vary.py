"""Vary: pictures with the same meaning and other details (section 3.1 of the paper).

A picture is the pair (z_i, x_T): what CLIP sees, and the noise holding what CLIP does not see. DDIM with
eta 0 decodes the pair back to the picture; more eta replaces more of x_T's details.
"""

from __future__ import annotations

from dataclasses import replace

from gateway.capabilities.compose import Stages, paint, task_of
from gateway.events import EventQueue, Reporter, run_concurrently
from gateway.requests.plan import VaryPlan
from unclip.wire.embeddings import TextEncoding
from unclip.wire.tasks import DecodeTask, InvertTask


async def vary(plan: VaryPlan, stages: Stages, unconditional: TextEncoding, queue: EventQueue) -> None:
    """Paints every variation of ``plan``. Encoding and inversion are shared, and reported as work on image 0."""
    [embedding] = await stages.encode_images([plan.image.data])
    reporter = Reporter(queue)
    reporter.progress("encoder", 1, 1)
    shared = {"embedding": embedding, "unconditional_text": unconditional}
    start_noise = psnr = None
    if plan.start == "inverted":
        inversion = await stages.invert(
            task_of(plan, InvertTask, image=plan.image.canvas, **shared, steps=plan.decoder.steps), reporter
        )
        start_noise, psnr = inversion.start_noise, inversion.psnr
    task = task_of(plan, DecodeTask, **shared, seed=plan.seeds[0], sampling=plan.decoder, start_noise=start_noise)
    await run_concurrently(
        [paint(replace(task, seed=seed), plan, stages, queue, index, psnr) for index, seed in enumerate(plan.seeds)]
    )
