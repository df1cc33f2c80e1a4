"""Settings of the prior service, by flags or environment."""

from __future__ import annotations

from dataclasses import dataclass

from unclip.options import ROOMS
from unclip.serving.settings import HIGHEST_PORT, PORT_HELP, ModelSettings, setting


@dataclass(frozen=True)
class Settings(ModelSettings):
    """A request is a few hundred KiB at most."""

    port: int = setting(50052, PORT_HELP, 0, HIGHEST_PORT)
    max_request_bytes: int = setting(4 * 1024 * 1024, "largest request accepted", 1024, 256 * 1024 * 1024)
    max_batch: int = setting(ROOMS["prior"].max_batch, "samples that share one pass through the network", 1, 1024)
    capacity: int = setting(ROOMS["prior"].capacity, "samples under way at once", 1, 4096)
