"""Picture files without what is no picture: text, profiles, thumbnails and whatever else costs Pillow time and memory.

Pillow inflates each text of a PNG, and keeps a copy of a value for each tag of EXIF that points to it. All that a
picture needs of them is which way is up, which is found here.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass

from unclip.wire.picture_headers import FRAMES, MAX_PARTS, PNG, START_OF_SCAN, Header, Unreadable, segments

MAX_PIXEL_CHUNKS = 5000  # of a PNG; libpng writes one for each 8 KiB
MAX_TABLES = 1 << 16  # bytes of a JPEG's tables before its pixels; usual are 500
MAX_TAGS = 1000  # of EXIF that are looked at
MAX_TEXT = 1 << 18  # bytes that a compressed text is inflated to
JFIF, EXIF_OR_XMP, ADOBE = 0xE0, 0xE1, 0xEE
TABLES = FRAMES | {0xC4, 0xCC, 0xDB, 0xDC, 0xDD}
EXIF = b"Exif\0\0"
XMP = b"http://ns.adobe.com/xap/1.0/\0"
XMP_KEYWORD, EXIF_KEYWORD = b"XML:com.adobe.xmp\0", b"Raw profile type exif\0"
ORIENTATION = 0x0112
XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')
NUMBERS = {1: "B", 3: "H", 4: "I"}  # EXIF's types of whole numbers


@dataclass(frozen=True)
class Stripped:
    """A picture file with nothing but a picture.

    orientation: as EXIF numbers them, 1 to 8; others mean nothing. frames: how many pictures an animation has.
    """

    data: bytes
    orientation: int = 1
    frames: int = 1


def strip_metadata(data: bytes, header: Header) -> Stripped:
    """The file ``data``, of which ``header`` is the header, with the same pixels.

    Raises:
        Unreadable: it has too many parts.
        ValueError, struct.error: it is damaged.
    """
    if header.kind == "PNG":
        return _png(data)
    return _jpeg(data, header) if header.kind == "JPEG" else _webp(data)


def _png(data: bytes) -> Stripped:
    chunks: dict[bytes, bytes] = {}
    texts: dict[bytes, bytes] = {}
    pixels: list[memoryview] = []
    others, at, frames = 0, len(PNG), 1
    view = memoryview(data)
    while at + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        begin, at = at + 8, at + 12 + length
        if name == b"IDAT":
            pixels.append(view[begin : begin + length])
        elif name == b"IEND":
            break
        else:
            others += 1
        if others > MAX_PARTS or len(pixels) > MAX_PIXEL_CHUNKS:
            limits = f"{MAX_PIXEL_CHUNKS} chunks of pixels and {MAX_PARTS} others"
            raise Unreadable(f"must be a PNG of at most {limits}; got more")
        if name in (b"IHDR", b"PLTE", b"tRNS") and not pixels:
            chunks[name] = data[begin - 8 : at]
        elif name == b"acTL" and length >= 4:
            frames = int.from_bytes(data[begin : begin + 4], "big")
        elif name == b"eXIf" or ((name[1:] == b"TXt" or name == b"tEXt") and length):
            keyword = next((k for k in (XMP_KEYWORD, EXIF_KEYWORD) if data.startswith(k, begin)), b"")
            if name == b"eXIf" or keyword:
                texts[keyword] = name + data[begin + len(keyword) : begin + length]
    whole = b"".join(pixels)
    tail = _chunk(b"IDAT", whole) + _chunk(b"IEND", b"")
    head = b"".join(chunks.get(name, b"") for name in (b"IHDR", b"PLTE", b"tRNS"))
    exif = texts[b""][4:] if b"" in texts else _raw_profile(texts.get(EXIF_KEYWORD, b""))
    return Stripped(PNG + head + tail, _orientation(exif, _xmp_of(texts.get(XMP_KEYWORD, b""))), frames)


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(name)))


def _raw_profile(text: bytes) -> bytes:
    """EXIF as ImageMagick writes it into a PNG's tEXt or zTXt: three lines, then hexadecimal digits."""
    name, body = text[:4], text[4:]
    if name == b"zTXt":
        body = _inflated(body[1:])
    try:
        return bytes.fromhex(b"".join(body[:MAX_TEXT].split(b"\n")[3:]).decode("ascii"))
    except ValueError:
        return b""


def _xmp_of(text: bytes) -> bytes:
    """XMP in a PNG's iTXt: whether and how it is compressed, language and keyword, each ended by a zero, the text."""
    if text[:4] != b"iTXt" or len(text) < 6:
        return text
    body = text[6:].split(b"\0", 2)[-1]
    return _inflated(body) if text[4] else body


def _inflated(body: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(body, MAX_TEXT)
    except zlib.error:
        return b""


def _jpeg(data: bytes, header: Header) -> Stripped:
    kept, tables = [b"\xff\xd8"], 0
    exif, xmp = [], b""
    for marker, begin, end in segments(data):
        body = data[begin + 2 : end]
        if marker in TABLES:
            tables += len(body)
        if marker in TABLES or marker in (JFIF, ADOBE):
            kept.append(data[begin - 1 : end])
            kept[-1] = b"\xff" + kept[-1]
        elif marker == EXIF_OR_XMP and body.startswith(EXIF):
            exif.append(body[len(EXIF) :])  # one that is longer than a segment goes on in the next
        elif marker == EXIF_OR_XMP and body.startswith(XMP):
            xmp = body
        elif marker == START_OF_SCAN:
            kept.append(data[header.pixels :])
    if tables > MAX_TABLES:
        raise Unreadable(f"must be a JPEG of at most {MAX_TABLES} bytes of tables before its pixels; got {tables}")
    return Stripped(b"".join(kept), _orientation(b"".join(exif), xmp))


def _webp(data: bytes) -> Stripped:
    """The file as it is: libwebp passes over what it does not know."""
    if data[12:16] != b"VP8X":
        return Stripped(data)
    exif, xmp, frames, parts, at = b"", b"", 0, 0, 12
    while at + 8 <= len(data):
        name, length = struct.unpack_from("<4sI", data, at)
        begin, at = at + 8, at + 8 + length + length % 2
        parts += 1
        if parts > MAX_PARTS:
            raise Unreadable(f"must be a WebP of at most {MAX_PARTS} chunks; got more")
        frames += name == b"ANMF"
        if name == b"EXIF":
            exif = exif or data[begin : begin + length]
        elif name == b"XMP ":
            xmp = xmp or data[begin : begin + length]
    return Stripped(data, _orientation(exif, xmp), max(1, frames))


def _orientation(exif: bytes, xmp: bytes) -> int:
    """Which way is up by EXIF, or XMP where that does not say; 1 where neither does."""
    while exif.startswith(EXIF):
        exif = exif[len(EXIF) :]
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    found = None
    if order is not None and len(exif) >= 8:
        [at] = struct.unpack_from(f"{order}I", exif, 4)
        tags = struct.unpack_from(f"{order}H", exif, at)[0] if at + 2 <= len(exif) else 0
        for entry in range(at + 2, min(at + 2 + 12 * min(tags, MAX_TAGS), len(exif) - 11), 12):
            tag, kind, count = struct.unpack_from(f"{order}HHI", exif, entry)
            if tag == ORIENTATION and kind in NUMBERS and count == 1:
                [found] = struct.unpack_from(order + NUMBERS[kind], exif, entry + 8)
    if found is None:
        match = XMP_ORIENTATION.search(xmp)
        found = int(match[1]) if match else 1
    return found
