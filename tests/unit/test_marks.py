"""Every picture file says what it is, for programs to read, and nothing else about it changes."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from gateway.requests.pictures import picture_file
from unclip.client import ImageFile
from unclip.enum_names import FileFormat
from unclip.wire.images import encode_image, to_pixels
from unclip.wire.marks import COMPOSITE, TRAINED, BrokenXmp, Marks, marks_in, source_type_in, xmp
from unclip.wire.recipe_text import find_text

DICE = np.random.default_rng(0)
PIXELS = to_pixels(Image.fromarray(DICE.integers(0, 256, (24, 32, 3), dtype=np.uint8)))
RECIPE = '{"unclip_recipe":1}'
FORMATS: tuple[FileFormat, ...] = ("png", "jpeg", "webp")
DESCRIPTION = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:e="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"%s</rdf:RDF></x:xmpmeta>'
)


def read_elsewhere(file: bytes) -> str:
    """What Pillow and Python's XML find: the text of the one DigitalSourceType."""
    with Image.open(io.BytesIO(file)) as opened:
        packet = opened.info.get("xmp") or opened.info["XML:com.adobe.xmp"]
    [found] = ElementTree.fromstring(packet).iter("{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType")
    return found.text or ""


def pixels_of(file: bytes) -> bytes:
    with Image.open(io.BytesIO(file)) as opened:
        return opened.convert("RGB").tobytes()


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("source_type", [TRAINED, COMPOSITE])
def test_other_readers_find_the_mark(file_format: FileFormat, source_type: str) -> None:
    file = picture_file(PIXELS, file_format, RECIPE, source_type=source_type).data
    assert read_elsewhere(file) == source_type
    assert marks_in(file) == Marks(xmp(source_type).encode(), 0)
    assert marks_in(file).source_type == source_type


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("recipe", [RECIPE, ""])
def test_marking_changes_no_pixel_and_no_recipe_and_is_the_same_each_time(file_format: FileFormat, recipe: str) -> None:
    bare = picture_file(PIXELS, file_format, recipe).data
    marked = picture_file(PIXELS, file_format, recipe, source_type=TRAINED).data
    assert pixels_of(marked) == pixels_of(bare)
    if recipe:
        assert find_text(marked, "picture") == recipe
    assert marks_in(bare) == Marks(b"", 0)
    assert marked == picture_file(PIXELS, file_format, recipe, source_type=TRAINED).data
    assert len(bare) < len(marked) < len(bare) + 1024


@pytest.mark.parametrize(
    "description",
    [
        f' e:DigitalSourceType="{TRAINED}"/>',
        f"><e:DigitalSourceType> {TRAINED}\n</e:DigitalSourceType></rdf:Description>",
        f'><e:DigitalSourceType rdf:resource="{TRAINED}"/></rdf:Description>',
        f'/><rdf:Description e:DigitalSourceType="{TRAINED}" xmlns:e="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"/>'
        '<rdf:Description e:DigitalSourceType="of another" xmlns:e="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"/>',
    ],
)
def test_the_mark_is_read_however_xmp_writes_it(description: str) -> None:
    assert source_type_in((DESCRIPTION % description).encode()) == TRAINED


def test_a_compressed_mark_is_read() -> None:
    body = b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp(TRAINED).encode())
    chunk = len(body).to_bytes(4, "big") + b"iTXt" + body + zlib.crc32(b"iTXt" + body).to_bytes(4, "big")
    bare = encode_image(Image.new("RGB", (4, 4))).data
    assert marks_in(bare[:33] + chunk + bare[33:]).source_type == TRAINED


@pytest.mark.parametrize(("ending", "before"), [("jpg", "png"), ("webp", "jpeg"), ("png", "webp")])
def test_a_file_that_is_converted_still_says_it(ending: str, before: FileFormat, tmp_path: Path) -> None:
    made = picture_file(PIXELS, before, RECIPE, source_type=COMPOSITE)
    path = ImageFile(made.data, made.media_type, 32, 24).save(tmp_path / f"picture.{ending}")
    assert read_elsewhere(path.read_bytes()) == COMPOSITE
    bare = picture_file(PIXELS, before, RECIPE)
    path = ImageFile(bare.data, bare.media_type, 32, 24).save(tmp_path / f"picture.{ending}")
    assert marks_in(path.read_bytes()) == Marks(b"", 0)


def test_xmp_that_says_nothing_of_it_says_nothing() -> None:
    assert source_type_in((DESCRIPTION % ' e:Event="a fair"/>').encode()) == ""


@pytest.mark.parametrize(
    "packet",
    [b"<x:xmpmeta", b"garbage", b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>', b"\xff\xfe\0"],
)
def test_what_is_no_xmp_is_said_to_be_broken(packet: bytes) -> None:
    with pytest.raises(BrokenXmp):
        source_type_in(packet)
