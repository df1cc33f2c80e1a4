"""What is no picture, or none that is taken, with what is said of it."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from PIL import Image

from tests.contract.odd_inputs.files import GREY, RGB, chunk, icc_segments, png_of, saved, segment, with_segments
from tests.contract.odd_inputs.picture_cases import FOUR, NOISE
from tests.contract.odd_inputs.profiles import ADOBE_RGB, PRESS


def no_pictures() -> Iterator[tuple[str, bytes, tuple[str, ...]]]:
    """Name, bytes, and words of the refusal."""
    plain, jpeg, webp = png_of(NOISE, RGB), saved(NOISE, "JPEG"), saved(NOISE, "WEBP")
    else_ = ("must be a PNG, JPEG or WebP file", "of something else")
    cut = ("must be a whole picture file", "cut or damaged")
    picture = Image.fromarray(NOISE)
    yield "nothing", b"", ("must hold a PNG, JPEG or WebP file; got none",)
    for kind in ("BMP", "GIF", "TIFF", "ICO", "PPM", "TGA", "JPEG2000", "PDF"):
        yield kind, saved(picture, kind), else_
    yield "SVG", b'<svg xmlns="http://www.w3.org/2000/svg"/>', else_
    yield "HEIC", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", else_
    yield "AVIF", b"\0\0\0\x18ftypavif\0\0\0\0mif1avif", else_
    yield "a page of HTML", b"<!doctype html><title>404</title>", else_
    yield "a ZIP", b"PK\3\4" + b"\0" * 60, else_
    yield "a PNG without its first byte", plain[1:], else_
    yield "a PNG with the line ends of text", plain.replace(b"\r\n", b"\n", 1), else_
    yield "a PNG that begins with another chunk", plain[:8] + chunk(b"tEXt", b"k\0v") + plain[8:], else_
    yield "a PNG of no width", plain[:16] + b"\0\0\0\0" + plain[20:], else_
    yield "a PNG whose header has a wrong CRC", plain[:29] + b"abcd" + plain[33:], else_
    yield "a PNG of 3 bits", png_of(NOISE[..., 0], GREY, 3), else_
    yield "a PNG without pixels", plain[:33] + chunk(b"IEND"), cut
    yield "half a PNG", plain[: len(plain) // 2], cut
    yield "a PNG whose pixels do not inflate", plain[:43] + b"\xff" * 40 + plain[83:], cut
    yield "a JPEG whose end is missing", jpeg[:-2], cut
    yield "half a JPEG", jpeg[: len(jpeg) // 2], cut
    yield "a JPEG of its header alone", jpeg[:300], else_
    yield "a JPEG of 12 bits", jpeg.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"), else_
    yield "a JPEG without loss", jpeg.replace(b"\xff\xc0", b"\xff\xc3", 1), cut
    yield "a JPEG of two frames", with_segments(jpeg, _frame(jpeg)), else_
    yield "half a WebP", webp[: len(webp) // 2], else_
    yield "a WebP of no kind", webp[:12] + b"VP8?" + webp[16:], else_
    frames = [picture, Image.fromarray(FOUR[..., :3])]
    for kind in ("PNG", "WEBP"):
        animation = saved(frames[0], kind, save_all=True, append_images=frames[1:])
        yield f"an animated {kind}", animation, ("must have one frame", "animation of 2")
    yield "a PNG too wide", _claims(5000, 8), ("at most 4096 px a side", "5000 x 8")
    yield "a PNG too high", _claims(8, 1 << 31), ("at most 4096 px a side", "8 x 2147483648")
    yield "a PNG of too many pixels", _claims(4096, 4096), ("at most 16000000 pixels", "16777216")
    inks = ("must be grey or RGB, or CMYK with an ICC profile", "got CMYK without")
    cmyk = saved(picture.convert("CMYK"), "JPEG")
    yield "a JPEG of inks", cmyk, inks
    for name, profile in {"of a screen": ADOBE_RGB, "that is broken": PRESS[:300]}.items():
        yield f"a JPEG of inks with a profile {name}", with_segments(cmyk, *icc_segments(profile)), inks
    many = png_of(NOISE, RGB, 8, *[chunk(b"tEXt", b"k\0v")] * 1001)
    yield "a PNG of too many chunks", many, ("at most 5000 chunks of pixels and 1000 others",)
    yield "a JPEG of too many comments", with_segments(jpeg, *[segment(0xFE, b"")] * 1001), ("at most 1000 segments",)
    tables = segment(0xDB, (b"\0" + b"\1" * 64) * 1000) * 2
    yield "a JPEG of too many tables", with_segments(jpeg, tables), ("at most 65536 bytes of tables",)
    scans = saved(picture, "JPEG", progressive=True)
    last = scans[scans.rfind(b"\xff\xda") : -2]
    yield "a JPEG of too many scans", scans[:-2] + last * 600 + scans[-2:], ("at most 500 scans",)


def _header(width: int, height: int) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, RGB, 0, 0, 0))


def _claims(width: int, height: int) -> bytes:
    plain = png_of(NOISE, RGB)
    return plain[:8] + _header(width, height) + plain[33:]


def _frame(jpeg: bytes) -> bytes:
    at = jpeg.index(b"\xff\xc0")
    return jpeg[at : at + 19]


ILLEGAL = list(no_pictures())
