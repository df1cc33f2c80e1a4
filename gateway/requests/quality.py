"""Whether a Generate is painted the fast way, by the decoder's student, or as ever."""

from __future__ import annotations

from dataclasses import replace

from gateway.requests.reading import Reader, sampler_name
from gateway.stack import StackInfo
from unclip.api.gateway.v1 import gateway_pb2
from unclip.api.type.v1 import sampling_pb2
from unclip.errors import PreconditionFailed
from unclip.options import FAST_GUIDANCE, SamplingSettings
from unclip.wire.enums import QUALITIES
from unclip.wire.quality import can_be_fast, guidance_fits, said
from unclip.wire.sampling import sampling_to_proto


def read_quality(request: gateway_pb2.GenerateRequest, info: StackInfo, reader: Reader) -> StackInfo:
    """The stack as a Generate finds it: where that is to be fast, with the defaults of that. What breaks a rule goes to
    ``reader``.

    The quality is filled in where there is a choice, so that the recipe makes the same picture wherever there is one.

    Raises:
        PreconditionFailed: it must be fast, and the stack has no fast way.
    """
    asked = request.quality
    if asked not in (sampling_pb2.QUALITY_UNSPECIFIED, *QUALITIES.names):
        reader.refuse("quality", f"must be one of {', '.join(QUALITIES.members)}; got {asked}")
        return info
    if info.fast is None:
        if asked == sampling_pb2.QUALITY_FAST:
            raise PreconditionFailed("quality", f"{info.model.name} has no fast way: its decoder has no student")
        return info
    if not asked:
        able = info.fast.usual and can_be_fast(request)
        asked = sampling_pb2.QUALITY_FAST if able else sampling_pb2.QUALITY_STANDARD
    elif asked == sampling_pb2.QUALITY_FAST:
        require_fast(request, info.fast.decoder, reader)
    reader.asked.quality = asked
    return replace(info, decoder=info.fast.decoder, upsampler=info.fast.upsampler) if is_fast(reader) else info


def is_fast(reader: Reader) -> bool:
    """Whether the Generate whose quality has been read is painted the fast way."""
    return bool(reader.asked.quality == sampling_pb2.QUALITY_FAST)


def require_fast(request: gateway_pb2.GenerateRequest, own: SamplingSettings, reader: Reader) -> None:
    """Notes what a student, which samples by its ``own`` settings, cannot do. Recipes say these settings."""
    settings = sampling_to_proto(own)
    for name in said(request.decoder):
        if (value := getattr(request.decoder, name)) != (only := getattr(settings, name)):
            shown = [sampler_name(each) if name == "sampler" else f"{each:g}" for each in (only, value)]
            reader.refuse(f"decoder.{name}", f"must be unset or {shown[0]} with QUALITY_FAST; got {shown[1]}")
            reader.asked.decoder.ClearField(name)  # said once is enough
    if not guidance_fits(request.decoder):
        (low, high), asked = FAST_GUIDANCE, request.decoder.guidance_scale
        reader.refuse("decoder.guidance_scale", f"must be {low:g} to {high:g} with QUALITY_FAST; got {asked:g}")
        reader.asked.decoder.ClearField("guidance_scale")
