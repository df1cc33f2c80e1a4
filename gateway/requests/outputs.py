"""What a request wants painted, and made of what is painted: size, shape, file format, previews."""

from __future__ import annotations

from dataclasses import replace

from gateway.requests.plan import Output
from gateway.requests.reading import Reader
from gateway.stack import StackInfo
from unclip.api.type.v1 import sampling_pb2
from unclip.wire.limits import RANGES


def read_output(info: StackInfo, reader: Reader, preview_interval: int) -> Output:
    """What is painted, and comes after the decoder. The upsampler follows its base picture alone: it has no guidance.

    Raises:
        PreconditionFailed: the stack paints no pictures of that width and height.
    """
    stage = sampling_pb2.STAGE_UPSAMPLER
    upsampler = reader.sampling("upsampler", replace(info.upsampler, guidance_scale=1.0), info.max_steps(stage))
    if upsampler.guidance_scale != 1:
        reader.refuse(
            "upsampler.guidance_scale", f"must be 1, the upsampler has no guidance; got {upsampler.guidance_scale:g}"
        )
    size, (width, height) = reader.optional("size"), read_shape(info, reader)
    if size is not None and width is not None:
        reader.refuse("size", f"must be unset where width and height are set; got {size}")
    area = 1.0 if width is None or height is None else width * height / info.side(stage) ** 2
    return Output(upsampler, reader.choice("format"), preview_interval, size, width, height, area)


def read_shape(info: StackInfo, reader: Reader) -> tuple[int | None, int | None]:
    """Width and height of what is painted; None where that is the stack's own square, or where they are refused.

    Raises:
        PreconditionFailed: as `read_output`.
    """
    width, height = (reader.optional(field) for field in ("width", "height"))
    if width is None and height is None:
        return None, None
    if width is None or height is None:
        lacking, there = ("width", "height") if width is None else ("height", "width")
        reader.refuse(lacking, f"must be set where {there} is; got none")
        return None, None
    if not all(low <= side <= high for side, (low, high) in ((width, RANGES["width"]), (height, RANGES["height"]))):
        return None, None
    info.require_size(width, height)
    return width, height
