"""ICC profiles of strangers: their colours become sRGB's, and whatever they hold, little of it is looked at."""

from __future__ import annotations

import io
import random
import struct
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.contract.odd_inputs.files import icc_segments, saved, with_segments
from tests.contract.odd_inputs.profiles import (
    ADOBE_RGB,
    D50,
    DISPLAY_P3,
    P3,
    PRESS,
    SRGB,
    SWAPPED,
    curve_of_srgb,
    fixed,
    gamma,
    of_grey,
    of_inks,
    of_primaries,
    press,
    profile,
    xyz,
)
from unclip.wire.colours import MAX_PROFILE, UnusableProfile, conversion, essence

GENEROUS_S = 5.0


def test_display_p3_is_converted_as_its_definition_says() -> None:
    """By arithmetic: its curve, its primaries to XYZ, and from there by sRGB's to sRGB's curve."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    values = pixels / 255
    light = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    light = light @ np.array(P3) @ np.linalg.inv(np.array(SRGB))
    light = light.clip(0, 1)
    shown = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    got = np.asarray(conversion(DISPLAY_P3).converted(Image.fromarray(pixels)))
    assert np.abs(got - shown).max() <= 2
    assert np.abs(pixels - shown).max() > 20


@pytest.mark.parametrize("curve", [curve_of_srgb(), gamma(2.2)])
def test_colours_that_are_those_of_srgb_stay_as_they_are(curve: bytes) -> None:
    found = conversion(of_primaries(SRGB, curve))
    assert (found.transform is None) == (curve != gamma(2.2))
    assert conversion(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()).transform is None


def test_a_large_picture_is_converted_in_strips_as_it_would_be_whole() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (700, 2000, 4), np.uint8)
    whole = ImageCms.profileToProfile(
        Image.fromarray(pixels[..., :3]),
        ImageCms.ImageCmsProfile(io.BytesIO(ADOBE_RGB)),
        ImageCms.createProfile("sRGB"),
    )
    made = np.asarray(conversion(ADOBE_RGB).converted(Image.fromarray(pixels)))
    assert (made == np.dstack([np.asarray(whole), pixels[..., 3]])).all()


@pytest.mark.parametrize(
    ("data", "fitting"),
    [
        (ADOBE_RGB, {"RGB", "RGBA", "P", "L", "LA", "1", "I;16"}),
        (of_grey(gamma(2)), {"L", "LA", "1", "I;16"}),
        (PRESS, {"CMYK"}),
    ],
    ids=["screen", "grey", "press"],
)
def test_a_profile_is_for_pictures_of_its_kind_alone(data: bytes, fitting: set[str]) -> None:
    modes = ("RGB", "RGBA", "P", "L", "LA", "1", "I;16", "CMYK")
    assert {mode for mode in modes if conversion(data).fits(mode)} == fitting


def changed(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


UNUSABLE = {
    "nothing": b"",
    "text": b"no profile at all" * 20,
    "a header alone": ADOBE_RGB[:128],
    "half of one": ADOBE_RGB[: len(ADOBE_RGB) // 2],
    "another signature": changed(ADOBE_RGB, 36, b"acsq"),
    "a link between devices": changed(ADOBE_RGB, 12, b"link"),
    "named colours": changed(ADOBE_RGB, 12, b"nmcl"),
    "of Lab": changed(ADOBE_RGB, 16, b"Lab "),
    "of six inks": changed(PRESS, 16, b"6CLR"),
    "of a PCS that is none": changed(ADOBE_RGB, 20, b"RGB "),
    "without tags": profile(b"RGB ", {}),
    "of primaries without curves": profile(b"RGB ", {b"rXYZ": xyz(D50)}),
    "curves of another type": of_primaries(SRGB, b"mpet\0\0\0\0" + b"\0" * 40),
    "a curve of 2^31 points": of_primaries(SRGB, b"curv\0\0\0\0\x80\0\0\0"),
    "grey of primaries alone": changed(ADOBE_RGB, 16, b"GRAY"),
    "larger than any": of_primaries(SRGB, gamma(2)) + b"\0" * MAX_PROFILE,
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_what_cannot_be_used_is_told(name: str) -> None:
    with pytest.raises(UnusableProfile):
        conversion(UNUSABLE[name])


def test_of_a_profile_only_what_is_needed_goes_on() -> None:
    tags: dict[bytes, bytes] = dict.fromkeys(
        (b"cprt", b"desc", b"D2B0", b"B2A0"), b"text\x00\x00\x00\x00" + b"x" * 9000
    )
    more = of_primaries(SWAPPED, gamma(2), tags)
    assert essence(more) == essence(of_primaries(SWAPPED, gamma(2)))
    assert len(essence(more)) < 500
    entries = [struct.pack(">4sII", name, 168, 2_000_000) for name in (b"A2B0", b"A2B1", b"A2B2")]
    over = ADOBE_RGB[:128] + struct.pack(">I", 3) + b"".join(entries) + b"mft1".ljust(2_000_000, b"\0")
    with pytest.raises(UnusableProfile):  # tags that lie over each other do not make more of what there is
        essence(over)


def table_of_16_bits(inks: int, grid: int, points: int) -> bytes:
    chance = random.Random(0)
    identity = b"".join(map(fixed, (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    size = inks * points + grid**inks * 3 + 3 * points
    return (
        b"mft2\0\0\0\0"
        + bytes((inks, 3, grid, 0))
        + identity
        + struct.pack(">HH", points, points)
        + chance.randbytes(2 * size)
    )


COSTLY = {
    "inks on a fine grid": lambda: of_inks(press, 25),
    "colours on a fine grid": lambda: profile(
        b"RGB ", {b"wtpt": xyz(D50), b"A2B0": table_of_16_bits(3, 80, 4096)}, b"Lab "
    ),
    "inks, 16 bits": lambda: profile(b"CMYK", {b"A2B0": table_of_16_bits(4, 23, 4096)}, b"Lab ", b"prtr"),
    "curves of many points": lambda: of_primaries(SRGB, b"curv\0\0\0\0" + struct.pack(">I", 32_000) + b"ab" * 32_000),
}


@pytest.mark.parametrize("name", COSTLY)
def test_the_costliest_profiles_take_a_bounded_time(name: str) -> None:
    data = COSTLY[name]()
    began = time.monotonic()
    conversion(data)
    assert time.monotonic() - began < GENEROUS_S


def test_profiles_with_wrong_bytes_are_used_or_told_and_no_process_dies() -> None:
    code = (
        "import random, sys; from unclip.wire.colours import UnusableProfile, conversion\n"
        "chance, seen = random.Random(0), [0, 0]\n"
        "from tests.contract.odd_inputs import profiles as p\n"
        "for _ in range(100):\n"
        "    data = bytearray(chance.choice((p.ADOBE_RGB, p.DISPLAY_P3, p.PRESS, p.of_grey(p.gamma(2)))))\n"
        "    for _ in range(chance.choice((1, 3, 9))):\n"
        "        data[chance.randrange(min(len(data), 400))] = chance.choice((0, 1, 127, 255))\n"
        "    try: conversion(bytes(data)); seen[0] += 1\n"
        "    except UnusableProfile: seen[1] += 1\n"
        "print(*seen)"
    )
    used, told = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.split()
    assert min(int(used), int(told)) > 9


@pytest.mark.parametrize(("mode", "data"), [("CMYK", PRESS), ("RGB", ADOBE_RGB)])
def test_a_large_picture_with_a_profile_is_decoded_in_memory_that_its_size_bounds(mode: str, data: bytes) -> None:
    code = (
        "import sys; from tests.processes import resident; from unclip.api.type.v1 import image_pb2;"
        "from unclip.wire.images import decode_image;"
        "message = image_pb2.Image(data=sys.stdin.buffer.read());"
        "before = resident('VmHWM');"
        "assert decode_image(message, 'image').size == (4000, 4000);"
        "print(resident('VmHWM') - before)"
    )
    file: Any = with_segments(saved(Image.new(mode, (4000, 4000), "red"), "JPEG"), *icc_segments(data))
    grown = int(subprocess.run([sys.executable, "-c", code], input=file, capture_output=True, check=True).stdout)
    assert grown < 200 * 2**20
