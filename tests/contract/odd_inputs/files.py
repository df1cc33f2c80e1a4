"""Picture files as Pillow does not write them: PNGs of any depth and chunk, JPEGs and WebPs of any part."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from tests.contract.services import Array

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6  # a PNG's types of colour
ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def saved(picture: Image.Image | Array, kind: str, **options: Any) -> bytes:
    """As Pillow writes it."""
    file = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(file, kind, **options)
    return file.getvalue()


def chunk(name: bytes, body: bytes = b"", crc: bytes | None = None) -> bytes:
    """Of a PNG; crc: in the place of the right one."""
    right = struct.pack(">I", zlib.crc32(name + body))
    return struct.pack(">I", len(body)) + name + body + (right if crc is None else crc)


def packed(samples: Array, depth: int) -> bytes:
    """Rows of a PNG, each unfiltered, of samples ``[H, W, C]``."""
    rows = samples.reshape(len(samples), -1)
    if depth == 16:
        lines = rows.astype(">u2").view(np.uint8)
    elif depth == 8:
        lines = rows.astype(np.uint8)
    else:
        bits = (rows[..., None] >> np.arange(depth - 1, -1, -1)) & 1
        lines = np.packbits(bits.reshape(len(rows), -1).astype(np.uint8), 1)
    return b"".join(b"\0" + line.tobytes() for line in lines)


def png_of(
    samples: Array, colour: int, depth: int = 8, *chunks: bytes, after: Sequence[bytes] = (), adam7: bool = False
) -> bytes:
    """A PNG of ``samples``, ``[H, W]`` or ``[H, W, C]``, with ``chunks`` before and ``after`` its pixels."""
    deep = samples if samples.ndim == 3 else samples[..., None]
    header = struct.pack(">IIBBBBB", deep.shape[1], deep.shape[0], depth, colour, 0, 0, adam7)
    passes = [deep[top::down, left::right] for top, left, down, right in ADAM7] if adam7 else [deep]
    pixels = zlib.compress(b"".join(packed(each, depth) for each in passes if each.size))
    parts = [chunk(b"IHDR", header), *chunks, chunk(b"IDAT", pixels), *after, chunk(b"IEND")]
    return SIGNATURE + b"".join(parts)


def segment(marker: int, body: bytes) -> bytes:
    """Of a JPEG."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def with_segments(data: bytes, *parts: bytes) -> bytes:
    """A JPEG with parts behind its first marker."""
    return data[:2] + b"".join(parts) + data[2:]


def with_parts(data: bytes, *parts: bytes) -> bytes:
    """A WebP with parts at its end."""
    whole = data[8:] + b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(whole)) + whole


def part(name: bytes, body: bytes) -> bytes:
    """Of a WebP."""
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def exif(orientation: int, *others: tuple[int, int, int, bytes], order: str = "<") -> bytes:
    """EXIF with entries of (tag, type, count, 4 bytes) beside the orientation, before it where their tag is lower."""
    entries = [(0x0112, 3, 1, struct.pack(f"{order}H", orientation).ljust(4, b"\0")), *others]
    body = struct.pack(f"{order}H", len(entries))
    for tag, kind, count, value in sorted(entries):
        body += struct.pack(f"{order}HHI", tag, kind, count) + value
    return (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8) + body + b"\0\0\0\0"


def turned(pixels: Array, orientation: int) -> Array:
    """``pixels`` as they are stored where EXIF says ``orientation``, and ``pixels`` are what people see."""
    stored = [
        pixels,
        pixels[:, ::-1],
        pixels[::-1, ::-1],
        pixels[::-1],
        pixels.swapaxes(0, 1),
        np.rot90(pixels),
        pixels[::-1, ::-1].swapaxes(0, 1),
        np.rot90(pixels, -1),
    ]
    return np.ascontiguousarray(stored[orientation - 1])


def icc_segments(profile: bytes, size: int = 60_000) -> list[bytes]:
    """The profile of a JPEG, in segments of ``size`` bytes."""
    cut = [profile[at : at + size] for at in range(0, len(profile), size)]
    return [
        segment(0xE2, b"ICC_PROFILE\0" + bytes((number, len(cut))) + body) for number, body in enumerate(cut, start=1)
    ]
