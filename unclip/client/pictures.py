"""Pictures to send: whatever they are given as, as the bytes of a file; and such files as gateways see them."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, UnidentifiedImageError

from unclip.api.type.v1 import image_pb2
from unclip.errors import InvalidRequest
from unclip.wire.bare_pictures import orientation_of
from unclip.wire.by_name import brief
from unclip.wire.images import (
    FORMATS,
    INKS,
    MAX_BYTES,
    colours_of,
    decode_cost,
    encode_image,
    open_image,
    upright,
)
from unclip.wire.picture_headers import JPEG, PNG, WEBP

ORIENTATION = 0x0112


def file_bytes(picture: Any, field: str) -> bytes:
    """``picture``, see ``unclip.client.values.Picture``, as a file of at most 10 MiB: what is one stays as it is. So
    does the file that a Pillow image was opened from, where that can still be read and holds the same pixels. Other
    images, and arrays, become a PNG of what people see, upright and in colours of sRGB; beyond 10 MiB a lossless WebP.

    Raises:
        InvalidRequest: it is no picture, or cannot be read, naming ``field``.
    """
    if isinstance(picture, np.ndarray):
        picture = of_array(picture, field)
    if isinstance(picture, (str, os.PathLike)):
        data = read_file(picture, field)
    elif isinstance(picture, Image.Image):
        data = own_file(picture) or encoded(picture, field)
    elif isinstance(picture, (bytes, bytearray, memoryview)):
        data = as_bytes(picture, field)
    elif callable(getattr(picture, "read", None)):
        data = read_open(picture, field)
    elif picture is None:
        raise InvalidRequest.of(
            field, "must be a picture; got none (a recipe leaves its source pictures out: put them back)"
        )
    else:
        raise InvalidRequest.of(
            field, f"must be a path, bytes, an open file, a Pillow image or a uint8 array; got {brief(picture)}"
        )
    if len(data) > MAX_BYTES:
        raise InvalidRequest.of(field, f"must be at most {MAX_BYTES} bytes; got {len(data)}")
    return data


def of_array(array: npt.NDArray[Any], field: str) -> Image.Image:
    """A picture in an array. Raises InvalidRequest."""
    deep = array.ndim == 3 and array.shape[2] in (3, 4) and array.dtype == np.uint8
    flat = array.ndim == 2 and array.dtype in (np.uint8, np.bool_)
    if not (deep or flat) or 0 in array.shape:
        got = f"{array.dtype} {list(array.shape)}"
        raise InvalidRequest.of(field, f"must be uint8 [H, W], [H, W, 3] or [H, W, 4], or bool [H, W]; got {got}")
    return Image.fromarray(array.astype(np.uint8) * 255 if array.dtype == np.bool_ else array)


def own_file(picture: Image.Image) -> bytes | None:
    """The file that a Pillow image was opened from, if gateways read its kind, it is small enough, and it still holds
    what the image does; else None. Whether an image that was worked on in place is the same its pixels tell."""
    if not isinstance(picture, ImageFile.ImageFile) or picture.format not in (*FORMATS, "MPO"):
        return None
    with contextlib.suppress(Exception):  # a closed file, a path that is gone, a damaged picture: Pillow raises many
        data = bytes_behind(picture)
        if len(data) > MAX_BYTES or picture.tell() or (picture.format != "MPO" and getattr(picture, "n_frames", 1) > 1):
            return None
        with Image.open(io.BytesIO(data), formats=list(FORMATS)) as again:
            alike = (again.mode, again.size, again.tile, again.info) == (
                picture.mode,
                picture.size,
                picture.tile,
                picture.info,
            )
            if (alike and picture.tile) or again == picture:
                return data
    return None


def bytes_behind(picture: ImageFile.ImageFile) -> bytes:
    """The bytes of the file that a Pillow image was opened from, not much beyond 10 MiB. Raises whatever it raises."""
    file: Any = picture.fp
    if file is None:
        with Path(os.fsdecode(picture.filename)).open("rb") as file:
            return bytes(file.read(MAX_BYTES + 1))
    at = file.tell()
    try:
        file.seek(0)
        return bytes(file.read(MAX_BYTES + 1))
    finally:
        file.seek(at)


def as_seen(picture: Image.Image, field: str = "image") -> Image.Image:
    """A Pillow image as gateways see its file: upright by its EXIF data, in colours of sRGB by its ICC profile, of 8
    bits a channel, RGBA where it can be transparent, else RGB.

    Raises:
        InvalidRequest: it is CMYK without a profile.
        Exception: whatever Pillow raises of a damaged file.
    """
    picture.load()
    orientation = orientation_of(picture.info)
    if orientation is None:
        orientation = 1
        with contextlib.suppress(Exception):  # of a TIFF, say
            orientation = picture.getexif().get(ORIENTATION, 1)
    colours = colours_of(picture.info.get("icc_profile") or b"", picture.mode)
    if picture.mode == "CMYK" and colours is None:
        raise InvalidRequest.of(field, INKS)
    return upright(picture.copy(), orientation, colours)


def open_picture(file: str | os.PathLike[str] | bytes, field: str) -> Image.Image:
    """The picture in a file, or its bytes, as gateways see it; see ``as_seen``. Other formats are read as Pillow can.

    Raises:
        InvalidRequest: it cannot be read, naming ``field``.
    """
    data = file if isinstance(file, bytes) else read_file(file, field)
    if data.startswith((PNG, JPEG)) or WEBP.match(data):
        return open_image(image_pb2.Image(data=data), field)
    try:
        with Image.open(io.BytesIO(data)) as picture:
            return as_seen(picture, field)
    except InvalidRequest:
        raise
    except UnidentifiedImageError:
        raise InvalidRequest.of(field, f"must be a picture; got {len(data)} bytes of something else") from None
    except Exception as error:
        raise InvalidRequest.of(field, f"cannot be read as a picture: {error}") from error


def encoded(picture: Image.Image, field: str) -> bytes:
    """A Pillow image as a PNG, or where that is larger than 10 MiB as a lossless WebP. Raises InvalidRequest."""
    try:
        seen = as_seen(picture, field)
        data: bytes = encode_image(seen).data
        return data if len(data) <= MAX_BYTES else encode_image(seen, "image/webp").data
    except InvalidRequest:
        raise
    except Exception as error:  # of a damaged file, a closed one, an empty picture: Pillow and its codecs raise many
        raise InvalidRequest.of(field, f"must be a picture that can be read whole; Pillow says: {error}") from error


def as_bytes(picture: bytes | bytearray | memoryview, field: str) -> bytes:
    """``picture`` as it is. Raises InvalidRequest of a memoryview that has been released."""
    try:
        return bytes(picture)
    except ValueError as error:
        raise InvalidRequest.of(field, f"cannot be read: {error}") from error


def read_open(file: Any, field: str) -> bytes:
    """What is left in a file that is open for reading bytes, not much beyond 10 MiB of it. Raises InvalidRequest."""
    try:
        data = file.read(MAX_BYTES + 1)
        # Unbuffered files may give less than there is.
        while data and len(data) <= MAX_BYTES and (more := file.read(MAX_BYTES + 1 - len(data))):
            data += more
    except (OSError, ValueError, TypeError) as error:  # closed, say
        raise InvalidRequest.of(field, f"cannot read {brief(file)}: {error}") from error
    if not isinstance(data, (bytes, bytearray)):
        raise InvalidRequest.of(field, f"must be open for bytes; reading gives {brief(data)}")
    return bytes(data)


def read_file(path: str | os.PathLike[str], field: str) -> bytes:
    """The bytes of a file of at most 10 MiB, which is checked before reading. Raises InvalidRequest."""
    try:
        size = Path(path).stat().st_size
        if size > MAX_BYTES:
            raise InvalidRequest.of(field, f"must be at most {MAX_BYTES} bytes; {path} has {size}")
        with Path(path).open("rb") as file:  # of a device, or a pipe, that is no size
            return read_open(file, field)
    except OSError as error:
        raise InvalidRequest.of(field, f"cannot read {path}: {error.strerror}") from error
    except (ValueError, TypeError) as error:  # no name that a file can have; a PathLike of bytes
        raise InvalidRequest.of(field, f"cannot read {path!r:.60}: {error}") from error


def open_file(data: bytes, field: str) -> Image.Image:
    """The picture in a file as gateways see it, upright, RGBA where it can be transparent, else RGB.

    Raises:
        InvalidRequest: they would refuse it, naming ``field``.
    """
    return open_image(image_pb2.Image(data=data), field)


def file_cost(data: bytes) -> int:
    """What opening a file costs, in pixels, by its header; 0 where gateways refuse it by that."""
    return decode_cost([image_pb2.Image(data=data)])
