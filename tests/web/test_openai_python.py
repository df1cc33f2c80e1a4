"""OpenAI's own Python SDK, as it is, against the web process before the stubs."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from PIL import Image

from tests.web.stacks import KEY, WebStack, openai_mask, opened, picture
from unclip.client.recipes import read_recipe


@pytest.fixture
def client(stack: WebStack) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=stack.base_url, api_key=KEY, max_retries=0) as made:
        yield made


def fetched(url: str | None, **headers: str) -> Image.Image:
    assert url is not None
    answer = httpx.get(url, headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    return opened(answer.content)


def decoded(data: str | None) -> Image.Image:
    assert data is not None
    return opened(base64.b64decode(data))


def test_a_picture_is_answered_by_an_address_that_anybody_may_fetch(client: openai.OpenAI, stack: WebStack) -> None:
    answer = client.images.generate(model="dall-e-2", prompt="a white siamese cat", n=2, size="1024x1024")
    assert answer.data is not None
    assert [fetched(each.url).size for each in answer.data] == [(1024, 1024)] * 2
    url = answer.data[0].url
    assert url is not None
    assert url.endswith(".png")
    assert fetched(url, authorization="Bearer other").size == (1024, 1024)
    assert answer.size == "1024x1024"
    assert (answer.model_extra or {})["native_size"] == f"{stack.native}x{stack.native}"


def test_base64_has_the_picture_with_its_recipe(client: openai.OpenAI, stack: WebStack) -> None:
    answer = client.images.generate(prompt="a cat", response_format="b64_json", extra_body={"seed": 7, "steps": 3})
    assert answer.data is not None
    assert answer.data[0].b64_json is not None
    recipe = read_recipe(base64.b64decode(answer.data[0].b64_json)).request
    assert (recipe.seed, recipe.decoder.steps) == (7, 3)
    assert decoded(answer.data[0].b64_json).size == (stack.native, stack.native)
    assert answer.data[0].url is None


def test_gpt_image_models_answer_base64_in_the_format_asked_for(client: openai.OpenAI) -> None:
    answer = client.images.generate(
        model="gpt-image-1", prompt="a cat", output_format="webp", quality="high", background="auto", size="auto"
    )
    assert answer.data is not None
    assert decoded(answer.data[0].b64_json).format == "WEBP"
    assert answer.output_format == "webp"


def test_extra_parameters_reach_the_gateway(client: openai.OpenAI) -> None:
    more = {"seed": 3, "steps": 4, "guidance": 2.5, "eta": 0.0, "negative_prompt": "a dog", "candidates": 3}
    answer = client.images.generate(prompt="a cat", response_format="b64_json", extra_body=more)
    assert answer.data is not None
    recipe: Any = read_recipe(base64.b64decode(answer.data[0].b64_json or "")).request
    assert (recipe.decoder.steps, recipe.decoder.guidance_scale, recipe.negative_caption) == (4, 2.5, "a dog")


def test_an_edit_repaints_what_is_transparent_in_the_mask_and_nothing_else(
    client: openai.OpenAI, stack: WebStack
) -> None:
    side = stack.native
    source = picture(side)
    answer = client.images.edit(
        model="dall-e-2",
        image=source,  # sent as "upload", application/octet-stream
        mask=openai_mask(side),
        prompt="a sunlit lounge",
        n=1,
        extra_body={"steps": 8},
        response_format="b64_json",
    )
    assert answer.data is not None
    made, before = np.asarray(decoded(answer.data[0].b64_json)), np.asarray(opened(source))
    assert (made[:, : side // 2] == before[:, : side // 2]).all()
    assert (made[:, side // 2 :] != before[:, side // 2 :]).any()


def test_an_edit_without_a_mask_repaints_what_is_transparent_in_the_picture(
    client: openai.OpenAI, stack: WebStack
) -> None:
    pixels = np.asarray(opened(picture(stack.native)).convert("RGBA")).copy()
    pixels[:100, :, 3] = 0
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    answer = client.images.edit(image=("a.png", file.getvalue()), prompt="x", response_format="b64_json")
    assert answer.data is not None
    made = np.asarray(decoded(answer.data[0].b64_json))
    assert (made[100:] == pixels[100:, :, :3]).all()


def test_an_edit_of_an_opaque_picture_moves_all_of_it_towards_the_prompt(client: openai.OpenAI) -> None:
    answer = client.images.edit(model="gpt-image-1", image=[("a.png", picture(), "image/png")], prompt="x", n=2)
    assert answer.data is not None
    recipes = [read_recipe(base64.b64decode(each.b64_json or "")).request for each in answer.data]
    assert [getattr(recipe, "thetas", None) for recipe in recipes] == [(0.25,), (0.5,)]


def test_variations_are_made(client: openai.OpenAI) -> None:
    answer = client.images.create_variation(image=picture(), n=2, size="512x512", model="dall-e-2")
    assert answer.data is not None
    assert [fetched(each.url).size for each in answer.data] == [(512, 512)] * 2


@pytest.mark.parametrize("partial", [0, 1, 3])
def test_a_stream_has_as_many_previews_as_are_asked_for_and_then_the_picture(
    client: openai.OpenAI, stack: WebStack, partial: int
) -> None:
    stream = client.images.generate(
        model="gpt-image-1", prompt="a cat", stream=True, partial_images=partial, extra_body={"steps": 12, "seed": 1}
    )
    events = list(stream)
    assert [event.type for event in events] == [
        *["image_generation.partial_image"] * partial,
        "image_generation.completed",
    ]
    assert [event.partial_image_index for event in events[:-1]] == list(range(partial))  # type: ignore[union-attr]
    assert decoded(events[-1].b64_json).size == (stack.native, stack.native)
    assert all(decoded(event.b64_json).size == (stack.base, stack.base) for event in events[:-1])
    assert events[-1].usage.total_tokens == 0  # type: ignore[union-attr]


def test_an_edit_is_streamed_too(client: openai.OpenAI) -> None:
    events = list(
        client.images.edit(
            image=picture(), mask=openai_mask(), prompt="x", n=2, stream=True, partial_images=2, extra_body={"steps": 9}
        )
    )
    for index in range(2):
        found = [event.type for event in events if (event.model_extra or {})["image_index"] == index]
        assert found == [*["image_edit.partial_image"] * 2, "image_edit.completed"]


async def test_the_asyncio_client_does_all_of_it(stack: WebStack) -> None:
    async with openai.AsyncOpenAI(base_url=stack.base_url, api_key=KEY, max_retries=0) as client:
        answer = await client.images.generate(prompt="a cat", response_format="b64_json")
        edited = await client.images.edit(image=picture(), mask=openai_mask(), prompt="x", response_format="b64_json")
        varied = await client.images.create_variation(image=picture(), response_format="b64_json")
        for each in (answer, edited, varied):
            assert each.data is not None
            assert decoded(each.data[0].b64_json).size == (stack.native, stack.native)
        stream = await client.images.generate(prompt="a cat", stream=True, partial_images=1)
        assert [event.type async for event in stream][-1] == "image_generation.completed"


def test_models_are_listed_and_found_by_name(client: openai.OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert {"dall-e-2", "dall-e-3", "gpt-image-1"} <= set(names)
    assert client.models.retrieve("dall-e-2").id == "dall-e-2"
    with pytest.raises(openai.NotFoundError) as refused:
        client.models.retrieve("gpt-4")
    assert refused.value.code == "model_not_found"


def test_an_unknown_model_is_404_with_the_code_that_sdks_know(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        client.images.generate(model="dall-e-9", prompt="x")
    assert (refused.value.code, refused.value.param) == ("model_not_found", "model")
    assert refused.value.request_id


BAD: list[tuple[dict[str, Any], str]] = [
    ({"size": "1792x1024"}, "size"),
    ({"size": "8x8"}, "size"),
    ({"n": 11}, "n"),
    ({"n": 0}, "n"),
    ({"background": "transparent"}, "background"),
    ({"output_compression": 50}, "output_compression"),
    ({"response_format": "raw"}, "response_format"),
    ({"style": "grim"}, "style"),
    ({"partial_images": 4}, "partial_images"),
    ({"prompt": "x" * 5000}, "prompt"),
    ({"prompt": ""}, "prompt"),
    ({"extra_body": {"steps": 0}}, "steps"),
    ({"extra_body": {"guidance": 99}}, "guidance"),
    ({"extra_body": {"candidates": 1}, "n": 2}, "candidates"),
    ({"extra_body": {"loras": ["x"]}}, "loras"),
]


@pytest.mark.parametrize(("asked", "param"), BAD, ids=str)
def test_what_cannot_be_honoured_is_refused_by_name(client: openai.OpenAI, asked: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.images.generate(**{"prompt": "a cat", **asked})
    assert (refused.value.param, refused.value.type) == (param, "invalid_request_error")


@pytest.mark.parametrize(
    ("mask", "told"),
    [
        (openai_mask(128), "as large as the image"),
        (picture(), "alpha channel"),
        (picture(colour=(0, 0, 0, 1)), "fully transparent"),
    ],
    ids=["small", "RGB", "opaque"],
)
def test_a_mask_that_does_not_say_where_to_edit_is_refused(client: openai.OpenAI, mask: bytes, told: str) -> None:
    with pytest.raises(openai.BadRequestError, match=told) as refused:
        client.images.edit(image=picture(), mask=mask, prompt="x")
    assert refused.value.param == "mask"


def test_what_is_no_picture_is_refused_and_no_address_is_followed(client: openai.OpenAI) -> None:
    for bad in (b"http://127.0.0.1:1/", b"GIF89a", b""):
        with pytest.raises(openai.BadRequestError) as refused:
            client.images.create_variation(image=bad)
        assert refused.value.param == "image"


def test_several_pictures_are_not_silently_one(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.images.edit(image=[picture(), picture()], prompt="x")
    assert refused.value.param == "image"
