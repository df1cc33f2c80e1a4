"""Pictures to send: whatever they are given as, as the bytes of a file."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from unclip.errors import InvalidRequest
from unclip.wire.by_name import brief
from unclip.wire.images import MAX_BYTES


def file_bytes(picture: Any, field: str) -> bytes:
    """``picture``, see ``unclip.client.values.Picture``, as a file of at most 10 MiB: what is one stays as it is, an
    image or array becomes a PNG.

    Raises:
        InvalidRequest: it is no picture, or cannot be read, naming ``field``.
    """
    if isinstance(picture, (str, os.PathLike)):
        return read_file(picture, field)
    if isinstance(picture, np.ndarray):
        picture = of_array(picture, field)
    if isinstance(picture, Image.Image):
        data = png(picture, field)
    elif isinstance(picture, (bytes, bytearray, memoryview)):
        data = as_bytes(picture, field)
    elif callable(getattr(picture, "read", None)):
        data = read_open(picture, field)
    elif picture is None:
        raise InvalidRequest.of(field, "must be set: a recipe leaves its source picture out, put it back")
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


def png(picture: Image.Image, field: str) -> bytes:
    """A Pillow image as a PNG. Raises InvalidRequest."""
    file = io.BytesIO()
    try:
        picture.convert("RGBA" if picture.has_transparency_data else "RGB").save(file, "PNG")
    except Exception as error:  # of a damaged file, a closed one, an empty picture: Pillow and its codecs raise many
        raise InvalidRequest.of(field, f"must be a picture that can be read whole; Pillow says: {error}") from error
    return file.getvalue()


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
        return Path(path).read_bytes()
    except OSError as error:
        raise InvalidRequest.of(field, f"cannot read {path}: {error.strerror}") from error
    except (ValueError, TypeError) as error:  # no name that a file can have; a PathLike of bytes
        raise InvalidRequest.of(field, f"cannot read {path!r:.60}: {error}") from error
