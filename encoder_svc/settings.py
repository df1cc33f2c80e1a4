"""What the encoder service is told at start, by flags or environment."""

from __future__ import annotations

from dataclasses import dataclass

from unclip.serving.settings import ModelSettings, setting


@dataclass(frozen=True)
class Settings(ModelSettings):
    """Room for the largest requests, 64 captions or 16 pictures, several at a time."""

    max_batch: int = setting(16, "captions or pictures that share one pass through a network", 1, 1024)
    queue_limit: int = setting(512, "captions and pictures that may wait", 0, 65536)
