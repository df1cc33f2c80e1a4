"""Kandinsky 2.2 by Sber AI (2023): unCLIP on CLIP ViT-bigG/14 with a decoder of latents, 512 px and any other shape.

It was published in halves: encoders and prior in one repository, the decoder with its autoencoder in others, of which
one was trained to fill in what a mask leaves out. The decoder reads no caption.
"""

from __future__ import annotations

from unclip.families.family import Family
from unclip.options import SamplingSettings, Sizes

OWNER = "kandinsky-community"
PRIOR, DECODER, INPAINT = "kandinsky-2-2-prior", "kandinsky-2-2-decoder", "kandinsky-2-2-decoder-inpaint"
OTHER_HALVES = {PRIOR: DECODER, DECODER: PRIOR, INPAINT: PRIOR}

PRIOR_HALF = {
    "tokenizer": "tokenizer",
    "text_encoder": "text_encoder",
    "image_encoder": "image_encoder",
    "feature_extractor": "image_processor",
    "prior": "prior",
    "prior_scheduler": "scheduler",
}
DECODER_HALF = {"decoder": "unet", "decoder_scheduler": "scheduler", "autoencoder": "movq"}

KANDINSKY = Family(
    "Kandinsky 2.2",
    ("KandinskyV22PriorPipeline", "KandinskyV22Pipeline", "KandinskyV22InpaintPipeline"),
    defaults={  # its pipelines'; the decoder's 100 steps of DDPM are those that its scheduler was made for
        "prior": SamplingSettings("ddpm", 25, 4.0),
        "decoder": SamplingSettings("ddpm", 100, 4.0),
        "upsampler": SamplingSettings("ddpm", 1, 1.0),
    },
    license="apache-2.0",
    companions={**OTHER_HALVES, **{f"{OWNER}/{one}": f"{OWNER}/{other}" for one, other in OTHER_HALVES.items()}},
    layouts={
        "KandinskyV22PriorPipeline": PRIOR_HALF,
        "KandinskyV22Pipeline": DECODER_HALF,
        "KandinskyV22InpaintPipeline": DECODER_HALF,
    },
    sizes=Sizes(multiple=64, smallest=256, largest=1536, max_pixels=1024 * 1024),
)
