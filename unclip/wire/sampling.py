"""Sampling settings on the wire."""

from __future__ import annotations

from collections.abc import Mapping

from unclip.api.type.v1 import sampling_pb2
from unclip.options import SamplingSettings
from unclip.wire.by_name import PLAIN
from unclip.wire.enums import SAMPLERS
from unclip.wire.limits import RANGES
from unclip.wire.violations import Violations


def sampling_from_proto(
    message: sampling_pb2.SamplingOptions,
    defaults: SamplingSettings | None = None,
    field: str = "sampling",
    violations: Violations | None = None,
    ranges: Mapping[str, tuple[float, float]] = RANGES,
) -> SamplingSettings:
    """The settings in a message, ``defaults`` where it is silent; numbers within ``ranges``.

    Raises:
        InvalidRequest: a value is out of range; with ``violations`` given it is added there instead.
    """
    found = violations or Violations()
    if message.sampler and message.sampler not in SAMPLERS.names:
        found.add(f"{field}.sampler", f"must be one of {', '.join(SAMPLERS.members)}; got {message.sampler}")
    sampling = PLAIN.over(defaults or SamplingSettings(), message)
    for name in ("steps", "guidance_scale", "eta"):
        found.number(f"{field}.{name}", getattr(sampling, name), *ranges[name])
    if violations is None:
        found.raise_if_any()
    return sampling


def sampling_to_proto(sampling: SamplingSettings) -> sampling_pb2.SamplingOptions:
    """The message, every field set."""
    return PLAIN.write(sampling, sampling_pb2.SamplingOptions())
