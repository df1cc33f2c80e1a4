"""Frames that were made, as one animation: the client's own, within bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from unclip.client.contract_json import image_data
from unclip.client.pictures import file_cost, open_file
from unclip.client.sheets import animation
from unclip.errors import InvalidRequest
from unclip.serving.decoding import Decoding
from unclip.wire.limits import MAX_FRAMES
from unclip.wire.marks import said_in

MAX_PIXELS = 8_000_000  # of all frames: 64 of 256 px, or 8 of 1024; lossless WebP takes some seconds for so many
SECONDS = (0.1, 60.0)


async def animated(decoding: Decoding, client: str, asked: Mapping[str, Any]) -> bytes:
    """The animated WebP that a request of ``client`` asks for.

    Raises:
        InvalidRequest: a field is unknown, or frames are no pictures, too many, too large or of different sizes.
        Overloaded: too many pictures are being read.
    """
    files, seconds = read(asked)
    costs = [file_cost(file) for file in files]
    if sum(costs) > MAX_PIXELS:
        raise InvalidRequest.of("frames", f"must have at most {MAX_PIXELS} pixels together; got {sum(costs)}")
    with decoding.admitted(sum(costs), client) as admitted:
        return await admitted.run(partial(joined, files, seconds))


def read(asked: Mapping[str, Any]) -> tuple[list[bytes], float]:
    """The files and the seconds of a request. Raises InvalidRequest."""
    frames, seconds = asked.get("frames"), asked.get("seconds", 2.0)
    if unknown := [name for name in asked if name not in ("frames", "seconds")]:
        raise InvalidRequest.of(ascii(unknown[0])[1:-1][:64], "is no field of an animation")
    if not isinstance(frames, list) or not 1 <= len(frames) <= MAX_FRAMES:
        raise InvalidRequest.of("frames", f"must be a list of 1 to {MAX_FRAMES} pictures")
    number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not number or not SECONDS[0] <= seconds <= SECONDS[1]:
        raise InvalidRequest.of("seconds", f"must be {SECONDS[0]:g} to {SECONDS[1]:g}")
    return [image_data(frame, f"frames[{index}]") for index, frame in enumerate(frames)], float(seconds)


def joined(files: Sequence[bytes], seconds: float) -> bytes:
    """The animation of picture files, which says of itself what the first of them says. Raises InvalidRequest."""
    frames = [open_file(file, f"frames[{index}]") for index, file in enumerate(files)]
    if len({frame.size for frame in frames}) != 1:
        raise InvalidRequest.of("frames", "must be of one size")
    return animation(frames, seconds, said_in(files[0]))
