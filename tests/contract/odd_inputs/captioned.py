"""Every field of a request that takes a caption, with what else the request needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.contract.gateways import noise_picture, png
from tests.tiny import BASE
from unclip.client import Sampling

QUICK: dict[str, Any] = {"decoder": Sampling(steps=1), "upsampler": Sampling(steps=1)}
PICTURE = png(noise_picture(BASE, BASE))
MASK = png(noise_picture(BASE, BASE)[..., 0] > 127)
# method of a client, field, and what else it is given.
CAPTIONED: Sequence[tuple[str, str, dict[str, Any]]] = [
    ("generate", "caption", {}),
    ("generate", "negative_caption", {"caption": "dog", "prior": Sampling(steps=1, guidance_scale=2)}),
    ("text_diff", "before", {"image": PICTURE, "after": "dog"}),
    ("text_diff", "after", {"image": PICTURE, "before": "dog"}),
    ("interpolate", "to_caption", {"image": PICTURE, "prior": Sampling(steps=1)}),
    ("edit", "caption", {"image": PICTURE, "mask": MASK, "prior": Sampling(steps=1)}),
    ("edit", "negative_caption", {"image": PICTURE, "mask": MASK, "caption": "dog"}),
]
