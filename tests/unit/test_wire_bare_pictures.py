"""Pictures are read as Pillow reads them, whatever metadata they carry, and none of it costs more than its bytes."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngImageFile, PngInfo, PngStream

from unclip.api.type.v1 import image_pb2
from unclip.errors import InvalidRequest
from unclip.wire import bare_pictures, picture_headers
from unclip.wire.images import check_image, decode_cost, open_image

SIZE = (37, 23)
ORIENTATION = 0x0112
XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="%d"/></x:xmpmeta>'


def noise(mode: str) -> Image.Image:
    """A picture of ``mode`` in which each corner differs."""
    random = np.random.default_rng(0)
    if mode == "I;16":
        return Image.fromarray(random.integers(0, 1 << 16, SIZE[::-1], np.uint16))
    channels = {"RGBA": 4, "LA": 2, "L": 1, "1": 1}.get(mode, 3)
    values = random.integers(0, 256, (*SIZE[::-1], channels), np.uint8)
    whole = Image.fromarray(values[..., 0] if channels == 1 else values)
    return whole.quantize(64) if mode == "P" else whole.convert(mode)


def file(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F], exif[ORIENTATION], exif[0x0132] = "a camera", orientation, "2026:01:01 00:00:00"
    return exif


def chunk(name: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def with_chunks(data: bytes, *chunks: bytes) -> bytes:
    """A PNG with chunks behind its header."""
    return data[:33] + b"".join(chunks) + data[33:]


def with_segments(data: bytes, *parts: bytes) -> bytes:
    """A JPEG with parts behind its first marker."""
    return data[:2] + b"".join(parts) + data[2:]


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def interlaced() -> bytes:
    """A PNG of 1 pixel, interlaced: of the seven passes only the first has something."""
    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 1)
    return picture_headers.PNG + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0\1\2\3")) + chunk(b"IEND")


def in_many_chunks(data: bytes) -> bytes:
    """A PNG whose pixels come some bytes at a time, some chunks empty."""
    at = data.index(b"IDAT") - 4
    [length] = struct.unpack_from(">I", data, at)
    body = data[at + 8 : at + 8 + length]
    parts = [chunk(b"IDAT", body[start : start + 50]) + chunk(b"IDAT") for start in range(0, length, 50)]
    return data[:at] + b"".join(parts) + chunk(b"IEND")


def ordinary() -> Iterator[tuple[str, bytes]]:
    """Files of all kinds as programs and cameras write them."""
    text = PngInfo()
    text.add_text("Title", "a corgi")
    text.add_text("Comment", "words " * 1000, zip=True)
    text.add_itxt("XML:com.adobe.xmp", (XMP % 6).decode(), zip=True)
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        yield f"PNG {mode}", file(noise(mode), "PNG", dpi=(72, 72), icc_profile=b"a profile" * 99)
    yield "PNG P with one transparent colour", file(noise("P"), "PNG", transparency=3)
    yield "PNG P with transparencies", file(noise("P"), "PNG", transparency=bytes(range(0, 256, 4)))
    yield "PNG RGB with a transparent colour", file(noise("RGB"), "PNG", transparency=noise("RGB").getpixel((0, 0)))
    yield "PNG L with a transparent grey", file(noise("L"), "PNG", transparency=7)
    yield "PNG with texts", file(noise("RGB"), "PNG", pnginfo=text)
    yield "PNG interlaced", interlaced()
    yield "PNG in many chunks", in_many_chunks(file(noise("RGB"), "PNG"))
    yield (
        "PNG with XMP",
        with_chunks(file(noise("RGB"), "PNG"), chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP % 8)),
    )
    hexes = turned(5).tobytes().hex()
    raw = f"\nexif\n{len(hexes) // 2:8}\n{hexes}\n".encode()
    data = file(noise("RGB"), "PNG")
    yield "PNG of ImageMagick", with_chunks(data, chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(raw)))
    yield "PNG with EXIF behind the pixels", data[:-12] + chunk(b"eXIf", turned(3).tobytes()[6:]) + data[-12:]
    for orientation in range(10):
        exif = turned(orientation)
        yield f"PNG turned {orientation}", file(noise("RGBA"), "PNG", exif=exif)
        yield f"JPEG turned {orientation}", file(noise("RGB"), "JPEG", exif=exif, comment=b"taken in Graz")
        yield f"WebP turned {orientation}", file(noise("RGB"), "WEBP", exif=exif.tobytes())
    for mode in ("L", "RGB"):
        for progressive in (False, True):
            name = f"JPEG {mode}{' progressive' * progressive}"
            yield name, file(noise(mode), "JPEG", progressive=progressive, icc_profile=b"a profile" * 20_000)
    jpeg = file(noise("RGB"), "JPEG", subsampling=2, restart_marker_blocks=1)
    yield "JPEG with restarts", jpeg
    yield "JPEG with padding", with_segments(jpeg, b"\xff" * 99)
    yield "JPEG of Adobe, RGB", file(noise("RGB"), "JPEG", keep_rgb=True)
    yield "JPEG of Photoshop", with_segments(jpeg, segment(0xED, b"Photoshop 3.0\0"), segment(0xE5, b"x" * 60_000))
    yield "JPEG with XMP", with_segments(jpeg, segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP % 7))
    yield "JPEG with a video behind it", jpeg + np.random.default_rng(1).bytes(2_000_000)
    two = file(noise("RGB"), "MPO", save_all=True, append_images=[Image.new("RGB", (8, 8))])
    yield "JPEG with another picture behind it", two
    for mode in ("RGB", "RGBA"):
        for lossless in (False, True):
            yield f"WebP {mode}{' lossless' * lossless}", file(noise(mode), "WEBP", lossless=lossless)
    yield "WebP with XMP", file(noise("RGB"), "WEBP", xmp=XMP % 6, icc_profile=b"a profile")
    still = turned(6)
    still.endian = "<"
    yield "WebP with all", file(noise("RGBA"), "WEBP", xmp=XMP % 3, icc_profile=b"a profile", exif=still.tobytes())


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in ordinary()])
def test_a_picture_is_read_as_pillow_reads_the_whole_file(data: bytes) -> None:
    theirs = Image.open(io.BytesIO(data))
    assert check_image(image_pb2.Image(data=data), "image") == theirs.size
    upright = ImageOps.exif_transpose(theirs)
    if upright.mode.startswith("I"):
        upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
    ours = open_image(image_pb2.Image(data=data), "image")
    assert ours.mode == ("RGBA" if theirs.has_transparency_data else "RGB")
    assert ours.size == upright.size
    assert (np.asarray(ours) == np.asarray(upright.convert(ours.mode))).all()
    assert decode_cost([image_pb2.Image(data=data)]) == theirs.width * theirs.height


def refusal(data: bytes) -> str:
    with pytest.raises(InvalidRequest) as refused:
        check_image(image_pb2.Image(data=data), "image")
    [violation] = refused.value.violations
    assert violation.field == "image.data"
    return violation.description


PLAIN_PNG, PLAIN_JPEG = file(noise("RGB"), "PNG"), file(noise("RGB"), "JPEG")


def test_parts_beyond_a_limit_are_refused_by_name() -> None:
    png = "must be a PNG of at most 5000 chunks of pixels and 1000 others; got more"
    assert refusal(with_chunks(PLAIN_PNG, chunk(b"abCd") * 80_000)) == png
    assert refusal(with_chunks(PLAIN_PNG, chunk(b"IDAT") * 80_000)) == png
    jpeg = "must have at most 1000 segments before its pixels; got more"
    assert refusal(with_segments(PLAIN_JPEG, segment(0xFE, b"") * 250_000)) == jpeg
    assert refusal(with_segments(PLAIN_JPEG, b"\xff\0" * 250_000)) == jpeg
    webp = file(noise("RGB"), "WEBP", exif=turned(1).tobytes())
    assert refusal(webp + b"abcd\0\0\0\0" * 100_000) == "must be a WebP of at most 1000 chunks; got more"
    tables = segment(0xDB, (b"\0" + b"\1" * 64) * 1000) * 2
    assert refusal(with_segments(PLAIN_JPEG, tables)).startswith("must be a JPEG of at most 65536 bytes of tables")


def test_a_thousand_texts_and_comments_are_taken() -> None:
    for data in (
        with_chunks(PLAIN_PNG, chunk(b"tEXt", b"k\0v") * 900),
        with_segments(PLAIN_JPEG, segment(0xFE, b"v") * 900),
    ):
        assert check_image(image_pb2.Image(data=data), "image") == SIZE


def test_what_a_picture_costs_is_found_without_opening_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the event loop: neither Pillow nor the walk over a PNG's or WebP's chunks."""
    for reader in ("PngImagePlugin.PngImageFile", "JpegImagePlugin.JpegImageFile", "WebPImagePlugin.WebPImageFile"):
        monkeypatch.setattr(f"PIL.{reader}._open", lambda self: pytest.fail("opened"))
    monkeypatch.setattr("unclip.wire.images.strip_metadata", lambda data, header: pytest.fail("walked over"))
    messages = [image_pb2.Image(data=data) for data in (PLAIN_PNG, PLAIN_JPEG, file(noise("RGB"), "WEBP"))]
    assert decode_cost(messages) == 3 * SIZE[0] * SIZE[1]


def test_the_walk_over_a_jpeg_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    class Counting(bytes):
        def index(self, *words: object) -> int:
            read.append(1)
            return super().index(*words)  # type: ignore[arg-type]

    with pytest.raises(picture_headers.Unreadable):
        list(picture_headers.segments(Counting(with_segments(PLAIN_JPEG, segment(0xFE, b"") * 250_000))))
    assert len(read) <= picture_headers.MAX_PARTS


def test_the_scans_of_a_jpeg_full_of_markers_are_counted_in_few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []
    found = picture_headers._markers

    def counting(data: bytes, at: int) -> Iterator[int]:
        for position in found(data, at):
            steps.append(position)
            yield position

    monkeypatch.setattr("unclip.wire.picture_headers._markers", counting)
    scans = PLAIN_JPEG[:-2] + segment(0xDA, b"") * 20 + segment(0xC4, b"") * 250_000
    assert picture_headers.read_header(scans).scans == 21
    assert len(steps) <= picture_headers.MAX_MARKERS + 1


def test_scans_behind_the_end_of_a_jpeg_cost_nothing() -> None:
    assert decode_cost([image_pb2.Image(data=PLAIN_JPEG + segment(0xDA, b"\0" * 200) * 900)]) == SIZE[0] * SIZE[1]


def test_pillow_is_given_neither_texts_nor_profiles_nor_exif(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of which it would inflate, or copy once for every tag."""
    for name in ("tEXt", "zTXt", "iTXt", "iCCP", "eXIf"):
        monkeypatch.setattr(PngStream, f"chunk_{name}", lambda *_: pytest.fail("read"))
    monkeypatch.setattr(Image.Exif, "load", lambda *_: pytest.fail("read"))
    text = chunk(b"zTXt", b"k\0\0" + zlib.compress(b"a" * 1_000_000))
    tags = b"".join(struct.pack("<HHII", 0x9000 + tag, 7, 60_000, 0) for tag in range(5000))
    exif = b"II*\0\x08\0\0\0" + struct.pack("<H", 5000) + tags
    png = with_chunks(PLAIN_PNG, text * 63, chunk(b"iCCP", b"p\0\0"), chunk(b"eXIf", exif))
    png = png[:-12] + text * 63 + png[-12:]
    no_jfif = PLAIN_JPEG[:2] + PLAIN_JPEG[20:]  # without which Pillow looks for the resolution in EXIF
    for data in (png, with_segments(no_jfif, segment(0xE1, b"Exif\0\0" + exif[:60_000]))):
        assert open_image(image_pb2.Image(data=data), "image").size == SIZE


def test_of_pixels_in_thousands_of_chunks_pillow_is_given_one(monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[bytes] = []
    original = PngStream.read

    def read(self: PngStream) -> tuple[bytes, int, int]:
        told = original(self)
        names.append(told[0])
        return told

    monkeypatch.setattr(PngStream, "read", read)
    data = in_many_chunks(PLAIN_PNG)
    assert data.count(b"IDAT") > 90
    assert check_image(image_pb2.Image(data=data), "image") == SIZE
    assert names.count(b"IDAT") == 1


def test_a_text_is_inflated_to_a_limit_only() -> None:
    assert len(bare_pictures._inflated(zlib.compress(b"a" * 10_000_000))) == bare_pictures.MAX_TEXT


def test_an_animated_png_is_refused() -> None:
    frames = [noise("RGB"), Image.new("RGB", SIZE)]
    animation = file(frames[0], "PNG", save_all=True, append_images=frames[1:])
    assert PngImageFile(io.BytesIO(animation)).n_frames == 2
    assert refusal(animation) == "must have one frame; got an animation of 2"
