"""Pictures from strangers are decoded as people see them, or refused by name before they cost anything."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageFile

from unclip.api.type.v1 import image_pb2
from unclip.errors import InvalidRequest
from unclip.wire.images import (
    MAX_BYTES,
    MAX_SCANS,
    READERS,
    array_of,
    check_image,
    decode_cost,
    decode_image,
    encode_image,
    fit,
    from_pixels,
    open_image,
    psnr,
    to_pixels,
)
from unclip.wire.picture_headers import USUAL_SCANS, scans_in


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


def test_a_picture_worked_on_in_strips_is_the_one_worked_on_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 30, 4), np.uint8)
    message = encode_image(Image.fromarray(pixels))
    whole = np.asarray(decode_image(message, "image"))
    monkeypatch.setattr("unclip.wire.images.STRIP", 100)
    assert (np.asarray(decode_image(message, "image")) == whole).all()
    assert (array_of(open_image(message, "image")) == whole).all()


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
    for kind in ("PNG", "JPEG", "WEBP"):
        whole = file(Image.effect_noise((64, 64), 90).convert("RGB"), kind)
        message = image_pb2.Image(data=whole[: len(whole) // 2])
        for read in (decode_image, check_image, open_image):
            with pytest.raises(InvalidRequest, match=r"cut or damaged|something else"):
                read(message, "image")


def test_more_bytes_than_allowed_are_refused_unread() -> None:
    assert refusal(b"\0" * (MAX_BYTES + 1)) == f"must be at most {MAX_BYTES} bytes; got {MAX_BYTES + 1}"


def test_a_bomb_is_refused_by_its_header() -> None:
    assert "got 5000 x 10" in refusal(png_header(5000, 10))
    assert "got 16240000" in refusal(png_header(4060, 4000))
    assert refusal(png_header(60_000, 60_000)) == "must be at most 4096 px a side; got 60000 x 60000"


def with_scans(scans: int, side: int = 16) -> bytes:
    """A progressive JPEG whose last scan is repeated: each costs a pass over the picture and 31 bytes or fewer."""
    whole = file(Image.new("L", (side, side), 128), "JPEG", progressive=True, comment=b"\xff\xda" * 30)
    last = whole[whole.rfind(b"\xff\xda") : -2]
    return whole[:-2] + last * (scans - scans_in(whole)) + whole[-2:]


@pytest.mark.parametrize("scans", [17, 100, 500])
def test_scans_are_counted_where_pillow_decodes_them_and_not_in_what_is_only_stored(scans: int) -> None:
    assert scans_in(with_scans(scans)) == scans
    noise = file(Image.effect_noise((256, 256), 90).convert("RGB"), "JPEG", quality=95, progressive=True)
    assert scans_in(noise) <= USUAL_SCANS


def test_a_jpeg_of_too_many_scans_is_refused_before_one_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded(with_scans(MAX_SCANS))
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    assert refusal(with_scans(3000)) == "must be a JPEG of at most 500 scans; got 3000"
    large = refusal(with_scans(400, side=2000))
    assert (
        large == "must be a JPEG of at most 32000000 pixels, counted once for every 16 scans; got 4000000 in 400 scans"
    )


def test_what_a_picture_costs_is_known_from_its_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    files = [png_header(4000, 4000), with_scans(160), png_header(5000, 1), b"hello", b""]
    assert decode_cost([image_pb2.Image(data=data) for data in files]) == 16_000_000 + 10 * 16 * 16


@pytest.mark.parametrize(("kind", "mode"), [("PNG", "RGBA"), ("JPEG", "RGB"), ("WEBP", "RGB")])
def test_a_large_picture_is_checked_and_decoded_in_memory_that_its_size_bounds(kind: str, mode: str) -> None:
    """Of a 16 MP picture, 64 MB as Pillow holds it; a WebP takes more, since Pillow keeps four copies on the way."""
    code = (
        "import sys; from tests.processes import resident; from unclip.api.type.v1 import image_pb2;"
        "from unclip.wire.images import check_image, decode_image;"
        "message = image_pb2.Image(data=sys.stdin.buffer.read());"
        "before = resident('VmHWM');"
        "assert check_image(message, 'image') == (4000, 4000);"
        "assert decode_image(message, 'image').size == (4000, 4000);"
        "print(resident('VmHWM') - before)"
    )
    data = file(Image.new(mode, (4000, 4000)), kind)
    grown = int(subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, check=True).stdout)
    assert grown < (300 if kind == "WEBP" else 170) * 2**20


def test_a_jpeg_far_larger_than_the_square_it_is_for_is_decoded_at_a_part_of_its_size() -> None:
    smooth = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8))
    picture = smooth.resize((1600, 1200), Image.Resampling.BICUBIC)
    message = image_pb2.Image(data=file(picture, "JPEG", quality=95))
    small = decode_image(message, "image", side=64)
    assert small.size == (200, 150)  # an eighth, and still more than twice the square's side
    exact = np.asarray(fit(decode_image(message, "image"), 64)).astype(int)
    assert np.abs(np.asarray(fit(small, 64)) - exact).max() <= 3
    assert decode_image(message, "image", side=600).size == (1600, 1200)


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
    before, data, original = [*warnings.filters], file(Image.new("RGB", (8, 8))), READERS["PNG"]
    begun, first_is_done = [threading.Event(), threading.Event()], threading.Event()
    waits_for = iter((begun[1], first_is_done))

    def slow(*words: Any, **named: Any) -> ImageFile.ImageFile:
        next(event for event in begun if not event.is_set()).set()
        next(waits_for).wait(10)
        return original(*words, **named)

    monkeypatch.setitem(READERS, "PNG", slow)
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
