"""One value of every kind of request in which every option is said, each with a value that no other option has."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.unit.client_peer import picture
from unclip.client import Edit, Generate, Interpolate, Request, Sampling, TextDiff, Vary
from unclip.wire.embeddings import Embedding

PRIOR = Sampling("ddpm", 8, 5.0, 0.5)
DECODER = Sampling("dpm++2m", 5, 6.0, 0.25)
DDIM = Sampling("ddim", 5, 6.0, 0.25)
UPSAMPLER = Sampling("ddpm", 4, 1.0, 0.125)
ALPHA = picture(1)  # its peers look at no pixels

SHAPE: dict[str, Any] = {"width": 48, "height": 32}

# Where options exclude each other there are two of a kind; together they say everything.
EVERYTHING: dict[str, Request] = {
    "generate": Generate(
        "a cat",
        seed=3,
        image_count=2,
        prior_candidates=7,
        prior=PRIOR,
        decoder=DECODER,
        upsampler=UPSAMPLER,
        format="webp",
        size=48,
        negative_caption="a dog",
        candidates=9,
    ),
    "generate fast": Generate("a cat", seed=3, decoder=Sampling(guidance_scale=2.5), quality="fast"),
    "generate from an embedding": Generate(
        "a cat", seed=3, decoder=DECODER, embedding=Embedding(np.arange(4, dtype=np.float32), "space"), **SHAPE
    ),
    "vary": Vary(
        picture(1),
        seed=3,
        image_count=2,
        eta=0.75,
        start="inverted",
        decoder=Sampling("ddim", 5, 6.0),
        upsampler=UPSAMPLER,
        format="jpeg",
        size=48,
        fit="letterbox",
        report_psnr=True,
    ),
    "vary from fresh noise": Vary(picture(1), start="random", **SHAPE),
    "text_diff": TextDiff(
        picture(1),
        "a cat",
        "a dog",
        thetas=(0.25, 0.5),
        seed=3,
        decoder=DDIM,
        upsampler=UPSAMPLER,
        format="webp",
        size=48,
        fit="letterbox",
        report_psnr=True,
    ),
    "text_diff of a shape": TextDiff(picture(1), "", "a dog", **SHAPE),
    "interpolate": Interpolate(
        picture(1),
        to_caption="a dog",
        ts=(0.25, 0.5),
        seed=3,
        start="random",
        prior=PRIOR,
        decoder=DDIM,
        upsampler=UPSAMPLER,
        format="webp",
        size=48,
        fit="letterbox",
    ),
    "interpolate to a picture": Interpolate(picture(1), picture(2), report_psnr=True, **SHAPE),
    "edit": Edit(
        picture(1),
        "a cat",
        picture(2),
        negative_caption="a dog",
        seed=3,
        image_count=2,
        prior_candidates=7,
        prior=PRIOR,
        decoder=DECODER,
        upsampler=UPSAMPLER,
        format="webp",
        size=48,
        resampling=4,
        fit="letterbox",
        candidates=9,
    ),
    "edit of a shape": Edit(picture(1), "a cat", picture(2), **SHAPE),
}
