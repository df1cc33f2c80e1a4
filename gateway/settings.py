"""What the gateway is told at start, by flags or environment."""

from __future__ import annotations

from dataclasses import dataclass

from unclip.serving.settings import ServerSettings


@dataclass(frozen=True)
class Settings(ServerSettings):
    """Where the stages are, and how patient the gateway is.

    encoder, prior, decoder, upsampler: gRPC targets, "host:port". default_deadline: seconds for a call whose caller
    sets no deadline, up to 300. patience: seconds to wait at start for stages that are not there yet.
    """

    encoder: str = "127.0.0.1:50051"
    prior: str = "127.0.0.1:50052"
    decoder: str = "127.0.0.1:50053"
    upsampler: str = "127.0.0.1:50053"
    default_deadline: float = 60.0
    patience: float = 30.0
