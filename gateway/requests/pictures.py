"""Picture files: what the gateway makes of the last stage's pixels."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from unclip.api.type.v1 import image_pb2
from unclip.enum_names import FileFormat
from unclip.serving import tracing
from unclip.wire import marks, recipe_text
from unclip.wire.images import encode_image, from_pixels

LOG = logging.getLogger(__name__)

# Of their own, apart from asyncio's, in which requests are read: who is refused does not wait for others' pictures.
THREADS = ThreadPoolExecutor(os.cpu_count() or 1, "pictures")
Result = TypeVar("Result")

MEDIA_TYPES: dict[FileFormat, str] = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


async def in_thread(work: Callable[..., Result], *arguments: Any) -> Result:
    """``work(*arguments)``, which makes or reads a finished picture, in a thread."""
    known = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(THREADS, partial(known.run, work, *arguments))


def picture_file(
    pixels: npt.NDArray[np.float32],
    file_format: FileFormat,
    recipe: str,
    size: int | None = None,
    source_type: str = "",
) -> image_pb2.Image:
    """``pixels``, float32 ``[3, H, W]`` in [-1, 1], as a file: JPEG at quality 95, the others lossless.

    size: of its side in pixels, where it is to be resized. recipe: text of the recipe inside the file, see
    ``unclip.wire.recipe_text``; one too large for a file is left out. source_type: IPTC's term of what the picture is,
    which its XMP says, see ``unclip.wire.marks``; without one it has none. The same of all these makes the same bytes.
    """
    if len(recipe) > recipe_text.MAX_BYTES:
        LOG.warning("a recipe of %d bytes is left out of its file: the limit is %d", len(recipe), recipe_text.MAX_BYTES)
        recipe = ""
    media_type, png = MEDIA_TYPES[file_format], file_format == "png"
    more = marks.pillow_options(media_type, source_type, recipe_text.png_info(recipe) if recipe and png else None)
    if recipe and not png:
        more["exif"] = recipe_text.exif(recipe)
    with tracing.internal("encode picture", **{"unclip.format": file_format}):
        return encode_image(resized(from_pixels(pixels), size), media_type, **more)


def resized(picture: Image.Image, size: int | None) -> Image.Image:
    """A square picture at ``size`` pixels a side, by Lanczos' filter; as it is where that is None or its own."""
    if size is None or picture.size == (size, size):
        return picture
    return picture.resize((size, size), Image.Resampling.LANCZOS)
