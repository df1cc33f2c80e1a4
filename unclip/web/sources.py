"""Pictures that come with an edit, and what of them is to be repainted: OpenAI's masks say it the other way round."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image

from unclip.client.pictures import file_cost, open_file
from unclip.errors import InvalidRequest
from unclip.serving.decoding import Decoding
from unclip.wire.images import strips

HALF = 128  # where alpha is less the gateway repaints a picture that comes without a mask


@dataclass(frozen=True)
class Sources:
    """image: its file. mask: as the gateway wants it, light where to repaint; None where none came. repaints:
    whether a mask, or the picture's own transparency, says what to repaint."""

    image: bytes
    mask: bytes | None
    repaints: bool


async def read_sources(decoding: Decoding, client: str, image: bytes, mask: bytes | None) -> Sources:
    """What came with an edit of ``client``, read in its turn.

    Raises:
        InvalidRequest: a file is no picture, or the mask has no alpha channel.
        Overloaded: too many pictures are being read.
    """
    field, file = ("image", image) if mask is None else ("mask", mask)
    with decoding.admitted(file_cost(file), client) as admitted:
        if mask is None:
            return Sources(image, None, await admitted.run(partial(is_transparent, file, field)))
        return Sources(image, await admitted.run(partial(converted, file, field)), True)


def is_transparent(file: bytes, field: str) -> bool:
    """Whether a picture's own alpha says what to repaint. Raises InvalidRequest."""
    picture = open_file(file, field)
    return picture.mode == "RGBA" and bool((np.asarray(picture.getchannel("A")) < HALF).any())


def converted(file: bytes, field: str) -> bytes:
    """A mask as the gateway has them, white where this one is fully transparent and black elsewhere: a PNG.

    Raises:
        InvalidRequest: it is no picture, or has no alpha channel, or nothing to repaint.
    """
    mask = open_file(file, field)
    if mask.mode != "RGBA":
        raise InvalidRequest.of(field, "must have an alpha channel, transparent where to edit; got none")
    turned = Image.new("L", mask.size)
    anything = False
    for top, strip in strips(mask):
        clear = np.asarray(strip.getchannel("A")) == 0
        anything = anything or bool(clear.any())
        turned.paste(Image.fromarray(clear.astype(np.uint8) * np.uint8(255)), (0, top))
    if not anything:
        raise InvalidRequest.of(field, "must be fully transparent, alpha 0, where to edit; got nothing that is")
    written = io.BytesIO()
    turned.save(written, "PNG", compress_level=1)
    return written.getvalue()
