"""Generate: from a caption to pictures, ``P(x | y) = P(x | z_i, y) P(z_i | y)`` (section 2 of the paper, eq. 2)."""

from __future__ import annotations

from gateway.compose import Gist, Kept, Stages, paint
from gateway.feed import Feed, Watch, together
from gateway.plan import GeneratePlan
from unclip.wire.embeddings import TextEncoding


async def generate(
    plan: GeneratePlan, stages: Stages, unconditional: TextEncoding, feed: Feed, kept: Kept | None = None
) -> None:
    """Paints every picture of ``plan``: each has a prior sample of its own and goes through the stages on its own.

    kept: what stays of the picture that is painted on, None for an empty canvas.
    A negative caption's encoding takes the place of ``unconditional``, which guidance extrapolates away from.
    """
    if plan.negative_caption:
        text, unconditional = await stages.encode_text([plan.caption, plan.negative_caption])
    else:
        [text] = await stages.encode_text([plan.caption])
    Watch(feed).progress("encoder", 1, 1)

    async def picture(index: int, seed: int) -> None:
        embedding = await stages.sample_prior(
            text, unconditional, seed, plan.prior, plan.candidates, Watch(feed, index)
        )
        gist = Gist(embedding, unconditional, text, kept=kept)
        await paint(gist, seed, plan.decoder, plan.output, stages, feed, index)

    await together([picture(index, seed) for index, seed in enumerate(plan.seeds)])
