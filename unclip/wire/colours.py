"""Colours of picture files as sRGB, which networks and screens take them for: what an ICC profile says of its numbers.

Of a profile only what is needed goes to Little CMS: white and primaries, tone curves, and tables from device to PCS,
each of them one of fixed stages. So reading one takes time and memory that its size bounds (at most 0.1 s, seen), and
what strangers can have parsed is little.
"""

from __future__ import annotations

import functools
import io
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageCms

MAX_PROFILE = 4 << 20  # bytes; those of printing presses have up to 3 MB
MAX_TAGS = 100
CLASSES = frozenset({b"scnr", b"mntr", b"prtr", b"spac"})
SPACES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}
NUMBERS, CURVES, TABLES = frozenset({b"XYZ "}), frozenset({b"curv", b"para"}), frozenset({b"mft1", b"mft2", b"mAB "})
KEPT = {  # by tag, of which types it may be
    **dict.fromkeys((b"wtpt", b"rXYZ", b"gXYZ", b"bXYZ"), NUMBERS),
    **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC", b"kTRC"), CURVES),
    **dict.fromkeys((b"A2B0", b"A2B1", b"A2B2"), TABLES),
    b"chad": frozenset({b"sf32"}),
}
ALIKE = 2  # of 255: colours that differ by no more stay as they are, since sRGB's own profiles differ by as much
GRID = 9  # colours a channel by which that is found


class UnusableProfile(ValueError):
    """It is broken, or no profile of a device whose colours are RGB, grey or CMYK."""


@dataclass(frozen=True)
class Conversion:
    """From the colours of a profile to sRGB. mode: of the pictures it is for, RGB, L or CMYK. transform: None where
    they are sRGB's already, or differ so little that nobody sees it."""

    mode: str
    transform: Any

    def fits(self, mode: str) -> bool:
        """Whether it can be of a picture that Pillow has in ``mode``."""
        if self.mode == "CMYK" or mode == "CMYK":
            return self.mode == mode
        return self.mode == "RGB" or mode in ("1", "L", "LA") or mode.startswith("I")

    def converted(self, image: Image.Image) -> Image.Image:
        """``image``, RGB, RGBA or CMYK, or such with grey alone, as RGB or RGBA. It may be changed in place."""
        if self.transform is None:
            return image
        if self.mode == "RGB" and image.mode == "RGB":
            ImageCms.applyTransform(image, self.transform, inPlace=True)
            return image
        made = Image.new(image.mode if image.mode == "RGBA" else "RGB", image.size)
        for top in range(0, image.height, rows := max(1, (1 << 20) // image.width)):
            strip = image.crop((0, top, image.width, min(top + rows, image.height)))
            colours = strip.getchannel(0) if self.mode == "L" else strip.convert(self.mode)
            colours = ImageCms.applyTransform(colours, self.transform) or colours  # nothing where it is done in place
            if image.mode == "RGBA":
                colours.putalpha(strip.getchannel("A"))
            made.paste(colours, (0, top))
        return made


@functools.lru_cache(4)
def conversion(profile: bytes) -> Conversion:
    """What ``profile`` asks for, with the perceptual intent, as browsers convert.

    Raises:
        UnusableProfile: nothing that can be done.
    """
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(essence(profile)))
        mode = SPACES[profile[16:20]]
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (KeyError, struct.error, OSError, ValueError, TypeError, ImageCms.PyCMSError):
        raise UnusableProfile from None
    return Conversion(mode, None if _alike(mode, transform) else transform)


def essence(profile: bytes) -> bytes:
    """``profile`` with only what converting from it needs.

    Raises:
        UnusableProfile: it is none, or has nothing of the kind.
        struct.error: it is cut.
    """
    if profile[36:40] != b"acsp" or profile[12:16] not in CLASSES or len(profile) > MAX_PROFILE:
        raise UnusableProfile
    [count] = struct.unpack_from(">I", profile, 128)
    found: dict[bytes, bytes] = {}
    for number in range(min(count, MAX_TAGS)):
        name, begin, size = struct.unpack_from(">4sII", profile, 132 + 12 * number)
        if profile[begin : begin + 4] in KEPT.get(name, ()) and begin + size <= len(profile):
            found.setdefault(name, profile[begin : begin + size])
    if not found.keys() & {b"rTRC", b"kTRC", b"A2B0", b"A2B1"}:
        raise UnusableProfile
    at, table, bodies = 132 + 12 * len(found), b"", b""
    for name, body in found.items():
        table += struct.pack(">4sII", name, at + len(bodies), len(body))
        bodies += body + b"\0" * (-len(body) % 4)
    if (size := at + len(bodies)) > MAX_PROFILE:  # tags may lie over each other
        raise UnusableProfile
    return struct.pack(">I", size) + profile[4:128] + struct.pack(">I", len(found)) + table + bodies


def _alike(mode: str, transform: Any) -> bool:
    """Whether a transform leaves colours as they are."""
    ramp = np.arange(256, dtype=np.uint8)
    if mode == "CMYK":
        return False
    if mode == "L":
        colours, expected = ramp[None], np.repeat(ramp[None, :, None], 3, 2)
    else:
        steps = np.linspace(0, 255, GRID).astype(np.uint8)
        grid = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(-1, 3)
        colours = expected = np.concatenate([grid, np.repeat(ramp[:, None], 3, 1)])[None]
    got = np.asarray(ImageCms.applyTransform(Image.fromarray(colours), transform))
    return int(np.abs(got.astype(int) - expected).max()) <= ALIKE
