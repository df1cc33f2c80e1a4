"""Picture files: what the gateway takes from messages, and makes of the last stage's pixels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gateway.feed import PictureFile
from gateway.plan import FileFormat
from unclip.api.type.v1 import image_pb2
from unclip.wire.images import encode_image, from_pixels

MEDIA_TYPES: dict[FileFormat, str] = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


def picture_file(pixels: npt.NDArray[np.float32], file_format: FileFormat) -> PictureFile:
    """``pixels``, float32 ``[3, H, W]`` in [-1, 1], as a file: JPEG at quality 95, the others lossless."""
    return from_message(encode_image(from_pixels(pixels), MEDIA_TYPES[file_format]))


def from_message(image: image_pb2.Image) -> PictureFile:
    """The picture of ``image``."""
    return PictureFile(image.data, image.media_type, image.width, image.height)


def to_message(file: PictureFile) -> image_pb2.Image:
    """The message for ``file``."""
    return image_pb2.Image(data=file.data, media_type=file.media_type, width=file.width, height=file.height)
