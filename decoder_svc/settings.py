"""Settings of the decoder service, by flags or environment."""

from __future__ import annotations

from dataclasses import dataclass

from unclip.errors import ConfigurationError
from unclip.serving.settings import HIGHEST_PORT, PORT_HELP, ModelSettings, megapixels, setting

STAGES = ("decode", "upsample")


@dataclass(frozen=True)
class Settings(ModelSettings):
    """Which of its two services a replica serves, so that each pool scales alone."""

    port: int = setting(50053, PORT_HELP, 0, HIGHEST_PORT)
    stages: str = setting("decode,upsample", "which to serve: decode, upsample, or both with a comma between")
    decode_megapixels: int = megapixels()

    def __post_init__(self) -> None:
        super().__post_init__()
        chosen = self.stages.split(",")
        if not set(chosen) <= set(STAGES) or len(set(chosen)) != len(chosen):
            raise ConfigurationError(f"stages must be decode, upsample or decode,upsample; got {self.stages!r}")
