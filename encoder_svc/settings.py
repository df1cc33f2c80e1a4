"""Settings of the encoder service, by flags or environment."""

from __future__ import annotations

from dataclasses import dataclass

from unclip.options import ROOMS
from unclip.serving.settings import HIGHEST_PORT, PORT_HELP, ModelSettings, megapixels, setting


@dataclass(frozen=True)
class Settings(ModelSettings):
    """Room for the largest requests, 64 captions or 16 pictures, several at a time."""

    port: int = setting(50051, PORT_HELP, 0, HIGHEST_PORT)
    precision: str = setting("auto", "of both encoders: float32, bfloat16, float16, or auto: float32")
    image_encoder: str = setting(
        "",
        "checkpoint folder or Hub id whose image encoder to use where the checkpoint has none; "
        "empty takes the one known to belong to it, if it is there",
    )
    max_batch: int = setting(
        ROOMS["encoder"].max_batch, "captions or pictures that share one pass through a network", 1, 1024
    )
    decode_megapixels: int = megapixels()
    queue_limit: int = setting(ROOMS["encoder"].queue_limit, "captions and pictures that may wait", 0, 65536)
