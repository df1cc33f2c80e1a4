"""Pictures from strangers are decoded as people see them, or refused by name before they cost anything."""

from __future__ import annotations

import io
import struct
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp
from PIL import Image

from unclip.api.type.v1 import image_pb2
from unclip.errors import InvalidRequest
from unclip.wire.images import MAX_BYTES, decode_image, encode_image, fit, from_pixels, psnr, to_pixels


def file(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def decoded(data: bytes) -> Image.Image:
    return decode_image(image_pb2.Image(data=data), "image")


def refusal(data: bytes) -> str:
    with pytest.raises(InvalidRequest) as refused:
        decoded(data)
    [violation] = refused.value.violations
    assert violation.field == "image.data"
    return violation.description


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixels to speak of."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    idat = chunk(b"IDAT", zlib.compress(b"\0" * 64))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + idat + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_the_three_formats_are_read(kind: str) -> None:
    assert decoded(file(Image.new("RGB", (7, 5), "red"), kind)).size == (7, 5)


@given(hnp.arrays(np.uint8, (5, 7, 3)))
def test_lossless_formats_bring_every_pixel_back(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> None:
    image = Image.fromarray(pixels)
    for media_type in ("image/png", "image/webp"):
        message = encode_image(image, media_type)
        assert (message.media_type, message.width, message.height) == (media_type, 7, 5)
        assert (np.asarray(decode_image(message, "image")) == pixels).all()
    assert (np.asarray(from_pixels(to_pixels(image))) == pixels).all()


def test_transparency_shows_white() -> None:
    assert decoded(file(Image.new("RGBA", (2, 2), (255, 0, 0, 0)))).getpixel((0, 0)) == (255, 255, 255)
    palette = Image.new("P", (2, 2))
    assert decoded(file(palette, transparency=0)).getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bits_and_grey_become_eight_bit_rgb() -> None:
    deep = Image.fromarray(np.full((2, 2), 0x8040, np.uint16))
    assert decoded(file(deep)).getpixel((0, 0)) == (0x80, 0x80, 0x80)
    assert decoded(file(Image.new("L", (2, 2), 9))).getpixel((0, 0)) == (9, 9, 9)


def test_a_photo_taken_sideways_is_set_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    assert decoded(file(Image.new("RGB", (8, 4)), "JPEG", exif=exif)).size == (4, 8)


def test_what_is_no_picture_is_refused() -> None:
    assert "got none" in refusal(b"")
    assert "got 5 bytes of something else" in refusal(b"hello")
    assert "something else" in refusal(file(Image.new("RGB", (2, 2)), "BMP"))


def test_a_cut_file_is_refused() -> None:
    whole = file(Image.effect_noise((64, 64), 90).convert("RGB"))
    assert "cut or damaged" in refusal(whole[: len(whole) // 2])


def test_more_bytes_than_allowed_are_refused_unread() -> None:
    assert refusal(b"\0" * (MAX_BYTES + 1)) == f"must be at most {MAX_BYTES} bytes; got {MAX_BYTES + 1}"


def test_a_bomb_is_refused_by_its_header() -> None:
    assert "got 5000 x 10" in refusal(png_header(5000, 10))
    assert "got 16240000" in refusal(png_header(4060, 4000))
    assert "far more" in refusal(png_header(60_000, 60_000))


def test_an_animation_is_refused() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    assert "animation of 2" in refusal(file(frames[0], "WEBP", save_all=True, append_images=frames[1:]))


def test_cmyk_is_refused() -> None:
    assert "CMYK" in refusal(file(Image.new("CMYK", (4, 4)), "JPEG"))


def test_fit_crops_the_centre_of_the_shortest_edge() -> None:
    wide = Image.new("RGB", (30, 10), "white")
    wide.paste("red", (10, 0, 20, 10))
    small = fit(wide, 10)
    assert small.size == (10, 10)
    assert small.getpixel((5, 5)) == (255, 0, 0)
    assert small.getpixel((0, 5)) != (255, 255, 255)


def test_psnr_follows_its_definition_and_has_a_highest_value() -> None:
    black, white = np.full((3, 4, 4), -1, np.float32), np.full((3, 4, 4), 1, np.float32)
    assert psnr(black, white) == 0
    assert psnr(black, black + np.float32(0.02)) == pytest.approx(40, abs=1e-3)  # a hundredth of the range
    assert psnr(black, black) == 100
    assert psnr(black, black + np.float32(1e-6)) == 100


def test_pictures_that_are_decoded_at_once_leave_warnings_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    before, data, original = [*warnings.filters], file(Image.new("RGB", (8, 8))), Image.open
    begun, first_is_done = [threading.Event(), threading.Event()], threading.Event()
    waits_for = iter((begun[1], first_is_done))

    def slow(*words: Any, **named: Any) -> Image.Image:
        next(event for event in begun if not event.is_set()).set()
        next(waits_for).wait(10)
        return original(*words, **named)

    monkeypatch.setattr(Image, "open", slow)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(decoded, data)
        begun[0].wait(10)
        second = pool.submit(decoded, data)
        first.result()
        first_is_done.set()
        second.result()
    assert warnings.filters == before


@pytest.mark.parametrize("action", ["ignore", "error"])
def test_a_picture_that_pillow_warns_of_is_refused_whatever_becomes_of_warnings(
    action: Literal["ignore", "error"],
) -> None:
    header = struct.pack(">IIBBBBB", 10_000, 10_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(header)) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    with warnings.catch_warnings():
        warnings.simplefilter(action)
        assert "must be at most" in refusal(b"\x89PNG\r\n\x1a\n" + chunk + b"\0\0\0\0IDAT\0\0\0\0")
