"""What a decoder's student can do of what is asked for: gateway and clients read it alike."""

from __future__ import annotations

from unclip.api.gateway.v1 import gateway_pb2
from unclip.api.type.v1 import sampling_pb2
from unclip.options import FAST_GUIDANCE
from unclip.wire.captions import blank

FIXED = ("sampler", "steps", "eta")  # of the decoder's options: what a student was taught with


def can_be_fast(request: gateway_pb2.GenerateRequest) -> bool:
    """Whether all that is asked for can be had from a student."""
    return not said(request.decoder) and blank(request.negative_caption) and guidance_fits(request.decoder)


def said(options: sampling_pb2.SamplingOptions) -> list[str]:
    """Which of a student's fixed settings are asked for."""
    set_here = {field.name for field, _ in options.ListFields()}
    return [name for name in FIXED if name in set_here]


def guidance_fits(options: sampling_pb2.SamplingOptions) -> bool:
    """Whether a student takes the guidance scale; it does where there is none."""
    low, high = FAST_GUIDANCE
    return not options.HasField("guidance_scale") or low <= options.guidance_scale <= high
