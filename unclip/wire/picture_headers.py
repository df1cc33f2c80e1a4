"""What picture files say of themselves, found without Pillow, whose reading of chunks and markers has no bound.

Nothing is inflated, and the work is bounded whatever a file holds: the header of a PNG or WebP lies at its beginning;
a JPEG may have ``MAX_PARTS`` segments before its pixels.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

MAX_PARTS = 1000  # segments of a JPEG before its pixels, chunks of a PNG or WebP that are no pixels; usual are 5 to 50
MAX_MARKERS = 2000  # from a JPEG's first scan on; no picture has so many
USUAL_SCANS = 16  # of a JPEG; encoders make some 10
SCAN = b"\xff\xda"  # the marker before each of them
START_OF_SCAN, END_OF_IMAGE, DEFINE_HUFFMAN, EXTENSION, ARITHMETIC = 0xDA, 0xD9, 0xC4, 0xC8, 0xCC
FRAMES = frozenset(range(0xC0, 0xD0)) - {DEFINE_HUFFMAN, EXTENSION, ARITHMETIC}  # markers of a frame's header
SEGMENTS = FRAMES | {DEFINE_HUFFMAN, ARITHMETIC, 0xFE} | set(range(0xDA, 0xF0))  # markers that something belongs to
FILL = re.compile(rb"\xff+")
# By the byte behind a 255: neither that of a pixel, nor a mark between pixels.
IS_MARKER = np.isin(np.arange(256), [*range(0x02, 0xD0), *range(END_OF_IMAGE, 0xFF)])
WINDOW = 1 << 20  # bytes that are searched for markers at a time
PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
WEBP = re.compile(rb"RIFF....WEBP", re.DOTALL)


class Unreadable(ValueError):
    """A file breaks a rule, which is its message."""


@dataclass(frozen=True)
class Header:
    """Of a PNG, JPEG or WebP file.

    kind: as Pillow names it. width, height: in pixels, as the file has them. channels: of a JPEG. scans: how many a
    JPEG has; 1 of the others. pixels: where a JPEG's first scan begins, in bytes.
    """

    kind: str
    width: int
    height: int
    channels: int = 3
    scans: int = 1
    pixels: int = 0

    @property
    def cost(self) -> int:
        """What reading the picture costs, in pixels: its own, times the scans of a JPEG beyond what is usual."""
        return self.width * self.height * max(self.scans, USUAL_SCANS) // USUAL_SCANS


def read_header(data: bytes) -> Header:
    """The header of a picture file.

    Raises:
        Unreadable: a JPEG has too many segments.
        ValueError, struct.error, IndexError: it is no such file.
    """
    if data.startswith(PNG):
        length, name, width, height = struct.unpack_from(">I4sII", data, 8)
        header = Header("PNG", width, height)
        if length != 13 or name != b"IHDR":
            raise ValueError("a PNG begins with its header")
    elif data.startswith(JPEG):
        header = _jpeg(data)
    elif WEBP.match(data):
        header = Header("WEBP", *_webp_size(data))
    else:
        raise ValueError("another format")
    if not header.width or not header.height:
        raise ValueError("no pixels")
    return header


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, begin and end of each segment of a JPEG up to its first scan, whose own is the last.

    The begin is that of what belongs to the marker, its length included. Padding and bytes between segments are passed.

    Raises:
        Unreadable: there are more than ``MAX_PARTS``.
        ValueError: another marker comes before the first scan, or there is none.
    """
    at = 2
    for _ in range(MAX_PARTS):
        padding = FILL.match(data, data.index(b"\xff", at))
        assert padding
        marker, begin = data[padding.end()], padding.end() + 1
        if not marker:  # an escaped 255: no marker
            at = begin
            continue
        if marker not in SEGMENTS:
            raise ValueError(f"marker {marker:02x}")
        at = begin + int.from_bytes(data[begin : begin + 2], "big")
        if at < begin + 2 or at > len(data):
            raise ValueError("cut")
        yield marker, begin, at
        if marker == START_OF_SCAN:
            return
    raise Unreadable(f"must have at most {MAX_PARTS} segments before its pixels; got more")


def scans_in(data: bytes, at: int = 2) -> int:
    """How many scans a JPEG has from ``at`` on, each of which passes over the whole picture, and may take a dozen bytes
    of the file."""
    if (most := data.count(SCAN, at)) <= USUAL_SCANS:
        return most  # or fewer: a picture behind the picture may have one
    scans = 0
    for number, position in enumerate(_markers(data, at)):
        if number >= MAX_MARKERS:
            return scans + data.count(SCAN, position)
        scans += data[position + 1] == START_OF_SCAN
    return scans


def _jpeg(data: bytes) -> Header:
    frame = None
    pixels = 0
    for marker, begin, _ in segments(data):
        if marker in FRAMES:
            if frame is not None:
                raise ValueError("two frames")
            frame = struct.unpack_from(">BHHB", data, begin + 2)
        pixels = begin - 2
    if frame is None or frame[0] != 8 or frame[3] not in (1, 3, 4):
        raise ValueError("no frame of 8 bits")
    return Header("JPEG", frame[2], frame[1], frame[3], scans_in(data, pixels), pixels)


def _webp_size(data: bytes) -> tuple[int, int]:
    """Width and height by the first chunk, in pixels."""
    name = data[12:16]
    if name == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    if name == b"VP8L" and data[20] == 0x2F:
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if name == b"VP8X" and len(data) >= 30:
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    raise ValueError("no WebP that is known")


def _markers(data: bytes, at: int) -> Iterator[int]:
    """Where the markers of a JPEG are, from ``at`` up to its end; what belongs to one is passed over."""
    codes = np.frombuffer(data, np.uint8)
    for start in range(at, len(data), WINDOW):
        block = codes[start : start + WINDOW + 1]
        found = np.flatnonzero((block[:-1] == 0xFF) & IS_MARKER[block[1:]]) + start
        while (index := int(found.searchsorted(at))) < len(found):
            position = int(found[index])
            if data[position + 1] == END_OF_IMAGE:
                return
            yield position
            at = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
