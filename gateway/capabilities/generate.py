"""Generate: from a caption to pictures, ``P(x | y) = P(x | z_i, y) P(z_i | y)`` (section 2 of the paper, eq. 2)."""

from __future__ import annotations

from gateway.capabilities.compose import Kept, Stages, encode_captions, pixels_of, task_of
from gateway.capabilities.ranking import deliver_best
from gateway.events import EventQueue, Finished, Reporter, run_concurrently
from gateway.requests.plan import GeneratePlan
from unclip.wire.embeddings import TextEncoding
from unclip.wire.stage_reading import Float32Array
from unclip.wire.tasks import DecodeTask, SampleTask


async def generate(
    plan: GeneratePlan, stages: Stages, unconditional: TextEncoding, queue: EventQueue, kept: Kept | None = None
) -> None:
    """Paints every picture of ``plan``, each with a prior sample of its own; where the plan says so, keeps the best.

    kept: what stays of the picture that is painted on, None for an empty canvas. An embedding that the plan has is
    painted as it is. A negative caption's encoding takes the place of ``unconditional``, which guidance extrapolates
    away from; a decoder that reads no text is guided away from what the prior imagines of it, as by diffusers'
    Kandinsky 2.2.
    """
    captions = {"caption": plan.caption, "negative_caption": plan.negative_caption}
    encodings = await encode_captions({field: said for field, said in captions.items() if said}, stages, queue)
    text, away_from = (encodings.get(field, unconditional) for field in captions)
    texts = {"text": text, "unconditional_text": away_from}
    Reporter(queue).progress("encoder", 1, 1)

    async def make(row: int) -> Float32Array:
        seed, reporter = plan.seeds[row], Reporter(queue, row)
        embedding = plan.embedding or await stages.sample_prior(
            task_of(plan, SampleTask, **texts, seed=seed, sampling=plan.prior), reporter
        )
        away = None
        if plan.away_sampled:
            said = {"text": away_from, "unconditional_text": away_from}
            away = await stages.sample_prior(
                task_of(plan, SampleTask, **said, seed=seed, sampling=plan.prior), reporter
            )
        given = {**texts, "embedding": embedding, "unconditional_embedding": away, "known": kept.base if kept else None}
        task = task_of(plan, DecodeTask, **given, seed=seed, sampling=plan.decoder)
        return await pixels_of(task, plan, stages, reporter, kept.final if kept else None)

    async def picture(row: int) -> None:
        await queue.deliver(Finished(await make(row), row))

    if plan.keep is None:
        await run_concurrently([picture(row) for row in range(len(plan.seeds))])
    else:
        await deliver_best(make, len(plan.seeds), plan.keep, text.embedding, stages, queue)
