"""Stable unCLIP by Stability AI (2023): Stable Diffusion 2.1 taught to paint a CLIP image embedding, 768 px.

Two checkpoints with decoders of latents. The one on CLIP ViT-H/14 varies pictures; no prior was published for it, and
no CLIP text encoder comes with it. The small one is on ViT-L/14, which is Karlo's CLIP: with Karlo's prior it draws
captions. Both read captions with a text encoder of the decoder's own.
"""

from __future__ import annotations

from unclip.families.family import Family
from unclip.options import SamplingSettings, Sizes

LARGE, SMALL = "stable-diffusion-2-1-unclip", "stable-diffusion-2-1-unclip-small"

STABLE_UNCLIP = Family(
    "Stable unCLIP",
    ("StableUnCLIPImg2ImgPipeline",),
    defaults={  # its pipeline's guidance and steps, the prior Karlo's
        "prior": SamplingSettings("ddpm", 25, 4.0),
        "decoder": SamplingSettings("dpm++2m", 20, 10.0),
        "upsampler": SamplingSettings("ddpm", 1, 1.0),
    },
    license="openrail++",
    companions={SMALL: "karlo-v1-alpha", f"stabilityai/{SMALL}": "kakaobrain/karlo-v1-alpha"},
    layouts={
        "StableUnCLIPImg2ImgPipeline": {
            "image_encoder": "image_encoder",
            "feature_extractor": "feature_extractor",
            "decoder_tokenizer": "tokenizer",
            "decoder_text_encoder": "text_encoder",
            "image_normalizer": "image_normalizer",
            "image_noising_scheduler": "image_noising_scheduler",
            "decoder": "unet",
            "decoder_scheduler": "scheduler",
            "autoencoder": "vae",
        }
    },
    sizes=Sizes(multiple=64, smallest=256, largest=1536, max_pixels=1024 * 1024),
)
