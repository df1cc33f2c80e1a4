"""Pictures on the wire: decoding what strangers send, encoding what the stages make."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, ImageOps, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from unclip.api.type.v1 import image_pb2
from unclip.errors import InvalidRequest
from unclip.wire.bare_pictures import strip_metadata
from unclip.wire.colours import Conversion, UnusableProfile, conversion
from unclip.wire.picture_headers import USUAL_SCANS, Header, Unreadable, read_header

MAX_BYTES = 10 * 1024 * 1024
MAX_BYTES_TOGETHER = 2 * MAX_BYTES  # of all pictures of a request: two of the largest, a picture and its mask
MAX_SIDE = 4096
MAX_PSNR = 100.0  # in dB; equal pictures would have infinity
MAX_PIXELS = 16_000_000
MAX_COST = 32_000_000  # pixels of a JPEG, times its scans beyond what is usual
MAX_TOGETHER = 64_000_000  # of all pictures of a request, likewise
MAX_SCANS = 500  # of a JPEG
STRIP = 1 << 20  # pixels of a large picture that are worked on at a time
INKS = "must be grey or RGB, or CMYK with an ICC profile that says what its inks look like; got CMYK without"
PROFILE_MARKS = (b"iCCP", b"ICC_PROFILE\0", b"ICCP")  # one of which is in a file with an ICC profile
CUT = "must be a whole picture file; got one that is cut or damaged"
READERS: dict[str, Callable[[io.BytesIO], ImageFile.ImageFile]] = {
    "PNG": PngImagePlugin.PngImageFile,
    "JPEG": JpegImagePlugin.JpegImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
}
FORMATS = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
UPRIGHT = {  # by EXIF's orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
FORMAT_NAMES = {media_type: name for name, media_type in FORMATS.items()}


def open_image(message: image_pb2.Image, field: str) -> Image.Image:
    """The picture in a message, upright, in colours of sRGB: RGBA where it can be transparent, RGB where it cannot.

    Accepts one-frame PNG, JPEG and WebP up to 10 MiB, 4096 px a side and 16 megapixels; all that is checked from the
    header, before pixels are allocated. It takes 4 bytes a pixel, on the way up to 16 (WebP).

    Raises:
        InvalidRequest: naming ``field``, the limit and the value.
    """
    return opened(message, field).read(field)


def decode_image(message: image_pb2.Image, field: str, side: int | None = None) -> Image.Image:
    """The picture in a message, RGB, upright, over white where it was transparent; the rest as ``open_image``.

    side: of the square that it is to be fitted into. A JPEG far larger than that is decoded at a half, a quarter or an
    eighth of its size, so that at least twice as many pixels as the square has are left to make it from.
    """
    found = opened(message, field)
    if side is not None:
        width, height = found.image.size
        enough = 2 * side / min(width, height)
        found.image.draft(None, (max(1, math.ceil(enough * width)), max(1, math.ceil(enough * height))))
    return flatten(found.read(field))


def check_image(message: image_pb2.Image, field: str) -> tuple[int, int]:
    """Width and height of the picture in a message, as the file has them, once it is sure that it can be decoded.

    Raises:
        InvalidRequest: as ``open_image``.
    """
    image = opened(message, field).image
    size = image.size
    image.draft(None, (1, 1))  # the whole file is read all the same
    loaded(image, field)
    return size


def decode_cost(messages: Iterable[image_pb2.Image]) -> int:
    """What reading pictures costs, in pixels, by their headers; those that these refuse cost nothing.

    It is quick whatever the files hold, and may be asked for on an event loop.
    """
    total = 0
    for message in messages:
        with contextlib.suppress(InvalidRequest):
            total += checked_header(message, "").cost
    return total


def checked_header(message: image_pb2.Image, field: str) -> Header:
    """The header of the picture in a message, which allows it to be read. Raises InvalidRequest."""
    data = message.data
    if not data:
        raise InvalidRequest.of(f"{field}.data", "must hold a PNG, JPEG or WebP file; got none")
    if len(data) > MAX_BYTES:
        raise InvalidRequest.of(f"{field}.data", f"must be at most {MAX_BYTES} bytes; got {len(data)}")
    with refusing(data, field):
        header = read_header(data)
    width, height, scans = header.width, header.height, header.scans
    if width > MAX_SIDE or height > MAX_SIDE:
        raise InvalidRequest.of(f"{field}.data", f"must be at most {MAX_SIDE} px a side; got {width} x {height}")
    if width * height > MAX_PIXELS:
        raise InvalidRequest.of(f"{field}.data", f"must be at most {MAX_PIXELS} pixels; got {width * height}")
    if scans > MAX_SCANS:
        raise InvalidRequest.of(f"{field}.data", f"must be a JPEG of at most {MAX_SCANS} scans; got {scans}")
    if header.cost > MAX_COST:
        raise InvalidRequest.of(
            f"{field}.data",
            f"must be a JPEG of at most {MAX_COST} pixels, counted once for every {USUAL_SCANS} scans; "
            f"got {width * height} in {scans} scans",
        )
    return header


@dataclass(frozen=True)
class Opened:
    """A picture file, its pixels unread. orientation: as EXIF numbers them. colours: None where they are sRGB's.

    unusable: that it has an ICC profile which is of no use, and so is passed over.
    """

    image: ImageFile.ImageFile
    orientation: int
    colours: Conversion | None
    unusable: bool

    def read(self, field: str) -> Image.Image:
        """The picture as ``open_image`` gives it. Raises InvalidRequest."""
        try:
            return upright(loaded(self.image, field), self.orientation, self.colours)
        except InvalidRequest:
            raise
        except Exception:
            raise InvalidRequest.of(f"{field}.data", CUT) from None


def opened(message: image_pb2.Image, field: str) -> Opened:
    """The picture in a message. Raises InvalidRequest."""
    header = checked_header(message, field)
    with refusing(message.data, field):
        file = strip_metadata(message.data, header)
        if file.frames <= 1:
            # Not Image.open: it warns of bombs, which are refused above, and filters of warnings are all threads'.
            image = READERS[header.kind](io.BytesIO(file.data))
            if image.size != (header.width, header.height):
                raise ValueError("two sizes")
            colours = colours_of(file.profile, image.mode)
            if image.mode == "CMYK" and colours is None:
                raise Unreadable(INKS)
            return Opened(image, file.orientation, colours, bool(file.profile) and colours is None)
    raise InvalidRequest.of(f"{field}.data", f"must have one frame; got an animation of {file.frames}")


def passes_over_profile(data: bytes) -> bool:
    """Whether a picture file has an ICC profile that is of no use; not of one that is refused."""
    if not any(mark in data for mark in PROFILE_MARKS):
        return False
    with contextlib.suppress(InvalidRequest):
        return opened(image_pb2.Image(data=data), "").unusable
    return False


@contextlib.contextmanager
def refusing(data: bytes, field: str) -> Iterator[None]:
    """Whatever the body raises is an InvalidRequest that names ``field``."""
    try:
        yield
    except Unreadable as error:
        raise InvalidRequest.of(f"{field}.data", str(error)) from None
    except Exception:
        raise InvalidRequest.of(
            f"{field}.data", f"must be a PNG, JPEG or WebP file; got {len(data)} bytes of something else"
        ) from None


def loaded(image: ImageFile.ImageFile, field: str) -> Image.Image:
    """The picture with its pixels, as its file has them. Raises InvalidRequest."""
    try:
        image.load()
    except Exception:
        raise InvalidRequest.of(f"{field}.data", CUT) from None
    # Pillow keeps a WebP's canvases and raw pixels, three times its size, for as long as the picture.
    if hasattr(image, "_decoder"):
        image._decoder = image.fp = None
    return image


def colours_of(profile: bytes, mode: str) -> Conversion | None:
    """What an ICC profile asks for where a picture is of ``mode``; None where there is none that is of use."""
    with contextlib.suppress(UnusableProfile):
        if profile and (found := conversion(profile)).fits(mode):
            return found
    return None


def upright(image: Image.Image, orientation: int, colours: Conversion | None) -> Image.Image:
    """A picture with its pixels, of any mode, as people see it: see ``open_image``. It may be changed in place."""
    picture = image if image.mode == "CMYK" and colours else eight_bits(image)
    if colours is not None:
        picture = colours.converted(picture)
    turn = UPRIGHT.get(orientation)
    return picture if turn is None else picture.transpose(turn)


def eight_bits(image: Image.Image) -> Image.Image:
    """Any mode as RGBA where it can be transparent, else as RGB; 16 bits a channel are scaled to 8."""
    if image.mode.startswith("I"):
        deep, transparent = np.asarray(image), image.info.get("transparency")
        image = Image.fromarray((deep >> 8).clip(0, 255).astype(np.uint8))
        if isinstance(transparent, int):
            image.putalpha(Image.fromarray((deep != transparent).astype(np.uint8) * np.uint8(255)))
    elif image.mode == "La":  # which converts to nothing else
        image = image.convert("LA")
    mode = "RGBA" if image.has_transparency_data else "RGB"
    return image if image.mode == mode else image.convert(mode)


def flatten(image: Image.Image) -> Image.Image:
    """An RGB or RGBA picture as RGB; transparency shows white."""
    if image.mode == "RGB":
        return image
    flat = Image.new("RGB", image.size)
    for top, strip in strips(image):
        white = Image.new("RGBA", strip.size, "white")
        flat.paste(Image.alpha_composite(white, strip.convert("RGBA")).convert("RGB"), (0, top))
    return flat


def strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """The picture in strips of its whole width, each with its topmost row: what is made of one takes little memory."""
    rows = max(1, STRIP // image.width)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


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
    scaled = np.clip(pixels, -1, 1)  # then in place: of a large picture each copy takes megabytes
    scaled += 1
    scaled *= 127.5
    bytes_ = np.round(scaled, out=scaled).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(bytes_.transpose(1, 2, 0)))


def psnr(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    """Peak signal-to-noise ratio in dB of pixels in [-1, 1] of one shape; at most ``MAX_PSNR``, equal ones included."""
    error = float(np.mean(np.square(one.astype(np.float64) - other)))
    return MAX_PSNR if error <= 0 else min(10 * math.log10(4 / error), MAX_PSNR)  # in this order NaN stays NaN


def array_of(image: Image.Image) -> npt.NDArray[np.uint8]:
    """An RGB or RGBA picture as uint8 ``[H, W, 3]``; transparency shows white."""
    array = np.empty((image.height, image.width, 3), np.uint8)
    for top, strip in strips(image):
        array[top : top + strip.height] = np.asarray(flatten(strip))
    return array


def fit(image: Image.Image, width: int, height: int | None = None) -> Image.Image:
    """The picture at ``width`` x ``height``, a square where that is None: resized (bicubic, antialiased) until it
    covers it, cropped at the centre."""
    return ImageOps.fit(image, (width, height or width), Image.Resampling.BICUBIC)
