"""Pictures that are legal and odd, with the pixels that people see.

The pixels are known before the file is made (lossless formats), or by Pillow and Little CMS, used by hand (JPEG,
profiles).
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageCms

from tests.contract.gateways import noise_picture
from tests.contract.odd_inputs.files import (
    GREY,
    GREY_ALPHA,
    PALETTE,
    RGB,
    RGBA,
    chunk,
    exif,
    icc_segments,
    part,
    png_of,
    saved,
    segment,
    turned,
    with_parts,
    with_segments,
)
from tests.contract.odd_inputs.profiles import (
    ADOBE_RGB,
    DISPLAY_P3,
    PRESS,
    SRGB,
    SWAPPED,
    curve_of_srgb,
    gamma,
    of_grey,
    of_primaries,
)
from tests.contract.services import Array
from tests.tiny import FINAL

Case = tuple[str, bytes, Array]  # uint8 ``[FINAL, FINAL, 3]``
SHAPE = (FINAL, FINAL)
NOISE = noise_picture(FINAL, FINAL)
FOUR = noise_picture(FINAL, FINAL, 4)
ODD_ENTRIES: dict[str, tuple[int, int, int, bytes]] = {
    "a type that is none": (0x0131, 77, 1, b"abcd"),
    "a value outside the file": (0x0131, 2, 1000, b"\xff\xff\xff\x7f"),
    "more values than there are bytes": (0x0131, 5, 0xFFFFFFFF, b"\0\0\0\0"),
    "a fraction by zero": (0x011A, 5, 1, b"\x08\0\0\0"),
    "a maker's note of nothing": (0x927C, 7, 0, b"\0\0\0\0"),
    "a folder that leads to itself": (0x8769, 4, 1, b"\x08\0\0\0"),
    "a folder outside the file": (0x8825, 4, 1, b"\xf0\xff\xff\xff"),
    "text that is a number": (0x010F, 3, 1, b"\x07\0\0\0"),
    "a size of strips as a float": (0x0111, 12, 1, b"\x08\0\0\0"),
}


def on_white(pixels: Array) -> Array:
    """uint8 ``[H, W, 4]`` as RGB."""
    layer = Image.fromarray(pixels)
    return np.asarray(Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB"))


def grey(values: Array) -> Array:
    return np.repeat(values.astype(np.uint8)[..., None], 3, 2)


def in_srgb(picture: Image.Image, profile: bytes) -> Array:
    """By Little CMS, from the whole profile."""
    source, srgb = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
    return np.asarray(ImageCms.profileToProfile(picture, source, srgb, outputMode="RGB"))


def read(data: bytes) -> Array:
    """By Pillow alone."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def iccp(profile: bytes, crc: bytes | None = None) -> bytes:
    return chunk(b"iCCP", b"a name\0\0" + zlib.compress(profile), crc)


def kinds_of_png() -> Iterator[Case]:
    chance = np.random.default_rng(1)
    for depth in (1, 2, 4, 8, 16):
        samples = chance.integers(0, 1 << depth, SHAPE)
        seen = samples >> 8 if depth == 16 else samples * (255 // ((1 << depth) - 1))
        yield f"PNG of {depth} bits of grey", png_of(samples, GREY, depth), grey(seen)
        key = int(samples[3, 3])
        hole = np.where((samples == key)[..., None], np.uint8(255), grey(seen))
        trns = chunk(b"tRNS", struct.pack(">H", key))
        yield f"PNG of {depth} bits of grey, one of them transparent", png_of(samples, GREY, depth, trns), hole
        if depth <= 8:
            palette = noise_picture(1, 1 << depth)[0]
            plte = chunk(b"PLTE", palette.tobytes())
            yield f"PNG of a palette of {1 << depth}", png_of(samples, PALETTE, depth, plte), palette[samples]
            alpha = chance.integers(0, 256, 1 << depth, np.uint8)
            seen = on_white(np.dstack([palette[None], alpha[None]]))[0][samples]
            trns = chunk(b"tRNS", alpha.tobytes())
            yield f"PNG of a transparent palette of {1 << depth}", png_of(samples, PALETTE, depth, plte, trns), seen
    for depth in (8, 16):
        deep = FOUR.astype(int) if depth == 8 else FOUR.astype(int) * 256 + (FOUR ^ 0xA5)
        yield f"PNG of RGB, {depth} bits", png_of(deep[..., :3], RGB, depth), FOUR[..., :3]
        yield f"PNG of RGBA, {depth} bits", png_of(deep, RGBA, depth), on_white(FOUR)
        both = np.dstack([grey(FOUR[..., 0]), FOUR[..., 3]])
        yield f"PNG of grey and alpha, {depth} bits", png_of(deep[..., [0, 3]], GREY_ALPHA, depth), on_white(both)
        one = chunk(b"tRNS", struct.pack(">3H", *deep[5, 7, :3]))
        hole = np.where((FOUR[..., :3] == FOUR[5, 7, :3]).all(-1)[..., None], np.uint8(255), FOUR[..., :3])
        yield (
            f"PNG of RGB, {depth} bits, one transparent",
            png_of(deep[..., :3], RGB, depth, one),
            hole,
        )
    yield "PNG, interlaced", png_of(NOISE, RGB, adam7=True), NOISE
    yield "PNG of a palette, interlaced", *_interlaced_palette()


def _interlaced_palette() -> tuple[bytes, Array]:
    palette, samples = noise_picture(1, 16)[0], np.random.default_rng(2).integers(0, 16, SHAPE)
    return png_of(samples, PALETTE, 4, chunk(b"PLTE", palette.tobytes()), adam7=True), palette[samples]


def chunks_of_png() -> Iterator[Case]:
    megabytes = zlib.compress(b"a" * 2_000_000)
    wrong = b"\1\2\3\4"
    beside: dict[str, list[bytes]] = {
        "2 MB of zTXt": [chunk(b"zTXt", b"k\0\0" + megabytes)],
        "2 MB of iTXt": [chunk(b"iTXt", b"k\0\1\0\0\0" + megabytes)],
        "126 MB of zTXt": [chunk(b"zTXt", b"k\0\0" + megabytes)] * 63,
        "2 MB that are no profile": [chunk(b"iCCP", b"k\0\0" + megabytes)],
        "8 MB that are no profile": [chunk(b"iCCP", b"k\0\0" + zlib.compress(b"\0" * 8_000_000))],
        "a profile that does not inflate": [chunk(b"iCCP", b"k\0\0not zlib")],
        "an empty profile": [chunk(b"iCCP", b"")],
        "a profile that ends early": [iccp(ADOBE_RGB[:100])],
        "a profile of grey": [iccp(of_grey(gamma(2.2)))],
        "a profile of inks": [iccp(PRESS)],
        "a profile with a wrong CRC": [iccp(ADOBE_RGB, wrong)],
        "a text that does not inflate": [chunk(b"zTXt", b"k\0\0not zlib")],
        "a text in another encoding": [chunk(b"tEXt", b"k\0\xff\xfe\xe9")],
        "an empty text": [chunk(b"tEXt", b"")],
        "a private chunk": [chunk(b"prVt", b"anything")],
        "gAMA and cHRM": [chunk(b"gAMA", struct.pack(">I", 100_000)), chunk(b"cHRM", struct.pack(">8I", *range(8)))],
        "an sRGB chunk": [chunk(b"sRGB", b"\0")],
        "a background and significant bits": [chunk(b"sBIT", b"\5\6\5"), chunk(b"bKGD", b"\0\1\0\2\0\3")],
        "an animation of one": [chunk(b"acTL", struct.pack(">II", 1, 0))],
        "900 texts": [chunk(b"tEXt", b"k\0v")] * 900,
    }
    for kind in ("tEXt", "gAMA", "pHYs", "tIME", "eXIf", "prVt"):
        beside[f"a wrong CRC of {kind}"] = [chunk(kind.encode(), b"\0" * 9, wrong)]
    for name, chunks in beside.items():
        yield f"PNG with {name}", png_of(NOISE, RGB, 8, *chunks), NOISE
    yield "PNG with a wrong CRC of tRNS", png_of(NOISE, RGB, 8, chunk(b"tRNS", b"\0" * 6, wrong)), NOISE
    for length in (1, 5, 300):
        yield f"PNG with a tRNS of {length} bytes", png_of(NOISE, RGB, 8, chunk(b"tRNS", bytes(length))), NOISE
    yield "PNG with a text behind its pixels", png_of(NOISE, RGB, after=[chunk(b"zTXt", b"k\0\0" + megabytes)]), NOISE
    plain = png_of(NOISE, RGB)
    yield "PNG with something behind it", plain + b"\0" * 9, NOISE
    yield "PNG with another picture behind it", plain + plain, NOISE
    at = plain.index(b"IDAT") - 4
    body = plain[at + 8 : -16]
    many = b"".join(chunk(b"IDAT", body[n : n + 7]) + chunk(b"IDAT") for n in range(0, len(body), 7))
    yield "PNG with its pixels in pieces", plain[:at] + many + chunk(b"IEND"), NOISE


def turned_pictures() -> Iterator[Case]:
    tall = NOISE
    for orientation in range(1, 9):
        stored = turned(tall, orientation)
        yield f"PNG turned by EXIF {orientation}", png_of(stored, RGB, 8, chunk(b"eXIf", exif(orientation))), tall
        webp = saved(stored, "WEBP", lossless=True, exif=exif(orientation, order=">"))
        yield f"WebP turned by EXIF {orientation}", webp, tall
    for name, entry in ODD_ENTRIES.items():
        yield f"PNG turned, and {name}", png_of(turned(tall, 6), RGB, 8, chunk(b"eXIf", exif(6, entry))), tall
        jpeg = saved(turned(tall, 3), "JPEG", quality=95, subsampling=0)
        seen = read(jpeg)[::-1, ::-1]
        yield f"JPEG turned, and {name}", with_segments(jpeg, segment(0xE1, b"Exif\0\0" + exif(3, entry))), seen
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    text = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
    yield "PNG turned by XMP", png_of(turned(tall, 6), RGB, 8, text), tall
    for written in (b"'6'", b' = "6"'):
        quoted = chunk(b"iTXt", text[8:-4].replace(b'="6"', written if written[:1] == b" " else b"=" + written))
        yield f"PNG turned by XMP that says {written.decode()}", png_of(turned(tall, 6), RGB, 8, quoted), tall
    yield "PNG whose EXIF is none", png_of(tall, RGB, 8, chunk(b"eXIf", b"nothing")), tall
    yield "PNG turned by 9, which means nothing", png_of(tall, RGB, 8, chunk(b"eXIf", exif(9))), tall


def jpegs() -> Iterator[Case]:
    plain: dict[str, bytes] = {
        "JPEG": saved(NOISE, "JPEG"),
        "JPEG, progressive": saved(NOISE, "JPEG", progressive=True),
        "JPEG of 4:4:4": saved(NOISE, "JPEG", subsampling=0),
        "JPEG of grey": saved(NOISE[..., 0], "JPEG"),
        "JPEG of RGB": saved(NOISE, "JPEG", keep_rgb=True),
        "JPEG with restarts": saved(NOISE, "JPEG", restart_marker_rows=1),
        "JPEG of low quality": saved(NOISE, "JPEG", quality=1),
    }
    for name, data in plain.items():
        yield name, data, read(data)
    data, seen = plain["JPEG"], read(plain["JPEG"])
    more = noise_picture(20, 20)
    for progressive in (False, True):
        camera = saved(NOISE, "MPO", save_all=True, append_images=[Image.fromarray(more)], progressive=progressive)
        yield f"JPEG of a camera with two pictures{', progressive' * progressive}", camera, read(camera)
    yield "JPEG with another behind it", data + saved(more, "JPEG", progressive=True), seen
    yield "JPEG with a video behind it", data + np.random.default_rng(3).bytes(300_000), seen
    yield "JPEG with padding", with_segments(data, b"\xff" * 99), seen
    yield "JPEG with a comment of 60 kB", with_segments(data, segment(0xFE, b"v" * 60_000)), seen
    yield "JPEG of Photoshop", with_segments(data, segment(0xED, b"Photoshop 3.0\0" + b"x" * 999)), seen
    thumbnail = exif(1) + saved(more, "JPEG")
    yield "JPEG with a thumbnail", with_segments(data, segment(0xE1, b"Exif\0\0" + thumbnail)), seen
    for name, profile in {
        "broken": b"nothing",
        "cut": ADOBE_RGB[:200],
        "of grey": of_grey(gamma(2.2)),
        "of inks": PRESS,
    }.items():
        yield f"JPEG with a profile {name}", with_segments(data, *icc_segments(profile)), seen


def webps() -> Iterator[Case]:
    lossless = saved(NOISE, "WEBP", lossless=True)
    yield "WebP without loss", lossless, NOISE
    yield "WebP with loss", (lossy := saved(NOISE, "WEBP")), read(lossy)
    opaque = np.where(FOUR[..., 3:] > 0, FOUR, np.uint8(1))  # what cannot be seen need not be kept
    yield "WebP with alpha", saved(opaque, "WEBP", lossless=True, exact=True), on_white(opaque)
    extended = saved(NOISE, "WEBP", lossless=True, exif=exif(1), xmp=b"<x/>")
    yield "WebP with EXIF and XMP", extended, NOISE
    yield "WebP with a part that nobody knows", with_parts(extended, part(b"abcd", b"anything")), NOISE
    yield "WebP with something behind it", lossless + b"\0" * 9, NOISE
    broken = saved(NOISE, "WEBP", lossless=True, icc_profile=b"nothing at all")
    yield "WebP with a broken profile", broken, NOISE


def coloured() -> Iterator[Case]:
    """By profiles that tell of colours other than sRGB's."""
    picture = Image.fromarray(NOISE)
    for name, profile in {
        "Adobe RGB": ADOBE_RGB,
        "Display P3": DISPLAY_P3,
        "swapped primaries": of_primaries(SWAPPED, curve_of_srgb()),
        "sRGB's primaries and linear light": of_primaries(SRGB, gamma(1.0)),
    }.items():
        seen = in_srgb(picture, profile)
        assert np.abs(seen.astype(int) - NOISE).max() > 20
        yield f"PNG in {name}", png_of(NOISE, RGB, 8, iccp(profile)), seen
        yield f"WebP in {name}", saved(NOISE, "WEBP", lossless=True, icc_profile=profile), seen
        jpeg = saved(NOISE, "JPEG", subsampling=0)
        data = with_segments(jpeg, *icc_segments(profile))
        yield f"JPEG in {name}", data, in_srgb(Image.open(io.BytesIO(jpeg)), profile)
    srgb = of_primaries(SRGB, curve_of_srgb())
    yield "PNG in sRGB, told by a profile, which stays as it is", png_of(NOISE, RGB, 8, iccp(srgb)), NOISE
    padded = of_primaries(SWAPPED, curve_of_srgb(), {b"cprt": b"text\0\0\0\0" + b"c" * 200_000})
    seen = in_srgb(picture, padded)
    yield "PNG with a profile of 200 kB", png_of(NOISE, RGB, 8, iccp(padded)), seen
    jpeg = saved(NOISE, "JPEG")
    seen = in_srgb(Image.open(io.BytesIO(jpeg)), padded)
    yield "JPEG with a profile in parts", with_segments(jpeg, *icc_segments(padded)), seen
    yield "JPEG with the parts in another order", with_segments(jpeg, *icc_segments(padded)[::-1]), seen
    linear = of_grey(gamma(1.0))
    level = Image.fromarray(NOISE[..., 0])
    yield "PNG of linear grey", png_of(NOISE[..., 0], GREY, 8, iccp(linear)), in_srgb(level, linear)
    deep = png_of(NOISE[..., 0].astype(int) * 257, GREY, 16, iccp(linear))
    yield "PNG of linear grey, 16 bits", deep, in_srgb(level, linear)
    adobe = in_srgb(level.convert("RGB"), ADOBE_RGB)
    yield "PNG of grey in Adobe RGB", png_of(NOISE[..., 0], GREY, 8, iccp(ADOBE_RGB)), adobe
    seen = in_srgb(Image.fromarray(FOUR[..., :3]), DISPLAY_P3)
    yield (
        "PNG of RGBA in Display P3",
        png_of(FOUR, RGBA, 8, iccp(DISPLAY_P3)),
        on_white(np.dstack([seen, FOUR[..., 3]])),
    )
    palette, samples = noise_picture(1, 16)[0], np.random.default_rng(4).integers(0, 16, SHAPE)
    seen = in_srgb(Image.fromarray(palette[None]), ADOBE_RGB)[0][samples]
    plte = chunk(b"PLTE", palette.tobytes())
    yield "PNG of a palette in Adobe RGB", png_of(samples, PALETTE, 4, iccp(ADOBE_RGB), plte), seen
    smooth = Image.fromarray(NOISE).resize((4, 4)).resize(SHAPE)
    inks = saved(smooth.convert("CMYK"), "JPEG", quality=95)
    seen = in_srgb(Image.open(io.BytesIO(inks)), PRESS)
    yield "JPEG of inks, with their profile", with_segments(inks, *icc_segments(PRESS)), seen
    turned_inks = with_segments(inks, segment(0xE1, b"Exif\0\0" + exif(3)), *icc_segments(PRESS))
    yield "JPEG of inks, with their profile, turned", turned_inks, seen[::-1, ::-1]


LEGAL = [*kinds_of_png(), *chunks_of_png(), *turned_pictures(), *jpegs(), *webps(), *coloured()]
