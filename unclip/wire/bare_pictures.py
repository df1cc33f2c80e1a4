"""Picture files without what is no picture: text, profiles, thumbnails and whatever else costs Pillow time and memory.

Pillow inflates each text of a PNG, and keeps a copy of a value for each tag of EXIF that points to it. All that a
picture needs of them is which way is up, and what its colours are: both are found here.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from unclip.wire.colours import MAX_PROFILE
from unclip.wire.picture_headers import FRAMES, MAX_PARTS, PNG, START_OF_SCAN, Header, Unreadable, segments

MAX_PIXEL_CHUNKS = 5000  # of a PNG; libpng writes one for each 8 KiB
MAX_TABLES = 1 << 16  # bytes of a JPEG's tables before its pixels; usual are 500
MAX_TAGS = 1000  # of EXIF that are looked at
MAX_TEXT = 1 << 18  # bytes that a compressed text is inflated to
JFIF, EXIF_OR_XMP, ICC, JUMBF, ADOBE = 0xE0, 0xE1, 0xE2, 0xEB, 0xEE
TABLES = FRAMES | {0xC4, 0xCC, 0xDB, 0xDC, 0xDD}
EXIF = b"Exif\0\0"
PROFILE = b"ICC_PROFILE\0"
XMP = b"http://ns.adobe.com/xap/1.0/\0"
XMP_KEYWORD, EXIF_KEYWORD = b"XML:com.adobe.xmp\0", b"Raw profile type exif\0"
ORIENTATION = 0x0112
XMP_ORIENTATION = re.compile(rb"""tiff:Orientation(?:\s*=\s*["']|\s*>)\s*([0-9])""")
NUMBERS = {1: "B", 3: "H", 4: "I"}  # EXIF's types of whole numbers
BROKEN = b"\0"  # a profile that is there and cannot be read
GREY, RGB, PALETTE = 0, 2, 3  # a PNG's types of colour


@dataclass(frozen=True)
class Stripped:
    """A picture file with nothing but a picture.

    orientation: as EXIF numbers them, 1 to 8; others mean nothing. frames: how many pictures an animation has.
    profile: what it has for an ICC profile, unchecked, empty where it has none. xmp: likewise. manifests: bytes of
    C2PA's.
    """

    data: bytes
    orientation: int = 1
    frames: int = 1
    profile: bytes = b""
    xmp: bytes = b""
    manifests: int = 0


def strip_metadata(data: bytes, header: Header) -> Stripped:
    """The file ``data``, of which ``header`` is the header, with the same pixels.

    Raises:
        Unreadable: it has too many parts.
        ValueError, struct.error: it is damaged.
    """
    if header.kind == "PNG":
        return _png(data)
    return _jpeg(data, header) if header.kind == "JPEG" else _webp(data)


def chunks_of(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, begin and length of what is in each chunk of a PNG, up to its end.

    Raises:
        Unreadable: there are too many.
    """
    pixels, others, at = 0, 0, len(PNG)
    while at + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        if name == b"IEND":
            return
        pixels, others = pixels + (name == b"IDAT"), others + (name != b"IDAT")
        if others > MAX_PARTS or pixels > MAX_PIXEL_CHUNKS:
            limits = f"{MAX_PIXEL_CHUNKS} chunks of pixels and {MAX_PARTS} others"
            raise Unreadable(f"must be a PNG of at most {limits}; got more")
        yield name, at + 8, length
        at += 12 + length


def _png(data: bytes) -> Stripped:
    chunks: dict[bytes, bytes] = {}
    texts: dict[bytes, bytes] = {}
    pixels: list[memoryview] = []
    frames, manifests, view = 1, 0, memoryview(data)
    for name, begin, length in chunks_of(data):
        at = begin + length + 4
        if name == b"IDAT":
            pixels.append(view[begin : begin + length])
        elif name in (b"IHDR", b"PLTE") and not pixels:
            chunks[name] = data[begin - 8 : at]
        elif name in (b"tRNS", b"iCCP") and not pixels and name not in chunks and intact(data[begin - 4 : at]):
            chunks[name] = data[begin : begin + length]
        elif name == b"caBX":
            manifests += length
        elif name == b"acTL" and length >= 4:
            frames = int.from_bytes(data[begin : begin + 4], "big")
        elif name == b"eXIf" or ((name[1:] == b"TXt" or name == b"tEXt") and length):
            keyword = next((k for k in (XMP_KEYWORD, EXIF_KEYWORD) if data.startswith(k, begin)), b"")
            if name == b"eXIf" or keyword:
                texts[keyword] = name + data[begin + len(keyword) : begin + length]
    whole = b"".join(pixels)
    tail = _chunk(b"IDAT", whole) + _chunk(b"IEND", b"")
    head = chunks.get(b"IHDR", b"") + chunks.get(b"PLTE", b"")
    if b"tRNS" in chunks and may_be_key(chunks[b"tRNS"], colour=data[25]):
        head += _chunk(b"tRNS", as_pillow_compares(chunks[b"tRNS"], depth=data[24], colour=data[25]))
    profile = (
        b"" if b"iCCP" not in chunks else _inflated(chunks[b"iCCP"].partition(b"\0")[2][1:], MAX_PROFILE) or BROKEN
    )
    exif = texts[b""][4:] if b"" in texts else _raw_profile(texts.get(EXIF_KEYWORD, b""))
    xmp = _xmp_of(texts.get(XMP_KEYWORD, b""))
    return Stripped(PNG + head + tail, _orientation(exif, xmp), frames, profile, xmp, manifests)


def intact(chunk: bytes) -> bool:
    """Whether a PNG's chunk, its length left out, is what was written. What is not, and not needed, is passed over."""
    return zlib.crc32(memoryview(chunk)[:-4]).to_bytes(4, "big") == chunk[-4:]


def may_be_key(key: bytes, colour: int) -> bool:
    """Whether a PNG's tRNS has as many bytes as it should. One that has not is passed over, as libpng does."""
    return 0 < len(key) <= 256 if colour == PALETTE else len(key) == {GREY: 2, RGB: 6}.get(colour)


def as_pillow_compares(key: bytes, depth: int, colour: int) -> bytes:
    """The colour that is transparent in a PNG of 1, 2 or 4 bits of grey, or of RGB with 16 bits a channel, as Pillow
    has that colour, which scales pixels to 8 bits before it compares; of others ``key`` as it is."""
    values = [int.from_bytes(key[at : at + 2], "big") for at in range(0, len(key) - 1, 2)]
    if colour == GREY and depth < 8:
        values = [255 * (value & ((1 << depth) - 1)) // ((1 << depth) - 1) for value in values]
    elif colour == RGB and depth > 8:
        values = [value >> 8 for value in values]
    else:
        return key
    return b"".join(value.to_bytes(2, "big") for value in values)


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


def _inflated(body: bytes, most: int = MAX_TEXT) -> bytes:
    try:
        return zlib.decompressobj().decompress(body, most)
    except zlib.error:
        return b""


def _jpeg(data: bytes, header: Header) -> Stripped:
    kept, tables, manifests = [b"\xff\xd8"], 0, 0
    exif, xmp, profile = [], b"", dict[int, bytes]()
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
            xmp = body[len(XMP) :]
        elif marker == JUMBF and body.startswith(b"JP"):
            manifests += len(body)
        elif marker == ICC and body.startswith(PROFILE) and len(body) > len(PROFILE) + 2:
            profile[body[len(PROFILE)]] = body[len(PROFILE) + 2 :]  # which part it is, and of how many
        elif marker == START_OF_SCAN:
            kept.append(data[header.pixels :])
    if tables > MAX_TABLES:
        raise Unreadable(f"must be a JPEG of at most {MAX_TABLES} bytes of tables before its pixels; got {tables}")
    whole = b"".join(part for _, part in sorted(profile.items()))
    return Stripped(b"".join(kept), _orientation(b"".join(exif), xmp), 1, whole, xmp, manifests)


def _webp(data: bytes) -> Stripped:
    """The file as it is: libwebp passes over what it does not know."""
    if data[12:16] != b"VP8X":
        return Stripped(data)
    exif, xmp, profile, manifests, frames, parts, at = b"", b"", b"", 0, 0, 0, 12
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
        elif name == b"ICCP":
            profile = profile or data[begin : begin + length]
        elif name == b"C2PA":
            manifests += length
    return Stripped(data, _orientation(exif, xmp), max(1, frames), profile, xmp, manifests)


def orientation_of(info: Mapping[Any, Any]) -> int | None:
    """Which way is up in a picture that Pillow opened, by the metadata that it has with it; None where these are none.

    Of EXIF nothing else is read: one odd entry must not hide it.
    """
    raw = info.get("Raw profile type exif", "")
    exif = info.get("exif", b"") or (_raw_profile(b"tEXt" + raw.encode("latin-1", "replace")) if raw else b"")
    xmp = info.get("xmp") or info.get("XML:com.adobe.xmp") or b""
    xmp = xmp.encode() if isinstance(xmp, str) else xmp
    return _orientation(exif, xmp) if exif or xmp else None


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
