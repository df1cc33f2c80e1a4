"""Settings of a process of stubs, by flags or environment."""

from __future__ import annotations

from dataclasses import dataclass, replace

from unclip.errors import ConfigurationError
from unclip.options import ROOMS, ServiceName, Sizes
from unclip.serving.settings import ServerSettings, setting
from unclip.testing.faults import Faults
from unclip.testing.model import FAST, FAST_UPSAMPLER, STAGES, StubModel

GATEWAY = "gateway"


@dataclass(frozen=True)
class Settings(ServerSettings):
    """Which stages to stub, on one port together, and how they behave."""

    stages: str = setting(",".join((*STAGES, GATEWAY)), "which to serve, with commas; the gateway needs all four")
    max_connection_age: float = setting(6.0, "seconds after which clients reconnect, and find new replicas", 1, 86400)
    step_seconds: float = setting(0.05, "seconds a step takes", 0, 3600)
    capacity: int = setting(0, "samples under way at once, of each stage, 0 for as many as the real one", 0, 4096)
    queue_limit: int = setting(-1, "samples that may wait, of each stage, -1 for as many as the real one", -1, 65536)
    retry_after: float = setting(1.0, "seconds after which a caller refused for want of room shall return", 0, 3600)
    fail: int = setting(0, "calls that each stage refuses as UNAVAILABLE before it serves", 0, 1_000_000)
    break_streams: int = setting(0, "streams that each stage breaks off before it serves", 0, 1_000_000)
    break_after: int = setting(2, "steps after which it does", 0, 1000)
    hang: str = setting("", "stages that never take a step, with commas")
    lacks: str = setting("", "capabilities that are missing, such as invert, with commas")
    dim: int = setting(64, "dimensions of embeddings and token states", 1, 4096)
    context: int = setting(77, "tokens of a caption", 3, 512)
    base_size: int = setting(64, "side of the decoder's pictures", 1, 1024)
    final_size: int = setting(256, "side of the upsampler's pictures", 1, 1024)
    sizes: str = setting("", "what else is painted: MULTIPLE:SMALLEST:LARGEST:PIXELS, such as 64:256:1024:1048576")
    reads_text: str = setting("on", "whether the decoder reads captions: on, or off")
    fast: str = setting("off", "whether the decoder has a student: off, on, or default, where it is asked by default")
    api_keys: str = setting("", "TOML or JSON file of API keys that calls of the gateway need")
    steps: int = setting(0, "default steps of every stage, 0 for its own", 0, 1000)
    model_version: str = setting(StubModel.version, "version of the model; another one makes other pictures")
    clip_space: str = setting(StubModel.clip_space, "names the CLIP; stages of different ones do not work together")

    def __post_init__(self) -> None:
        super().__post_init__()
        chosen = self.stages.split(",")
        known = {*STAGES, GATEWAY}
        if not set(chosen) <= known or len(set(chosen)) != len(chosen):
            raise ConfigurationError(f"stages must be of {', '.join((*STAGES, GATEWAY))}; got {self.stages!r}")
        if GATEWAY in chosen and set(chosen) != known:
            raise ConfigurationError(f"stages must hold all four stages beside the gateway; got {self.stages!r}")
        if self.reads_text not in ("on", "off"):
            raise ConfigurationError(f"reads_text must be on or off; got {self.reads_text!r}")
        if self.fast not in ("off", "on", "default"):
            raise ConfigurationError(f"fast must be off, on or default; got {self.fast!r}")
        self.model()  # whose sizes may be none that a model has
        if not set(_words(self.hang)) <= set(STAGES):
            raise ConfigurationError(f"hang must be of {', '.join(STAGES)}; got {self.hang!r}")

    @property
    def chosen(self) -> tuple[ServiceName, ...]:
        """The stages to stub."""
        return tuple(stage for stage in STAGES if stage in self.stages.split(","))

    @property
    def with_gateway(self) -> bool:
        """Whether the gateway is served as well."""
        return GATEWAY in self.stages.split(",")

    @property
    def secured(self) -> bool:
        """Whether not everybody may call."""
        return super().secured or bool(self.api_keys)

    def model(self) -> StubModel:
        """The model to pretend."""
        model = StubModel(
            version=self.model_version,
            clip_space=self.clip_space,
            dim=self.dim,
            context=self.context,
            base_size=self.base_size,
            final_size=self.final_size,
            sizes=sizes_of(self.sizes),
            ignores_text=self.reads_text == "off",
            fast=None if self.fast == "off" else FAST,
            fast_upsampler=None if self.fast == "off" else FAST_UPSAMPLER,
            quality="fast" if self.fast == "default" else "standard",
        )
        if not self.steps:
            return model
        return replace(
            model,
            prior=replace(model.prior, steps=self.steps),
            decoder=replace(model.decoder, steps=self.steps),
            upsampler=replace(model.upsampler, steps=self.steps),
        )

    def faults(self, stage: ServiceName) -> Faults:
        """The knobs of ``stage``."""
        return Faults(
            step_seconds=self.step_seconds,
            capacity=self.capacity or ROOMS[stage].capacity,
            queue_limit=ROOMS[stage].queue_limit if self.queue_limit < 0 else self.queue_limit,
            max_batch=ROOMS[stage].max_batch,
            retry_after=self.retry_after,
            fail=self.fail,
            hang=stage in _words(self.hang),
            break_streams=self.break_streams,
            break_after=self.break_after,
            lacks=_words(self.lacks),
        )


def sizes_of(text: str) -> Sizes | None:
    """The sizes in a setting, None for none. Raises ConfigurationError."""
    if not text:
        return None
    numbers = [int(number) for number in text.split(":") if number.isascii() and number.isdigit()]
    if len(numbers) != 4 or len(text.split(":")) != 4 or not 1 <= numbers[0] <= numbers[1] <= numbers[2]:
        form = "MULTIPLE:SMALLEST:LARGEST:PIXELS, the first three growing"
        raise ConfigurationError(f"sizes must be {form}; got {text!r}")
    return Sizes(*numbers)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.split(",") if word)
