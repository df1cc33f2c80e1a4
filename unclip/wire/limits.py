"""How much one request may ask for; gateways hold these, and clients refuse unasked what would be work to send."""

from __future__ import annotations

from collections.abc import Mapping

MAX_IMAGES = 16  # pictures to make, or to embed
MAX_CANDIDATES = 16  # of the prior, for each picture
MAX_RANKED = 64  # pictures made so that the best can be kept
MAX_FRAMES = 64  # on the way from a picture to something else
MAX_CAPTIONS = 64  # to embed
MAX_PREVIEW_INTERVAL = 1000  # decoder steps
MAX_STEPS = 1000  # of one stage
MAX_CAPTION_BYTES = 4096  # of UTF-8
# Of fields that are numbers, by their names.
RANGES: Mapping[str, tuple[float, float]] = {
    "image_count": (1, MAX_IMAGES),
    "prior_candidates": (1, MAX_CANDIDATES),
    "resampling": (1, 10),
    "steps": (1, MAX_STEPS),
    "guidance_scale": (0, 30),
    "eta": (0, 1),
    "size": (16, 2048),  # pixels a side of pictures that are resized
    "width": (16, 4096),  # pixels of pictures that are painted; what a model can is told by its Sizes
    "height": (16, 4096),
}


def steps_within(most: int) -> tuple[float, float]:
    """How many steps a request may ask of a stage that takes ``most``."""
    fewest, allowed = RANGES["steps"]
    return fewest, min(allowed, most)
