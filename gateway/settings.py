"""What the gateway is told at start, by flags or environment."""

from __future__ import annotations

from dataclasses import dataclass

from unclip.serving.settings import ServerSettings, setting


@dataclass(frozen=True)
class Settings(ServerSettings):
    """Where the stages are, and how patient the gateway is."""

    encoder: str = setting("127.0.0.1:50051", "EncoderService, host:port")
    prior: str = setting("127.0.0.1:50052", "PriorService, host:port")
    decoder: str = setting("127.0.0.1:50053", "DecoderService, host:port")
    upsampler: str = setting("127.0.0.1:50053", "UpsamplerService, host:port")
    default_deadline: float = setting(60.0, "seconds for a call whose caller sets no deadline", 0.1, 300)
    text_cache: int = setting(32, "MiB of encoded captions to keep", 0, 65536)
    patience: float = setting(30.0, "seconds to wait at start for stages that are not there yet", 0, 86400)
