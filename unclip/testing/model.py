"""The model that stubs pretend to have loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

from unclip.api.type.v1 import model_info_pb2, sampling_pb2
from unclip.checkpoints.vocabulary import Vocabulary
from unclip.errors import ConfigurationError
from unclip.options import Quality, Room, SamplingSettings, ServiceName, Sizes
from unclip.serving.model_info import stage_info
from unclip.wire.enums import QUALITIES
from unclip.wire.stage_reading import StageSpec

STAGES: tuple[ServiceName, ...] = get_args(ServiceName)
NUMBERS: dict[ServiceName, sampling_pb2.Stage.ValueType] = {
    "encoder": sampling_pb2.STAGE_ENCODER,
    "prior": sampling_pb2.STAGE_PRIOR,
    "decoder": sampling_pb2.STAGE_DECODER,
    "upsampler": sampling_pb2.STAGE_UPSAMPLER,
}
PRIOR, DECODER, UPSAMPLER = (
    SamplingSettings("ddpm", 5, 4.0),
    SamplingSettings("ddpm", 8, 8.0),
    SamplingSettings("ddpm", 3, 1.0),
)
FAST, FAST_UPSAMPLER = SamplingSettings("ddim", 2, 3.0), SamplingSettings("ddpm", 1, 1.0)
CHANNELS, SCALE = 4, 8  # of latents, and pixels to a side of an element


@dataclass(frozen=True)
class StubModel:
    """Names, sizes and defaults of a checkpoint that does not exist.

    version: of every stage; answers of stages of another version are others. clip_space: names its CLIP.
    dim: D of embeddings and of token states. context: L, tokens of a caption. base_size, final_size: sides of the
    decoder's and the upsampler's pictures. prior, decoder, upsampler: defaults of their sampling. vocabulary: what it
    says that it was taught. fast: how its decoder's student samples, None where it has none. fast_upsampler: what goes
    with that. quality: what it makes where nobody asks for another. sizes: what else it paints; it then walks latents,
    whose decoder makes the final picture of them, base_size being final_size. ignores_text: its decoder reads no
    captions.

    Raises:
        ConfigurationError: sizes that no model has.
    """

    name: str = "stub"
    version: str = "stub-1"
    license: str = "CC0-1.0"
    clip_space: str = hashlib.sha256(b"unclip.testing").hexdigest()
    caption_template: str = "a photo of {}"
    dim: int = 64
    context: int = 77
    base_size: int = 64
    final_size: int = 256
    prior: SamplingSettings = PRIOR
    decoder: SamplingSettings = DECODER
    upsampler: SamplingSettings = UPSAMPLER
    vocabulary: Vocabulary | None = None
    fast: SamplingSettings | None = None
    fast_upsampler: SamplingSettings | None = None
    quality: Quality = "standard"
    sizes: Sizes | None = None
    ignores_text: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.base_size <= self.final_size:
            raise ConfigurationError(f"base_size must be 1 to final_size, {self.final_size}; got {self.base_size}")
        if self.sizes and (self.base_size != self.final_size or self.sizes.multiple % SCALE or self.base_size % SCALE):
            raise ConfigurationError(
                f"sizes need base_size to be final_size, and both like their multiple one of {SCALE}; "
                f"got {self.base_size}, {self.final_size} and {self.sizes.multiple}"
            )
        if self.dim < 1 or self.context < 3:
            raise ConfigurationError(f"dim must be 1 or more, context 3 or more; got {self.dim}, {self.context}")

    def spec(self, stage: ServiceName) -> StageSpec:
        """What ``stage`` takes; as with the real ones, only the prior insists on its own number of tokens."""
        latents: dict[str, Any] = {"sizes": self.sizes, "channels": CHANNELS, "scale": SCALE} if self.sizes else {}
        match stage:
            case "encoder":
                return StageSpec(self.clip_space, self.dim, self.context)
            case "prior":
                return StageSpec(self.clip_space, self.dim, self.context, defaults=self.prior)
            case "decoder":
                return StageSpec(
                    self.clip_space,
                    self.dim,
                    size=self.base_size,
                    defaults=self.decoder,
                    fast=self.fast,
                    ignores_text=self.ignores_text,
                    **latents,
                )
            case "upsampler":
                return StageSpec("", 0, size=self.final_size, defaults=self.upsampler, **latents)

    def info(
        self, stage: ServiceName, capabilities: Sequence[str], room: Room | None = None
    ) -> model_info_pb2.ModelInfo:
        """What ``stage`` says of itself."""
        spec = self.spec(stage)
        defaults = None if stage == "encoder" else spec.defaults
        fast = self.fast_upsampler if stage == "upsampler" else spec.fast
        max_steps = 0 if stage == "encoder" else spec.max_steps
        return model_info_pb2.ModelInfo(
            name=self.name,
            version=self.version,
            license=self.license,
            clip_space=spec.clip_space,
            device="stub",
            capabilities=capabilities,
            stages=[
                stage_info(NUMBERS[stage], 1, spec.size, defaults, room, spec.sizes, spec.ignores_text, fast, max_steps)
            ],
            caption_template=self.caption_template,
            embedding_dim=spec.dim,
            checkpoint=self.version,
            quality=QUALITIES.numbers[self.quality] if self.fast else sampling_pb2.QUALITY_UNSPECIFIED,
        )
