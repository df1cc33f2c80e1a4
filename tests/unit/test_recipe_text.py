"""The text of a recipe is the same for equal recipes, survives its file, and says what is wrong when it does not."""

from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gateway.requests.pictures import picture_file
from unclip import read_recipe
from unclip.api.gateway.v1 import gateway_pb2
from unclip.enum_names import FileFormat
from unclip.errors import InvalidRequest
from unclip.wire.images import to_pixels
from unclip.wire.recipe_text import MAX_BYTES, RecipeText, exif, find_text, png_info, read_text, write_text

PICTURE = Image.linear_gradient("L").resize((16, 16)).convert("RGB")


def recipe(caption: str = "a cat", seed: int = 1, scale: float = 0.1) -> RecipeText:
    request = gateway_pb2.GenerateRequest(caption=caption, seed=seed)
    request.decoder.guidance_scale = scale
    return RecipeText(gateway_pb2.StreamRequest(generate=request), "v1", ("ab", "cd"))


def picture_with(text: str) -> bytes:
    file = io.BytesIO()
    PICTURE.save(file, "PNG", pnginfo=png_info(text))
    return file.getvalue()


@given(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(0, 30, width=32),
)
def test_every_recipe_comes_back_from_its_text(caption: str, seed: int, scale: float) -> None:
    written = recipe(caption, seed, scale)
    text = write_text(written)
    assert text.isascii()
    assert read_text(text, "picture") == written
    assert write_text(read_text(text, "picture")) == text


def test_keys_are_sorted_at_every_depth() -> None:
    def check(value: object) -> None:
        if isinstance(value, dict):
            assert list(value) == sorted(value)
            for item in value.values():
                check(item)

    check(json.loads(write_text(recipe())))


@pytest.mark.parametrize("file_format", ["png", "jpeg", "webp"])
def test_a_file_of_each_format_holds_its_text_up_to_the_limit(file_format: FileFormat) -> None:
    text = write_text(recipe("x" * (MAX_BYTES - 300)))
    file = picture_file(to_pixels(PICTURE), file_format, text)
    assert find_text(file.data, "picture") == text
    assert file.data == picture_file(to_pixels(PICTURE), file_format, text).data


def test_a_recipe_is_found_beside_texts_that_pillow_does_not_read() -> None:
    text = write_text(recipe())
    data = picture_file(to_pixels(PICTURE), "png", text).data
    for name, body in ((b"zTXt", b"k\0\0" + zlib.compress(b"a" * 2_000_000)), (b"tEXt", b"k\0v")):
        beside = struct.pack(">I", len(body)) + name + body + b"\1\2\3\4"  # no CRC of it
        assert find_text(data[:33] + beside + data[33:], "picture") == text


def test_a_recipe_beyond_the_limit_is_left_out() -> None:
    file = picture_file(to_pixels(PICTURE), "jpeg", "x" * (MAX_BYTES + 1))
    with pytest.raises(InvalidRequest, match="holds no recipe"):
        find_text(file.data, "picture")


@pytest.mark.parametrize("file_format", ["png", "webp"])
def test_pixels_of_lossless_files_are_untouched_by_the_recipe(file_format: FileFormat) -> None:
    file = picture_file(to_pixels(PICTURE), file_format, write_text(recipe()))
    assert Image.open(io.BytesIO(file.data)).convert("RGB").tobytes() == PICTURE.tobytes()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "damaged"),
        ("[]", "damaged"),
        ('"unclip_recipe"' + "[" * 50_000, "damaged"),
        ('{"unclip_recipe":' + "[" * 50_000, "damaged"),
        ('{"unclip_recipe":2}', "version 2; this client reads version 1"),
        ('{"unclip_recipe":1}', "damaged"),
        ('{"unclip_recipe":1,"recipe":{},"model_version":"v","source_digests":[]}', "missing"),
        ('{"unclip_recipe":1,"recipe":{"generate":{"hue":1}},"model_version":"v","source_digests":[]}', "hue"),
        ('{"unclip_recipe":1,"recipe":{"generate":{}},"model_version":7,"source_digests":[]}', "missing"),
        ('{"unclip_recipe":1,"recipe":{"generate":{}},"model_version":"v","source_digests":"ab"}', "missing"),
    ],
)
def test_what_is_wrong_with_a_recipe_is_told(text: str, why: str) -> None:
    with pytest.raises(InvalidRequest, match=why):
        read_recipe(picture_with(text))


def test_other_pictures_have_no_recipe(tmp_path: Path) -> None:
    commented = io.BytesIO()
    PICTURE.save(commented, "JPEG", exif=exif("taken on a sunny day"))
    for data in (picture_with(""), commented.getvalue()):
        with pytest.raises(InvalidRequest, match="holds no recipe"):
            read_recipe(data)
    (tmp_path / "notes.png").write_text("not a picture")
    with pytest.raises(InvalidRequest, match="whole PNG, JPEG or WebP"):
        read_recipe(tmp_path / "notes.png")
    with pytest.raises(InvalidRequest, match="cannot read"):
        read_recipe(tmp_path / "nowhere.png")


def test_a_cut_file_is_no_picture() -> None:
    with pytest.raises(InvalidRequest, match="whole"):
        read_recipe(picture_with(write_text(recipe()))[:-40])
