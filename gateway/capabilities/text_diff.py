"""TextDiff: a picture changed in the direction from one caption to another (section 3.3 of the paper)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gateway.capabilities.compose import FRAMES_AT_ONCE, Stages, encode_captions, paint, task_of
from gateway.capabilities.slerp import Float64Array, normalise, slerp
from gateway.events import EventQueue, Reporter, run_concurrently
from gateway.requests.plan import TextDiffPlan
from unclip.wire.embeddings import Embedding, TextEncoding
from unclip.wire.tasks import DecodeTask, InvertTask

# A difference this much shorter than the captions' embeddings is their rounding, not their meaning.
NO_CHANGE = 1e-6


async def text_diff(
    plan: TextDiffPlan, template: str, stages: Stages, unconditional: TextEncoding, queue: EventQueue
) -> None:
    """Paints one frame per theta, all from the x_T that inverts the source, so that only the embedding changes.

    template: the checkpoint's caption template, with one ``{}``. Encoding and inversion count as work on image 0.
    """
    captions = {"before": in_template(template, plan.before), "after": in_template(template, plan.after)}
    # Equal captions are encoded once, so that their difference is zero exactly.
    encodings = await encode_captions(captions, stages, queue)
    direction = diff(encodings["before"].embedding, encodings["after"].embedding)
    [embedding] = await stages.encode_images([plan.image.data])
    reporter = Reporter(queue)
    reporter.progress("encoder", 1, 1)
    shared = {"embedding": embedding, "unconditional_text": unconditional}
    inversion = await stages.invert(
        task_of(plan, InvertTask, image=plan.image.canvas, **shared, steps=plan.decoder.steps), reporter
    )
    task = task_of(plan, DecodeTask, **shared, sampling=plan.decoder, start_noise=inversion.start_noise)
    rotated = [replace(task, embedding=rotate(embedding, direction, theta)) for theta in plan.thetas]
    frames = [paint(frame, plan, stages, queue, index, inversion.psnr) for index, frame in enumerate(rotated)]
    await run_concurrently(frames, limit=FRAMES_AT_ONCE)


def diff(before: Embedding, after: Embedding) -> Float64Array:
    """z_d = (f_t(after) - f_t(before)) / |f_t(after) - f_t(before)|, ``[D]``; zero when the captions say the same."""
    a, b = before.values.astype(np.float64), after.values.astype(np.float64)
    change = b - a
    if np.linalg.norm(change) <= NO_CHANGE * max(np.linalg.norm(a), np.linalg.norm(b)):
        return np.zeros_like(change)
    return normalise(change)


def rotate(embedding: Embedding, direction: Float64Array, theta: float) -> Embedding:
    """z_theta = slerp(z_i, z_d, theta) with the length of z_i. Theta 0, or a zero direction, is z_i bit for bit."""
    return replace(embedding, values=slerp(embedding.values, direction, theta).astype(np.float32))


def in_template(template: str, caption: str) -> str:
    """``caption`` in the words its checkpoint was taught in.

    The empty caption leaves the template's own words, such as "a photo of": the dummy baseline that the paper
    found to work as well as a description of the picture.
    """
    return " ".join(template.replace("{}", "").split()) if not caption else template.replace("{}", caption)
