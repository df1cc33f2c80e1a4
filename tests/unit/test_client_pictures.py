"""A Pillow image is sent as the file that it is of, or as what people see of it: either way the same pixels."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from tests.contract.gateways import noise_picture
from tests.contract.odd_inputs.files import GREY, RGB, chunk, exif, png_of, saved, turned
from tests.contract.odd_inputs.picture_cases import LEGAL, iccp, in_srgb, on_white
from tests.contract.odd_inputs.profiles import ADOBE_RGB, PRESS
from tests.contract.services import Array
from unclip.api.type.v1 import image_pb2
from unclip.client.pictures import as_seen, encoded, file_bytes, open_picture
from unclip.client.sheets import contact_sheet, on_paper, pad
from unclip.errors import InvalidRequest
from unclip.wire.images import array_of, decode_image, open_image

NOISE = noise_picture(24, 20)


def seen(data: bytes) -> Array:
    return np.asarray(decode_image(image_pb2.Image(data=data), "image"))


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def can_be_opened(data: bytes) -> bool:
    try:
        opened(data).load()
    except Exception:  # what gateways read and Pillow does not
        return False
    return True


LIKEWISE = [pytest.param(data, pixels, id=name) for name, data, pixels in LEGAL if can_be_opened(data)]
# Pillow compares the transparent colour with pixels that it has scaled, and forgets how.
SCALED = (*(f"PNG of {depth} bits of grey, one" for depth in (1, 2, 4)), "PNG of RGB, 16 bits, one")


@pytest.mark.parametrize(("data", "pixels"), [case for case in LIKEWISE if "animation" not in str(case.id)])
def test_an_image_that_was_only_opened_is_sent_as_its_file(data: bytes, pixels: Array) -> None:
    assert file_bytes(opened(data), "image") == data


@pytest.mark.parametrize(("data", "pixels"), [case for case in LIKEWISE if not str(case.id).startswith(SCALED)])
def test_an_image_without_its_file_has_the_same_pixels(data: bytes, pixels: Array) -> None:
    image = opened(data)
    image.load()  # whereupon Pillow lets go of the file
    for each in (image, image.copy()):
        assert (seen(file_bytes(each, "image")) == pixels).all()


def test_a_jpeg_does_not_grow_when_it_is_sent_as_an_image(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    Image.fromarray(noise_picture(600, 600)).save(path, quality=90)
    for use in (lambda image: None, lambda image: image.load(), lambda image: image.getpixel((0, 0))):
        with Image.open(path) as image:
            use(image)
            assert file_bytes(image, "image") == path.read_bytes()


def drawn(image: Image.Image) -> None:
    ImageDraw.Draw(image).rectangle((0, 0, 5, 5), fill="red")


CHANGES: dict[str, Callable[[Image.Image], Any]] = {
    "a pixel": lambda image: image.putpixel((3, 3), (1, 2, 3)),
    "a drawing": drawn,
    "another picture on it": lambda image: image.paste((9, 9, 9), (2, 2, 4, 4)),
    "alpha": lambda image: image.putalpha(9),
    "less of it": lambda image: image.thumbnail((8, 8)),
    "a part of its size": lambda image: image.draft("RGB", (2, 2)),
    "no profile any more": lambda image: image.info.pop("icc_profile"),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_an_image_that_was_changed_in_place_is_sent_as_it_is(tmp_path: Path, kind: str, change: str) -> None:
    path = tmp_path / "picture"
    Image.fromarray(noise_picture(64, 64)).save(path, kind, icc_profile=ADOBE_RGB)
    if (kind, change) == ("PNG", "a part of its size"):
        return  # which Pillow has of JPEGs alone
    with Image.open(path) as image:
        CHANGES[change](image)
        sent = file_bytes(image, "image")
        assert sent != path.read_bytes()
        plain = np.asarray(image.convert("RGBA"))
    if change == "no profile any more":
        assert (seen(sent) == plain[..., :3]).all()
    else:
        colours = in_srgb(Image.fromarray(plain[..., :3]), ADOBE_RGB)
        assert (seen(sent) == on_white(np.dstack([colours, plain[..., 3]]))).all()


def test_a_file_that_is_another_one_by_now_is_not_sent(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(NOISE).save(path)
    image = Image.open(path)
    image.load()
    Image.new("RGB", (20, 24)).save(path)
    assert (seen(file_bytes(image, "image")) == NOISE).all()


def test_an_image_is_not_changed_by_being_sent() -> None:
    data = png_of(turned(NOISE, 6), RGB, 8, iccp(ADOBE_RGB), chunk(b"eXIf", exif(6)))
    image = opened(data)
    file_bytes(image, "image")
    copy = image.copy()
    file_bytes(copy, "image")
    for each in (image, copy):
        assert (np.asarray(each) == turned(NOISE, 6)).all()
        assert each.info["icc_profile"] == ADOBE_RGB


def test_an_image_that_was_set_upright_before_is_not_turned_again() -> None:
    jpeg = saved(turned(NOISE, 6), "JPEG", exif=b"Exif\0\0" + exif(6))
    upright = ImageOps.exif_transpose(opened(jpeg))
    assert upright is not None
    assert (seen(file_bytes(upright, "image")) == np.asarray(upright)).all()
    assert np.asarray(upright).shape == NOISE.shape


def test_frames_and_formats_that_gateways_do_not_read_are_sent_as_they_are_shown() -> None:
    frames = [Image.fromarray(noise_picture(8, 8, seed=seed)) for seed in (1, 2)]
    for kind, options in (("WEBP", {"lossless": True}), ("PNG", {}), ("TIFF", {})):
        film = opened(saved(frames[0], kind, save_all=True, append_images=frames[1:], **options))
        film.seek(1)
        assert (seen(file_bytes(film, "image")) == np.asarray(frames[1])).all()
    camera = opened(saved(frames[0], "MPO", save_all=True, append_images=frames[1:]))
    camera.seek(1)
    assert (seen(file_bytes(camera, "image")) == np.asarray(camera)).all()


def test_an_image_whose_png_would_be_too_large_becomes_a_webp(monkeypatch: pytest.MonkeyPatch) -> None:
    smooth = np.add.outer(np.arange(300), np.arange(300)).astype(np.uint8)
    image = Image.fromarray(np.dstack([smooth, smooth, smooth]))
    assert encoded(image, "image").startswith(b"\x89PNG")
    monkeypatch.setattr("unclip.client.pictures.MAX_BYTES", 100)
    assert encoded(image, "image")[8:12] == b"WEBP"


def test_inks_are_sent_with_a_profile_and_refused_without() -> None:
    inks = Image.fromarray(NOISE).convert("CMYK")
    with pytest.raises(InvalidRequest, match="image: must be grey or RGB, or CMYK with an ICC profile"):
        file_bytes(inks, "image")
    expected = in_srgb(inks, PRESS)
    inks.info["icc_profile"] = PRESS
    assert (seen(file_bytes(inks, "image")) == expected).all()


DEEP = png_of(np.arange(480).reshape(24, 20) * 100, GREY, 16, chunk(b"eXIf", exif(3)))


def test_canvases_and_sheets_show_what_gateways_see() -> None:
    for data in (DEEP, png_of(turned(NOISE, 8), RGB, 8, iccp(ADOBE_RGB), chunk(b"eXIf", exif(8)))):
        expected = seen(data)
        canvas = np.asarray(pad(opened(data), 1, 2, 3, 4))
        assert (canvas[2:-4, 1:-3, :3] == expected).all()
        assert (canvas[2:-4, 1:-3, 3] == 255).all()
        assert (np.asarray(on_paper(opened(data))) == expected).all()
        sheet = np.asarray(contact_sheet([opened(data)], [""]))
        assert (sheet[12 + 3 : 12 + 24 * 7 : 7, 12 + 3 : 12 + 20 * 7 : 7] == expected).all()


def test_a_file_is_opened_as_gateways_see_it(tmp_path: Path) -> None:
    path = tmp_path / "picture"
    for _, data, _ in LEGAL[::5]:
        path.write_bytes(data)
        assert (array_of(open_picture(path, "image")) == seen(data)).all()
    for kind in ("BMP", "TIFF", "GIF"):
        path.write_bytes(saved(NOISE, kind))
        assert (np.asarray(open_picture(path, "image")) == np.asarray(opened(saved(NOISE, kind)).convert("RGB"))).all()
    for data in (b"nothing", saved(NOISE, "JPEG")[:500], saved(NOISE, "BMP")[:500]):
        path.write_bytes(data)
        with pytest.raises(InvalidRequest):
            open_picture(path, "image")


def test_what_is_seen_of_an_image_is_what_a_gateway_opens() -> None:
    for name, data, _ in LEGAL[::3]:
        if can_be_opened(data) and not name.startswith(SCALED):
            theirs = open_image(image_pb2.Image(data=data), "image")
            ours = as_seen(opened(data))
            # Pillow makes a transparent colour of a tRNS that is too long, which no pixel has.
            assert ours.convert("RGBA").tobytes() == theirs.convert("RGBA").tobytes(), name


def test_the_limit_of_bytes_holds_for_images_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unclip.client.pictures.MAX_BYTES", 500)
    with pytest.raises(InvalidRequest, match=r"at most 500 bytes; got \d{4}"):
        file_bytes(Image.fromarray(NOISE), "image")
