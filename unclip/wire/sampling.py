"""Sampling settings on the wire."""

from __future__ import annotations

from unclip.api.type.v1 import sampling_pb2
from unclip.options import SAMPLERS, SamplerName, SamplingSettings
from unclip.wire.violations import Violations

MAX_STEPS = 1000
MAX_GUIDANCE = 30.0
NUMBERS = dict(zip(SAMPLERS, sampling_pb2.Sampler.values()[1:], strict=True))  # both in the contract's order
NAMES: dict[int, SamplerName] = {number: name for name, number in NUMBERS.items()}


def settings_from_proto(
    message: sampling_pb2.SamplingOptions,
    defaults: SamplingSettings | None = None,
    field: str = "sampling",
    violations: Violations | None = None,
) -> SamplingSettings:
    """The settings in a message, ``defaults`` where it is silent.

    Raises:
        InvalidRequest: a value is out of range; with ``violations`` given it is added there instead.
    """
    base = defaults or SamplingSettings()
    found = violations or Violations()
    if message.sampler and message.sampler not in NAMES:
        found.add(f"{field}.sampler", f"must be one of {', '.join(sampling_pb2.Sampler.keys())}; got {message.sampler}")
    settings = SamplingSettings(
        NAMES.get(message.sampler, base.sampler),
        message.steps if message.HasField("steps") else base.steps,
        message.guidance_scale if message.HasField("guidance_scale") else base.guidance_scale,
        message.eta if message.HasField("eta") else base.eta,
    )
    found.number(f"{field}.steps", settings.steps, 1, MAX_STEPS)
    found.number(f"{field}.guidance_scale", settings.guidance_scale, 0, MAX_GUIDANCE)
    found.number(f"{field}.eta", settings.eta, 0, 1)
    if violations is None:
        found.raise_if_any()
    return settings


def settings_to_proto(settings: SamplingSettings) -> sampling_pb2.SamplingOptions:
    """The message, every field set."""
    return sampling_pb2.SamplingOptions(
        sampler=NUMBERS[settings.sampler],
        steps=settings.steps,
        guidance_scale=settings.guidance_scale,
        eta=settings.eta,
    )
