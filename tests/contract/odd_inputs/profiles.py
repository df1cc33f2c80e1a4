"""ICC profiles of a few hundred bytes, written here, so that no file of somebody else's is needed."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence

D50 = (0.9642, 1.0, 0.8249)
# Red, green and blue as the primaries' XYZ, adapted to D50.
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
ADOBE = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
SWAPPED = (SRGB[1], SRGB[2], SRGB[0])
Point = tuple[float, float, float]


def fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def xyz(point: Point) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(map(fixed, point))


def gamma(value: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(value * 256))


def curve_of_srgb() -> bytes:
    """The parametric curve of type 3."""
    return (
        b"para\0\0\0\0"
        + struct.pack(">HH", 3, 0)
        + b"".join(map(fixed, (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)))
    )


def profile(space: bytes, tags: Mapping[bytes, bytes], pcs: bytes = b"XYZ ", kind: bytes = b"mntr") -> bytes:
    """A profile of ``tags``."""
    at, table, bodies = 132 + 12 * len(tags), b"", b""
    for name, body in tags.items():
        table += struct.pack(">4sII", name, at + len(bodies), len(body))
        bodies += body + b"\0" * (-len(body) % 4)
    date = struct.pack(">6H", 2026, 1, 1, 0, 0, 0)
    head = b"lcms" + struct.pack(">I", 0x02400000) + kind + space + pcs + date + b"acsp" + b"\0" * 28
    head += b"".join(map(fixed, D50)) + b"\0" * 48
    return struct.pack(">I", at + len(bodies)) + head + struct.pack(">I", len(tags)) + table + bodies


def of_primaries(primaries: Sequence[Point], curve: bytes, more: Mapping[bytes, bytes] | None = None) -> bytes:
    """A profile of a screen."""
    tags = {b"wtpt": xyz(D50)}
    for name, point in zip((b"r", b"g", b"b"), primaries, strict=True):
        tags |= {name + b"XYZ": xyz(point), name + b"TRC": curve}
    return profile(b"RGB ", {**tags, **(more or {})})


def of_grey(curve: bytes) -> bytes:
    return profile(b"GRAY", {b"wtpt": xyz(D50), b"kTRC": curve})


def of_inks(lab: Callable[[float, float, float, float], Point], grid: int = 5) -> bytes:
    """A profile of a press: ``lab`` gives L (0 to 100), a and b (-128 to 127) of inks, each 0 to 1."""
    steps = [step / (grid - 1) for step in range(grid)]
    colours = [lab(c, m, y, k) for c in steps for m in steps for y in steps for k in steps]
    table = b"".join(bytes((round(l * 2.55), round(a + 128), round(b + 128))) for l, a, b in colours)  # noqa: E741
    ramp = bytes(range(256))
    identity = b"".join(map(fixed, (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    body = b"mft1\0\0\0\0" + bytes((4, 3, grid, 0)) + identity + ramp * 4 + table + ramp * 3
    return profile(b"CMYK", {b"wtpt": xyz(D50), b"A2B0": body}, b"Lab ", b"prtr")


def press(c: float, m: float, y: float, k: float) -> Point:
    """Inks that are far from their complements."""
    light = 96 * (1 - 0.45 * c) * (1 - 0.5 * m) * (1 - 0.1 * y) * (1 - 0.85 * k)
    return light, (60 * m - 35 * c) * (1 - k), (80 * y - 45 * c) * (1 - k)


ADOBE_RGB = of_primaries(ADOBE, gamma(2.19921875))
DISPLAY_P3 = of_primaries(P3, curve_of_srgb())
PRESS = of_inks(press)
