"""Karlo v1 alpha by Kakao Brain (2022): unCLIP of the paper's kind on CLIP ViT-L/14, 3.7 billion parameters, 256 px.

It was published as two repositories in diffusers' layout: one draws captions and has no image encoder, the other varies
pictures and has no prior. All that they share is equal, so that the image encoder of the second completes the first.
"""

from __future__ import annotations

from unclip.families.family import Family
from unclip.options import SamplingSettings

KARLO = Family(
    "Karlo",
    ("UnCLIPPipeline", "UnCLIPImageVariationPipeline"),
    defaults={  # its pipeline's
        "prior": SamplingSettings("ddpm", 25, 4.0),
        "decoder": SamplingSettings("ddpm", 25, 8.0),
        "upsampler": SamplingSettings("ddpm", 7, 1.0),
    },
    license="creativeml-openrail-m",
    companions={
        "kakaobrain/karlo-v1-alpha": "kakaobrain/karlo-v1-alpha-image-variations",
        "karlo-v1-alpha": "karlo-v1-alpha-image-variations",
    },
)
