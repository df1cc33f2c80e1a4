"""OpenAI's ``size`` where the stack paints more than squares: painted if it can be, resized if it is square."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.web.stacks import WebStack, opened, picture, stubbed
from unclip.client import ModelInfo, Sampling, Sizes, StageInfo, read_recipe
from unclip.errors import InvalidRequest
from unclip.web.requests import generation

STUBS = ("--base-size", "64", "--final-size", "64", "--sizes", "32:64:512:131072")


@pytest.fixture(scope="module")
def painter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebStack]:
    with stubbed(tmp_path_factory.mktemp("painter"), stubs=STUBS) as running:
        yield running


def asked(painter: WebStack, size: str) -> Any:
    body = {"prompt": "a cat", "size": size, "response_format": "b64_json", "seed": 1}
    return httpx.post(f"{painter.base_url}/images/generations", json=body, timeout=60)


def test_what_the_stack_can_paint_is_painted_and_told(painter: WebStack) -> None:
    for size, native in (("128x192", True), ("256x256", True), ("600x600", False)):
        told = asked(painter, size).json()
        assert (told["size"], told["native_size"]) == (size, "64x64")
        file = base64.b64decode(told["data"][0]["b64_json"])
        assert "{}x{}".format(*opened(file).size) == size
        assert (read_recipe(file).request.width is not None) == native


def test_edits_and_variations_are_painted_at_a_size_too(painter: WebStack) -> None:
    form = {"size": "192x64", "response_format": "b64_json", "prompt": "a cat"}
    for path in ("edits", "variations"):
        told = httpx.post(
            f"{painter.base_url}/images/{path}",
            data={name: value for name, value in form.items() if path == "edits" or name != "prompt"},
            files={"image": ("image.png", picture(100), "image/png")},
            timeout=60,
        ).json()
        assert opened(base64.b64decode(told["data"][0]["b64_json"])).size == (192, 64)


def test_events_of_a_stream_tell_the_size(painter: WebStack) -> None:
    body = {"prompt": "a cat", "size": "128x64", "stream": True, "partial_images": 1, "response_format": "b64_json"}
    events = httpx.post(f"{painter.base_url}/images/generations", json=body, timeout=60).text
    assert [events.count(f'"size": "{size}"') for size in ("16x8", "128x64")] == [1, 1]  # a preview has fewer pixels


def test_what_it_cannot_paint_nor_resize_is_a_bad_request_that_says_what_it_can(painter: WebStack) -> None:
    answer = asked(painter, "100x150")
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["param"] == "size"
    assert "multiples of 32 from 64 to 512 px" in error["message"]


def told(sizes: Sizes | None, side: int = 512) -> ModelInfo:
    """What a stack says that makes squares of ``side``, and paints ``sizes``."""
    stages = [StageInfo("decoder", Sampling(), side, 1, sizes=sizes), StageInfo("upsampler", Sampling(), side, 1)]
    return ModelInfo("painter", "v1", "", "", "cpu", (), tuple(stages), "{}")


SIZES = Sizes(64, 256, 1536, 1024 * 1536)


@pytest.mark.parametrize(
    ("size", "sizes", "asked", "answered"),
    [
        ("1024x1536", SIZES, (None, 1024, 1536), (1024, 1536)),
        ("1536x1024", SIZES, (None, 1536, 1024), (1536, 1024)),
        ("1024x1024", SIZES, (None, 1024, 1024), (1024, 1024)),
        ("100x100", SIZES, (100, None, None), (100, 100)),
        ("1024x1024", None, (1024, None, None), (1024, 1024)),
        ("auto", SIZES, (None, None, None), (512, 512)),
        (None, None, (None, None, None), (512, 512)),
    ],
)
def test_a_size_is_painted_where_the_stack_can_and_else_a_square_that_is_resized(
    size: str | None, sizes: Sizes | None, asked: tuple[int | None, ...], answered: tuple[int, int]
) -> None:
    info = told(sizes)
    found = generation({"prompt": "x", "size": size}).sized(info)
    assert (found.request.size, found.request.width, found.request.height) == asked
    assert found.answered(info) == answered


@pytest.mark.parametrize(
    ("size", "sizes", "said"),
    [
        ("1024x1536", None, "must be auto or square, 16x16 to 2048x2048; got '1024x1536'"),
        ("1000x1536", SIZES, f"must be auto or square, 16x16 to 2048x2048, or painted: {SIZES}; got '1000x1536'"),
        ("4096x4096", SIZES, "got '4096x4096'"),
    ],
)
def test_a_size_that_can_neither_be_painted_nor_resized_is_refused(size: str, sizes: Sizes | None, said: str) -> None:
    asked = generation({"prompt": "x", "size": size})
    with pytest.raises(InvalidRequest) as refused:
        asked.sized(told(sizes))
    [found] = refused.value.violations
    assert found.field == "size"
    assert said in found.description


@pytest.mark.parametrize("size", ["1024", "x", "0x0", "15x64", "4097x64", "-1x-1", "1e3x1e3", "99999x99999", "64×64"])
def test_what_is_no_size_is_refused_before_the_model_is_known(size: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        generation({"prompt": "x", "size": size, "n": 0})
    assert [each.field for each in refused.value.violations] == ["n", "size"]
