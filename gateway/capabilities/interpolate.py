"""Interpolate: pictures between two pictures, or between a picture and a caption (section 3.2 of the paper).

A picture is the pair (z_i, x_T). Both halves are interpolated on the sphere: CLIP embeddings lie on one as good as, and
so does Gaussian noise of many dimensions, whose straight mixtures would be too short to be noise.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gateway.capabilities.compose import FRAMES_AT_ONCE, Stages, encode_captions, paint, task_of
from gateway.capabilities.slerp import slerp
from gateway.events import EventQueue, Reporter, run_concurrently
from gateway.requests.plan import InterpolatePlan
from unclip.wire.embeddings import TextEncoding
from unclip.wire.stage_reading import Float32Array
from unclip.wire.tasks import DecodeTask, Inversion, InvertTask, SampleTask


async def interpolate(plan: InterpolatePlan, stages: Stages, unconditional: TextEncoding, queue: EventQueue) -> None:
    """Paints one frame per t. What the frames share is reported as work on image 0."""
    reporter = Reporter(queue)
    ends = await stages.encode_images([source.data for source in plan.sources])
    inversions: list[Inversion | None] = [None] * len(ends)

    async def invert(index: int) -> None:
        task = task_of(
            plan,
            InvertTask,
            image=plan.sources[index].canvas,
            embedding=ends[index],
            unconditional_text=unconditional,
            steps=plan.decoder.steps,
        )
        inversions[index] = await stages.invert(task, reporter)

    async def imagine() -> None:
        texts = await encode_captions({"to_caption": plan.to_caption}, stages, queue)
        task = task_of(
            plan, SampleTask, text=texts["to_caption"], unconditional_text=unconditional, sampling=plan.prior
        )
        ends.append(await stages.sample_prior(task, reporter))

    reporter.progress("encoder", 1, 1)
    work = [invert(index) for index in range(len(ends))] if plan.start == "inverted" else []
    if plan.to_image is None:
        work.append(imagine())
    if work:
        await run_concurrently(work)

    def frame(t: float) -> DecodeTask:
        first, last = inversions[0], inversions[-1]
        return task_of(
            plan,
            DecodeTask,
            embedding=replace(ends[0], values=between(ends[0].values, ends[-1].values, t)),
            unconditional_text=unconditional,
            sampling=plan.decoder,
            start_noise=between(first.start_noise, last.start_noise, t) if first and last else None,
        )

    psnr = min((found.psnr for found in inversions if found and found.psnr is not None), default=None)
    await run_concurrently(
        [paint(frame(t), plan, stages, queue, index, psnr) for index, t in enumerate(plan.ts)],
        limit=FRAMES_AT_ONCE,
    )


def between(start: Float32Array, end: Float32Array, t: float) -> Float32Array:
    """``t`` (0 to 1) of the way from ``start`` to ``end``, arrays of one shape: directions by slerp, lengths linearly.

    The ends, and all between equal ones, come back bit for bit.
    """
    if t == 0.0 or np.array_equal(start, end):
        return start
    if t == 1.0:
        return end
    turned = slerp(start.ravel(), end.ravel(), t)
    first, last = (float(np.linalg.norm(array.astype(np.float64))) for array in (start, end))
    length = (1 - t) * first + t * last
    scaled: Float32Array = (turned * (length / first if first else 0.0)).reshape(start.shape).astype(np.float32)
    return scaled
