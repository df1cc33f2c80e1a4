"""Pictures on the wire: decoding what strangers send, encoding what the stages make."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from unclip.api.type.v1 import image_pb2
from unclip.errors import InvalidRequest

MAX_BYTES = 10 * 1024 * 1024
MAX_SIDE = 4096
MAX_PSNR = 100.0  # in dB; equal pictures would have infinity
MAX_PIXELS = 16_000_000
FORMATS = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
FORMAT_NAMES = {media_type: name for name, media_type in FORMATS.items()}


def decode_image(message: image_pb2.Image, field: str) -> Image.Image:
    """The picture in a message, RGB, upright, over white where it was transparent; the rest as ``open_image``."""
    return flatten(open_image(message, field))


def open_image(message: image_pb2.Image, field: str) -> Image.Image:
    """The picture in a message, upright: RGBA where it can be transparent, RGB where it cannot.

    Accepts one-frame PNG, JPEG and WebP up to 10 MiB, 4096 px a side and 16 megapixels; size and frames are checked
    from the header, before pixels are allocated.

    Raises:
        InvalidRequest: naming ``field``, the limit and the value.
    """
    data = message.data
    if not data:
        raise InvalidRequest.of(f"{field}.data", "must hold a PNG, JPEG or WebP file; got none")
    if len(data) > MAX_BYTES:
        raise InvalidRequest.of(f"{field}.data", f"must be at most {MAX_BYTES} bytes; got {len(data)}")
    try:
        image = Image.open(io.BytesIO(data), formats=list(FORMATS))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):  # where warnings are errors
        raise InvalidRequest.of(f"{field}.data", f"must be at most {MAX_PIXELS} pixels; got far more") from None
    except Exception:
        raise InvalidRequest.of(
            f"{field}.data", f"must be a PNG, JPEG or WebP file; got {len(data)} bytes of something else"
        ) from None
    width, height = image.size
    if width > MAX_SIDE or height > MAX_SIDE:
        raise InvalidRequest.of(f"{field}.data", f"must be at most {MAX_SIDE} px a side; got {width} x {height}")
    if width * height > MAX_PIXELS:
        raise InvalidRequest.of(f"{field}.data", f"must be at most {MAX_PIXELS} pixels; got {width * height}")
    if (frames := getattr(image, "n_frames", 1)) > 1:
        raise InvalidRequest.of(f"{field}.data", f"must have one frame; got an animation of {frames}")
    if image.mode == "CMYK":
        raise InvalidRequest.of(f"{field}.data", "must be grey or RGB, with or without transparency; got CMYK")
    try:
        image.load()
        return eight_bits(ImageOps.exif_transpose(image))
    except Exception:
        raise InvalidRequest.of(
            f"{field}.data", "must be a whole picture file; got one that is cut or damaged"
        ) from None


def eight_bits(image: Image.Image) -> Image.Image:
    """Any mode as RGBA where it can be transparent, else as RGB; 16 bits a channel are scaled to 8."""
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def flatten(image: Image.Image) -> Image.Image:
    """An RGB or RGBA picture as RGB; transparency shows white."""
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def encode_image(image: Image.Image, media_type: str = "image/png", **more: Any) -> image_pb2.Image:
    """The message for a picture: PNG and WebP lossless, JPEG at quality 95. ``more``: what else Pillow shall write."""
    file = io.BytesIO()
    name = FORMAT_NAMES[media_type]
    if name == "JPEG":
        image.save(file, name, quality=95, **more)
    elif name == "WEBP":
        image.save(file, name, lossless=True, **more)
    else:
        image.save(file, name, **more)
    return image_pb2.Image(data=file.getvalue(), media_type=media_type, width=image.width, height=image.height)


def to_pixels(image: Image.Image) -> npt.NDArray[np.float32]:
    """An RGB picture as float32 ``[3, H, W]`` in [-1, 1]."""
    return (np.asarray(image, np.float32).transpose(2, 0, 1) / 127.5 - 1).astype(np.float32)


def from_pixels(pixels: npt.NDArray[np.float32]) -> Image.Image:
    """float32 ``[3, H, W]`` in [-1, 1], clipped and rounded, as an RGB picture."""
    bytes_ = np.round((np.clip(pixels, -1, 1) + 1) * 127.5).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(bytes_.transpose(1, 2, 0)))


def psnr(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    """Peak signal-to-noise ratio in dB of pixels in [-1, 1] of one shape; at most ``MAX_PSNR``, equal ones included."""
    error = float(np.mean(np.square(one.astype(np.float64) - other)))
    return MAX_PSNR if error <= 0 else min(MAX_PSNR, 10 * math.log10(4 / error))


def fit(image: Image.Image, side: int) -> Image.Image:
    """The picture at ``side`` x ``side``: shortest edge resized (bicubic, antialiased), cropped at the centre."""
    return ImageOps.fit(image, (side, side), Image.Resampling.BICUBIC)
