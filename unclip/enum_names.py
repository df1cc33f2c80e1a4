"""Generated from protos/ by `make protos`; never edited by hand."""

from typing import Literal

FileFormat = Literal[
    "png",
    "jpeg",
    "webp",
]

Fit = Literal[
    "crop",
    "letterbox",
]

NoticeKind = Literal[
    "caption_cut",
    "profile_unusable",
    "words_unknown",
]

Quality = Literal[
    "standard",
    "fast",
]

SamplerName = Literal[
    "ddpm",
    "ddim",
    "dpm++2m",
]

StageName = Literal[
    "encoder",
    "prior",
    "invert",
    "decoder",
    "upsampler",
]

Start = Literal[
    "inverted",
    "random",
]
