"""Generated from protos/ by `make protos`; never edited by hand."""

from typing import Literal

SamplerName = Literal[
    "ddpm",
    "ddim",
    "dpm++2m",
]
