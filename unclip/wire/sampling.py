"""Sampling settings on the wire."""

from __future__ import annotations

from unclip.api.type.v1 import sampling_pb2
from unclip.options import SamplingSettings
from unclip.wire.by_name import PLAIN
from unclip.wire.enums import SAMPLERS
from unclip.wire.limits import MAX_STEPS, RANGES, steps_within
from unclip.wire.violations import Violations


def sampling_from_proto(
    message: sampling_pb2.SamplingOptions,
    defaults: SamplingSettings | None = None,
    field: str = "sampling",
    violations: Violations | None = None,
    max_steps: int = MAX_STEPS,
    guidance: tuple[float, float] = RANGES["guidance_scale"],
) -> SamplingSettings:
    """The settings in a message, ``defaults`` where it is silent. max_steps: that the scheduler has; guidance: the
    scales that are taken.

    Raises:
        InvalidRequest: a value is out of range; with ``violations`` given it is added there instead.
    """
    found = violations or Violations()
    if message.sampler and message.sampler not in SAMPLERS.names:
        found.add(f"{field}.sampler", f"must be one of {', '.join(SAMPLERS.members)}; got {message.sampler}")
    sampling = PLAIN.over(defaults or SamplingSettings(), message)
    ranges = {"steps": steps_within(max_steps), "guidance_scale": guidance, "eta": RANGES["eta"]}
    for name, (low, high) in ranges.items():
        found.number(f"{field}.{name}", getattr(sampling, name), low, high)
    if violations is None:
        found.raise_if_any()
    return sampling


def sampling_to_proto(sampling: SamplingSettings) -> sampling_pb2.SamplingOptions:
    """The message, every field set."""
    return PLAIN.write(sampling, sampling_pb2.SamplingOptions())
