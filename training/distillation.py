"""CLIP's image encoder learns to stand where the teachers' joint space has a picture; its text encoder is that space's.

Contrastive to the end: against the captions, and against the other pictures' places.
"""

from __future__ import annotations

import torch
from torch.nn import functional
from transformers import CLIPTokenizer

from training import joint, lessons
from training.clip import Clip, contrast
from training.joint import choose_views
from training.loop import UNLIMITED, choose, device, fit
from training.presets import Limits, Preset
from training.quick import compiled
from training.tokenizer import digest_of

PLACE = 4.0  # weight of 1 - cosine to the teachers' place
SHIFT = 4  # px: pictures are shifted by up to so much, their edges repeated


def train(preset: Preset, clip: Clip, words: CLIPTokenizer, limits: Limits = UNLIMITED) -> None:
    """Trains the image encoder of ``clip`` and gives it the joint space's text encoder."""
    data = lessons.prepare(preset, words)
    space = joint.train(preset, words, data, limits, clip.text).eval().requires_grad_(False)
    clip.text.load_state_dict(space.text.state_dict())
    clip.text.requires_grad_(False)
    where = device()
    see = compiled(clip.image, preset.clip, where)

    def loss(generator: torch.Generator) -> torch.Tensor:
        rows = choose_views(data, preset.clip.batch, generator)
        pixels = shifted(data.pixels[rows].to(where).float() / 127.5 - 1, generator)
        image = functional.normalize(see(pixel_values=pixels).image_embeds.float())
        with torch.no_grad():
            place = space.picture(data.features[rows].to(where))
            text = space.read(data.ids[rows].to(where), data.mask[rows].to(where))
        total: torch.Tensor = (
            contrast(text, image, clip.log_scale)
            + contrast(place, image, clip.log_scale)
            + PLACE * (1 - (place * image).sum(1)).mean()
        )
        return total

    fit("clip", preset, clip, loss, preset.clip, limits, made_from=[space, digest_of(words)])


def shifted(pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A batch ``[B, 3, S, S]`` shifted as one: the teachers' features would change little."""
    side = pixels.shape[-1]
    top, left = (int(v) for v in choose(2 * SHIFT + 1, 2, generator))
    padded = functional.pad(pixels, (SHIFT,) * 4, mode="replicate")
    return padded[..., top : top + side, left : left + side]
