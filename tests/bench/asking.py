"""One picture from a served stack."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from unclip.client import Client, Sampling
from unclip.options import SamplingSettings

CAPTION = "a red apple"
KARLO = {
    "prior": SamplingSettings("ddpm", 25, 4.0),
    "decoder": SamplingSettings("ddpm", 25, 8.0),
    "upsampler": SamplingSettings("ddpm", 7, 1.0),
}
Settings = Mapping[str, SamplingSettings]  # of prior, decoder and upsampler


def ask(client: Client, seed: int, settings: Settings, candidates: int) -> npt.NDArray[np.uint8]:
    """A picture of CAPTION, uint8 ``[H, W, 3]``, by the unary call."""
    [image] = client.generate(
        CAPTION,
        seed=seed,
        prior_candidates=candidates,
        prior=sampling(settings["prior"]),
        decoder=sampling(settings["decoder"]),
        upsampler=sampling(settings["upsampler"]),
    )
    return np.asarray(image.to_pil())


def sampling(settings: SamplingSettings) -> Sampling:
    """The same for a client."""
    return Sampling(settings.sampler, settings.steps, settings.guidance_scale, settings.eta)


def told(settings: Settings) -> str:
    """Settings for a table: steps of each stage, and its guidance."""
    return ", ".join(f"{s.sampler} {s.steps}x{s.guidance_scale:g}" for s in settings.values())
