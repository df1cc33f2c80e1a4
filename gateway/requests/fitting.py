"""Squares, or whatever else is painted, out of pictures of any shape: what models see, and what an edit keeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from unclip.wire.images import to_pixels
from unclip.wire.known import KnownPixels

UInt8Array = npt.NDArray[np.uint8]
BoolArray = npt.NDArray[np.bool_]

# The longer side of a picture that was fitted, unless one as large is painted: more than any model sees, and as a PNG
# of noise a third of the largest file.
MAX_FITTED = 1024
SQUARE = (1, 1)
WHITE = 255
ROWS = 256  # of a picture resized at a time: as float32 all would take four times its size


# Sizes and shapes are widths and heights; of a shape it is their ratio that counts.
Size = tuple[int, int]


def inside(shape: Size, room: Size) -> Size:
    """The largest size of ``shape`` that ``room`` holds, in whole pixels; at least 1 each."""
    (width, height), (wide, high) = shape, room
    if width * high >= height * wide:
        return wide, max(1, round(height * wide / width))
    return max(1, round(width * high / height)), high


def around(size: Size, shape: Size) -> Size:
    """The smallest size of ``shape`` that holds ``size``."""
    (width, height), (wide, high) = size, shape
    if width * high >= height * wide:
        return width, max(height, round(high * width / wide))
    return max(width, round(wide * height / high)), height


def bounded(size: Size, shape: Size) -> Size:
    """``size``, which is of ``shape``, but no larger than any model sees or paints."""
    most = max(MAX_FITTED, *shape)
    return size if max(size) <= most else inside(size, (most, most))


def letterbox(image: Image.Image, shape: Size = SQUARE) -> Image.Image:
    """An RGB picture in the middle of a white one of ``shape``, as small as holds it, at most 1024 px or ``shape``."""
    room = bounded(around(image.size, shape), shape)
    size = inside(image.size, room)
    boxed = Image.new("RGB", room, "white")
    boxed.paste(image.resize(size, Image.Resampling.BICUBIC), ((room[0] - size[0]) // 2, (room[1] - size[1]) // 2))
    return boxed


def cropped(image: Image.Image, shape: Size = SQUARE) -> Image.Image:
    """The largest part of ``shape`` in the middle of an RGB picture, at most 1024 px or ``shape``."""
    return ImageOps.fit(image, bounded(inside(shape, image.size), shape), Image.Resampling.BICUBIC)


@dataclass(frozen=True, eq=False)
class Subject:
    """What an edit works on, at the size it came in. pixels: uint8 ``[H, W, 3]``. kept: bool ``[H, W]``."""

    pixels: UInt8Array
    kept: BoolArray

    def cropped(self, shape: Size = SQUARE) -> Subject:
        """The largest part of ``shape`` in the middle: whole pixels, so that a picture that needs no resizing stays as
        it is."""
        height, width = self.kept.shape
        wide, high = inside(shape, (width, height))
        top, left = (height - high) // 2, (width - wide) // 2
        rows, columns = slice(top, top + high), slice(left, left + wide)
        return Subject(self.pixels[rows, columns], self.kept[rows, columns])

    def resized(self, width: int, height: int) -> Subject:
        """The subject at another size: kept is what covers kept pixels alone.

        A kept pixel is the mean of kept pixels with bicubic weights, so that no colour of the others gets into it.
        """
        if self.kept.shape == (height, width):
            return self
        kept = covering(self.kept, height, width)
        size = (width, height)
        weight = bicubic(self.kept.shape, lambda rows: self.kept[rows], size)
        channels = [
            bicubic(self.kept.shape, lambda rows, c=c: np.where(self.kept[rows], self.pixels[rows, :, c], 0), size)  # type: ignore[misc]
            for c in range(3)
        ]
        # The weight of kept pixels is positive wherever one of them lies in the middle.
        colours = np.zeros((*kept.shape, 3), np.float32)
        np.divide(np.stack(channels, -1), weight[..., None], where=kept[..., None], out=colours)
        return Subject(np.clip(np.round(colours), 0, 255).astype(np.uint8), kept)

    def fitted(self, size: Size) -> Subject:
        """The subject in a picture of ``size``, what it leaves of that kept white."""
        height, width = self.kept.shape
        small = self.resized(*inside((width, height), size))
        height, width = small.kept.shape
        left, top = (size[0] - width) // 2, (size[1] - height) // 2
        pixels, kept = np.full((*size[::-1], 3), WHITE, np.uint8), np.ones(size[::-1], np.bool_)
        pixels[top : top + height, left : left + width] = small.pixels
        kept[top : top + height, left : left + width] = small.kept
        return Subject(pixels, kept)

    def known(self, resampling: int) -> KnownPixels:
        """The kept pixels for a stage that makes pictures of this size."""
        return KnownPixels(to_pixels(Image.fromarray(self.pixels)), self.kept, resampling)


def covering(kept: BoolArray, height: int, width: int) -> BoolArray:
    """Which pixels of ``[height, width]`` cover pixels of ``[H, W]`` that are all ``kept``, wholly or in part."""
    rows, columns = (zip(*edges(*sizes), strict=True) for sizes in zip(kept.shape, (height, width), strict=True))
    whole = np.stack([kept[top:bottom].all(0) for top, bottom in rows])
    return np.stack([whole[:, left:right].all(1) for left, right in columns], 1)


def edges(size: int, count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Of each of ``count`` equal parts of ``size`` pixels, the first pixel it touches and the one after the last."""
    part = np.arange(count, dtype=np.int64)
    return part * size // count, -((part + 1) * -size // count)


def bicubic(
    shape: tuple[int, ...], plane: Callable[[slice], npt.NDArray[np.generic]], size: tuple[int, int]
) -> npt.NDArray[np.float32]:
    """A plane of ``shape`` at ``size``, width and height, antialiased; float32. plane: gives rows of it.

    In strips, of which Pillow makes what it makes of the whole: first each row shorter, then each column.
    """
    width, height = size
    narrow = np.empty((shape[0], width), np.float32)
    for top in range(0, shape[0], ROWS):
        rows = slice(top, min(top + ROWS, shape[0]))
        strip = Image.fromarray(plane(rows).astype(np.float32))
        narrow[rows] = np.asarray(strip.resize((width, strip.height), Image.Resampling.BICUBIC))
    return np.asarray(Image.fromarray(narrow).resize((width, height), Image.Resampling.BICUBIC))
