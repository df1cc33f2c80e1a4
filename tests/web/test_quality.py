"""OpenAI's ``quality``: low is fast where the stack has a fast way; without one all of them are standard."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.processes import Process, free_port
from tests.waiting import until
from tests.web.stacks import PATIENCE_S, WebStack, stubbed, web_before
from unclip.client import Generate, ModelInfo, Quality, Sampling, StageInfo, read_recipe
from unclip.web.bodies import Form
from unclip.web.requests import generation, variation

FAST = Sampling("ddim", 2, 3.0)


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebStack]:
    with stubbed(tmp_path_factory.mktemp("taught"), stubs=("--fast", "default")) as running:
        yield running


def told(quality: Quality | None) -> ModelInfo:
    """What a stack says whose pictures are of that quality by default; None has no choice."""
    fast = FAST if quality else None
    stages = (StageInfo("decoder", Sampling(steps=8), 64, 1, fast=fast), StageInfo("upsampler", Sampling(), 256, 1))
    return ModelInfo("taught", "v1", "", "", "cpu", (), stages, "{}", quality=quality)


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ("low", "fast"),
        ("medium", "standard"),
        ("high", "standard"),
        ("standard", "standard"),
        ("hd", "standard"),
        ("auto", None),
        (None, None),
    ],
)
def test_each_quality_is_one_of_the_gateways_and_fast_where_the_stack_has_a_choice(
    said: str | None, asked: Quality | None
) -> None:
    found = generation({"prompt": "x", "quality": said})
    assert found.in_quality(told("standard")).request == Generate("x", image_count=1, quality=asked)
    slow = None if asked == "fast" else asked
    assert found.in_quality(told(None)).request == Generate("x", image_count=1, quality=slow)


def test_what_does_not_begin_with_a_caption_alone_has_no_quality(picture_form: Form) -> None:
    asked = variation(picture_form)
    assert asked.in_quality(told("fast")).request == asked.request


@pytest.fixture
def picture_form() -> Form:
    form = Form()
    form.texts["quality"] = "low"
    form.pictures["image"].append(b"file")
    return form


@pytest.mark.parametrize(
    ("quality", "usual", "interval"),
    [("low", "standard", 1), ("high", "fast", 4), ("auto", "fast", 1), ("low", None, 4)],
)
def test_previews_are_spread_over_the_steps_of_the_quality(quality: str, usual: Quality | None, interval: int) -> None:
    body = {"prompt": "x", "quality": quality, "stream": True, "partial_images": 1}
    assert generation(body).in_quality(told(usual)).preview_interval(told(usual)) == interval


@pytest.mark.parametrize(
    "more", [{"negative_prompt": "a dog"}, {"guidance": 9}, {"guidance": 0.5}, {"eta": 0.5}], ids=str
)
def test_previews_are_spread_over_the_decoders_own_steps_where_a_student_cannot_do_what_is_asked(
    more: dict[str, Any],
) -> None:
    body = {"prompt": "x", "stream": True, "partial_images": 1, **more}
    assert generation(body).in_quality(told("fast")).preview_interval(told("fast")) == 4


def made(stack: WebStack, **more: Any) -> Any:
    body = {"prompt": "a cat", "response_format": "b64_json", "seed": 1, **more}
    return httpx.post(f"{stack.base_url}/images/generations", json=body, timeout=60)


def recipe_of(answer: httpx.Response) -> Generate:
    """What made the only picture of an answer."""
    found = read_recipe(base64.b64decode(answer.json()["data"][0]["b64_json"])).request
    assert isinstance(found, Generate)
    return found


def test_a_picture_of_low_quality_is_painted_fast_and_a_better_one_is_not(taught: WebStack) -> None:
    for said, quality, steps in (("low", "fast", 2), ("high", "standard", 8), ("auto", "fast", 2)):
        answer = made(taught, quality=said)
        assert answer.json()["quality"] == said
        recipe = recipe_of(answer)
        assert (recipe.quality, recipe.decoder.steps) == (quality, steps)


def test_without_a_fast_way_low_quality_is_what_it_was(stack: WebStack) -> None:
    recipe = recipe_of(made(stack, quality="low"))
    assert (recipe.quality, recipe.decoder.steps) == (None, 8)


async def test_another_stack_paints_the_quality_that_is_asked_for_from_its_first_picture(tmp_path: Path) -> None:
    """The front door remembers what a stack has for a while."""
    port = free_port()

    def stubs(name: str, *options: str) -> Process:
        words = ["--port", str(port), "--step-seconds", "0.002", "--model-version", name, *options]
        return Process("unclip.testing", words, tmp_path, name)

    with web_before(f"127.0.0.1:{port}", tmp_path) as web:
        for name, options, expected in (
            ("plain", (), [None, "standard"]),
            ("taught", ("--fast", "default"), ["fast", "standard"]),
            ("again", (), [None, "standard"]),
        ):
            with stubs(name, *options) as running:
                running.address(PATIENCE_S)
                await until(lambda: httpx.get(f"{web.root}/readyz").status_code == 200)
                assert [recipe_of(made(web, quality=said)).quality for said in ("low", "high")] == expected


def test_what_the_fast_way_has_not_is_refused_by_the_names_of_the_parameters(taught: WebStack) -> None:
    answer = made(taught, quality="low", steps=9, negative_prompt="a dog")
    assert answer.status_code == 400
    message = answer.json()["error"]["message"]
    assert "steps: must be unset or 2 with quality low; got 9" in message
    assert "negative_prompt: must be empty with quality low; got 'a dog'" in message
    assert recipe_of(made(taught, quality="auto", steps=9)).quality == "standard"
