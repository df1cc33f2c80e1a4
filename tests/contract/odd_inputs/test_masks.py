"""Odd masks: whatever kind of file says it, light is repainted, and dark is kept, value for value; else it is refused.

Beside masks: a picture's own alpha, and canvases to paint on.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.contract.gateways import noise_picture, pixels_of, png
from tests.contract.odd_inputs.files import (
    GREY,
    GREY_ALPHA,
    PALETTE,
    RGB,
    RGBA,
    chunk,
    exif,
    png_of,
    saved,
    segment,
    turned,
    with_segments,
)
from tests.contract.services import Array
from tests.tiny import FINAL
from unclip import Client, Sampling
from unclip.client.sheets import pad
from unclip.errors import InvalidRequest

QUICK: dict[str, Any] = {"seed": 1, "prior_candidates": 1, "prior": Sampling(steps=1), "decoder": Sampling(steps=1)}
NOISE = noise_picture(FINAL, FINAL)
AREA = np.zeros((FINAL, FINAL), np.bool_)  # repainted; no turn or flip leaves it as it is
AREA[:16, :8] = AREA[8:16, :24] = True
DARK, LIGHT = 127, 128
LEVEL = np.where(AREA, LIGHT, DARK).astype(np.uint8)
BOLD = AREA * np.uint8(255)


def masks() -> Iterator[tuple[str, Any]]:
    """Each says `AREA`."""
    yield "bools", AREA
    yield "an array at the border of light", LEVEL
    yield "an array of RGB", np.repeat(BOLD[..., None], 3, 2)
    for depth in (1, 2, 4, 8):
        most = (1 << depth) - 1
        yield f"PNG of {depth} bits", png_of(AREA * most, GREY, depth)
        plte = chunk(b"PLTE", bytes([0, 0, 0] * most + [255] * 3))
        yield f"PNG of a palette of {depth} bits", png_of(AREA * most, PALETTE, depth, plte)
    deep = np.where(AREA, 0x8000, 0x7FFF)
    yield "PNG of 16 bits, at the border of light", png_of(deep, GREY, 16)
    yield "PNG of 16 bits, RGB", png_of(np.repeat(deep[..., None], 3, 2), RGB, 16)
    yield "PNG at the border of light", png_of(LEVEL, GREY)
    yield "PNG, interlaced", png_of(LEVEL, GREY, adam7=True)
    yield "PNG, opaque RGBA", png_of(np.dstack([BOLD] * 3 + [np.full_like(BOLD, 255)]), RGBA)
    yield "PNG, opaque grey and alpha", png_of(np.dstack([BOLD, np.full_like(BOLD, 255)]), GREY_ALPHA)
    absent = chunk(b"tRNS", struct.pack(">H", 99))
    yield "PNG with a transparent grey that it has nowhere", png_of(BOLD, GREY, 8, absent)
    yield "PNG of 16 bits, likewise", png_of(deep, GREY, 16, absent)
    yield "PNG of a palette, in reverse", png_of(~AREA * 1, PALETTE, 1, chunk(b"PLTE", bytes([255] * 3 + [0] * 3)))
    yield "PNG of colours", png_of(np.where(AREA[..., None], [255, 255, 0], [0, 0, 255]), RGB)
    yield "PNG with 2 MB beside it", png_of(LEVEL, GREY, 8, chunk(b"prVt", b"\0" * 2_000_000))
    for orientation in (3, 6, 8):
        told = chunk(b"eXIf", exif(orientation))
        yield f"PNG turned by EXIF {orientation}", png_of(turned(BOLD, orientation), GREY, 8, told)
    jpeg = saved(turned(BOLD, 6), "JPEG", quality=95)
    yield "JPEG turned by EXIF", with_segments(jpeg, segment(0xE1, b"Exif\0\0" + exif(6)))
    yield "JPEG", saved(BOLD, "JPEG", quality=75)
    yield "JPEG, progressive", saved(BOLD, "JPEG", progressive=True)
    yield "WebP", saved(np.repeat(BOLD[..., None], 3, 2), "WEBP", lossless=True)
    for mode in ("1", "L", "P", "RGB", "RGBA", "LA"):
        yield f"Pillow's {mode}", Image.fromarray(BOLD).convert(mode)
    yield "Pillow's I;16", Image.fromarray(deep.astype(np.uint16))
    yield "Pillow's I", Image.fromarray(deep.astype(np.int32))
    yield "Pillow's F", Image.fromarray(LEVEL.astype(np.float32))
    yield "what Pillow opened of 16 bits", Image.open(io.BytesIO(png_of(deep, GREY, 16)))
    yield "a copy of that", Image.open(io.BytesIO(png_of(deep, GREY, 16))).copy()
    stored = png_of(turned(BOLD, 6), GREY, 8, chunk(b"eXIf", exif(6)))
    yield "what Pillow opened, turned by EXIF", Image.open(io.BytesIO(stored))
    yield "a copy of that too", Image.open(io.BytesIO(stored)).copy()


def kept(made: Any, seen: Array, area: Array) -> None:
    """What is kept is there, and what is repainted is not what was there."""
    pixels = pixels_of(made)
    assert (pixels[~area] == seen[~area]).all()
    assert np.abs(pixels.astype(int) - seen)[area].mean() > 20


@pytest.mark.parametrize("mask", [pytest.param(mask, id=name) for name, mask in masks()])
def test_a_mask_of_any_kind_repaints_what_is_light(client: Client, mask: Any) -> None:
    [made] = client.edit(NOISE, "a cat", mask, **QUICK)
    kept(made, NOISE, AREA)


def holes() -> Iterator[tuple[str, Any, Array]]:
    """Pictures whose alpha says `AREA`, and what people see of the rest."""
    border = np.where(AREA, DARK, LIGHT).astype(np.uint8)
    hole = np.where(AREA, 0, 255).astype(np.uint8)
    white = np.full_like(NOISE, 255)
    half = np.asarray(
        Image.alpha_composite(
            Image.fromarray(np.dstack([white, white[..., 0]])), Image.fromarray(np.dstack([NOISE, border]))
        )
    )[..., :3]
    grey = np.repeat(NOISE[..., :1], 3, 2)
    yield "PNG, at the border", png_of(np.dstack([NOISE, border]), RGBA), half
    yield "PNG of 16 bits", png_of(np.dstack([NOISE, hole]).astype(int) * 257, RGBA, 16), NOISE
    yield "PNG of grey", png_of(np.dstack([NOISE[..., 0], hole]), GREY_ALPHA), grey
    yield "WebP", saved(np.dstack([NOISE, hole]), "WEBP", lossless=True), NOISE
    yield "an array", np.dstack([NOISE, hole]), NOISE
    yield "Pillow's LA", Image.fromarray(np.dstack([NOISE[..., 0], hole])), grey
    samples = np.where(AREA, 0, 1 + NOISE[..., 0] // 2).astype(int)
    one = chunk(b"tRNS", struct.pack(">H", 0))
    shown = np.repeat(samples.astype(np.uint8)[..., None], 3, 2)
    yield "PNG with one transparent grey", png_of(samples, GREY, 8, one), shown
    yield "PNG with one transparent grey of 16 bits", png_of(samples * 257, GREY, 16, one), shown
    yield "what Pillow opened of that", Image.open(io.BytesIO(png_of(samples * 257, GREY, 16, one))), shown
    yield "a copy of it", Image.open(io.BytesIO(png_of(samples * 257, GREY, 16, one))).copy(), shown
    few = np.where(AREA, 0, 1 + NOISE[..., 0] // 86).astype(int)
    level = np.repeat(few.astype(np.uint8)[..., None] * np.uint8(85), 3, 2)
    yield "PNG with one transparent grey of 2 bits", png_of(few, GREY, 2, one), level
    palette = noise_picture(1, 4)[0]
    plte = chunk(b"PLTE", palette.tobytes())
    yield (
        "PNG of a palette with a transparent colour",
        png_of(few, PALETTE, 2, plte, chunk(b"tRNS", b"\0")),
        palette[few],
    )
    key = np.where(AREA[..., None], 0, 1 + NOISE // 2)
    yield "PNG with one transparent colour", png_of(key, RGB, 8, chunk(b"tRNS", b"\0" * 6)), key.astype(np.uint8)
    stored = np.dstack([NOISE, hole])
    told = chunk(b"eXIf", exif(8))
    yield "PNG turned by EXIF", png_of(turned(stored, 8), RGBA, 8, told), NOISE


@pytest.mark.parametrize(("picture", "seen"), [pytest.param(picture, seen, id=name) for name, picture, seen in holes()])
def test_a_hole_of_any_kind_is_repainted(client: Client, picture: Any, seen: Array) -> None:
    [made] = client.edit(picture, "a cat", **QUICK)
    kept(made, seen, AREA)


def test_a_picture_turned_by_exif_and_a_mask_that_is_upright_belong_together(client: Client) -> None:
    stored = png_of(turned(NOISE, 5), RGB, 8, chunk(b"eXIf", exif(5)))
    for picture in (stored, Image.open(io.BytesIO(stored)), Image.open(io.BytesIO(stored)).copy()):
        [made] = client.edit(picture, "a cat", AREA, **QUICK)
        kept(made, NOISE, AREA)


def test_a_canvas_around_a_picture_of_any_kind_keeps_the_picture(client: Client) -> None:
    small = noise_picture(20, 24)
    deep = png_of(small[..., 0].astype(int) * 257, GREY, 16)
    stored = png_of(turned(small, 6), RGB, 8, chunk(b"eXIf", exif(6)))
    area = np.ones((FINAL, FINAL), np.bool_)
    area[8:28, 4:28] = False
    for data, seen in ((deep, np.repeat(small[..., :1], 3, 2)), (stored, small)):
        canvas = pad(Image.open(io.BytesIO(data)), 4, 8, 4, 4)
        [made] = client.edit(canvas, "a cat", **QUICK)
        assert (pixels_of(made)[~area] == seen.reshape(-1, 3)).all()


WRONG: dict[str, tuple[Any, str, tuple[str, ...]]] = {
    "of another size": (AREA[:, 1:], "mask", ("as large as the image, 32 x 32", "got 31 x 32")),
    "turned by EXIF to another size": (
        png_of(BOLD[:20], GREY, 8, chunk(b"eXIf", exif(6))),
        "mask",
        ("as large as the image, 32 x 32", "got 20 x 32"),
    ),
    "with alpha": (np.dstack([NOISE, NOISE[..., 0]]), "mask", ("must be opaque", "got alpha of 0")),
    "with a transparent grey": (png_of(BOLD, GREY, 8, chunk(b"tRNS", b"\0\0")), "mask", ("must be opaque",)),
    "of 16 bits with a transparent grey": (
        png_of(AREA * 65535, GREY, 16, chunk(b"tRNS", b"\0\0")),
        "mask",
        ("must be opaque", "got alpha of 0"),
    ),
    "of a transparent palette": (
        png_of(AREA * 1, PALETTE, 1, chunk(b"PLTE", b"\0\0\0\xff\xff\xff"), chunk(b"tRNS", b"\x09")),
        "mask",
        ("must be opaque", "got alpha of 9"),
    ),
    "that is all dark": (np.zeros_like(AREA), "mask", ("grey of 128 or more", "nothing to repaint")),
    "that is nearly light": (np.full_like(BOLD, DARK), "mask", ("nothing to repaint",)),
    "of 16 bits that is nearly light": (png_of(AREA * 0x7FFF, GREY, 16), "mask", ("nothing to repaint",)),
    "that is no picture": (b"a mask", "mask.data", ("must be a PNG, JPEG or WebP file",)),
    "of nothing": (b"", "mask.data", ("got none",)),
    "cut": (png(NOISE)[:900], "mask.data", ("cut or damaged",)),
    "animated": (
        saved(BOLD, "WEBP", save_all=True, append_images=[Image.fromarray(LEVEL)]),
        "mask.data",
        ("must have one frame",),
    ),
    "too wide": (Image.new("L", (4097, 1)), "mask.data", ("at most 4096 px a side",)),
    "of inks": (Image.new("CMYK", (FINAL, FINAL)), "mask", ("got CMYK without",)),
    "of floats": (AREA / 2, "mask", ("must be uint8", "float64")),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_mask_that_says_nothing_is_refused_by_name(client: Client, case: str) -> None:
    mask, field, words = WRONG[case]
    with pytest.raises(InvalidRequest) as refused:
        client.edit(NOISE, "a cat", mask, **QUICK)
    [violation] = refused.value.violations
    assert violation.field == field
    assert not [word for word in words if word not in violation.description], violation.description


@pytest.mark.parametrize("name", ["JPEG", "RGB", "opaque", "nearly a hole"])
def test_a_picture_without_a_hole_needs_a_mask(client: Client, name: str) -> None:
    opaque = np.full_like(BOLD, 255 if name == "opaque" else LIGHT)
    pictures = {"JPEG": saved(NOISE, "JPEG"), "RGB": png(NOISE)}
    with pytest.raises(InvalidRequest) as refused:
        client.edit(pictures.get(name, png(np.dstack([NOISE, opaque]))), "a cat", **QUICK)
    [violation] = refused.value.violations
    told = ("mask", "must be set where the image has no alpha") if name in pictures else ("image", "alpha below 128")
    assert (violation.field, told[1] in violation.description) == (told[0], True)
