"""What applications send, written after their public sources: LangChain, Open WebUI, LibreChat, OpenAI's own README."""

from __future__ import annotations

import base64
import re
import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI
from pydantic import SecretStr

from tests.web.stacks import KEY, WebStack, openai_mask, opened, picture

HEADERS = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
LIBRECHAT_NAME = re.compile(r"[\w\d]+\.png", re.ASCII)  # by which it finds a file's name in an address


def test_langchains_wrapper_makes_pictures(stack: WebStack) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the package's end of life
        from langchain_community.utilities.dalle_image_generator import DallEAPIWrapper

        tool = DallEAPIWrapper(
            model="dall-e-3", api_key=SecretStr(KEY), base_url=stack.base_url, quality="standard", n=2, max_retries=0
        )
        urls = tool.run("a halloween night at a haunted museum").split("\n")
    assert [opened(httpx.get(url).content).size for url in urls] == [(1024, 1024)] * 2


@pytest.mark.parametrize(
    ("model", "more"),
    [
        ("dall-e-2", {"response_format": "b64_json", "size": "512x512"}),
        ("gpt-image-1", {"size": "auto"}),
        ("unclip", {}),
    ],
)
def test_open_webui_gets_pictures(stack: WebStack, model: str, more: dict[str, Any]) -> None:
    """Its query has an API version where one is set; addresses it fetches with the headers of the request."""
    data = {"model": model, "prompt": "a cat", "n": 1, **more}
    answer = httpx.post(f"{stack.base_url}/images/generations?api-version=2024-02-01", json=data, headers=HEADERS)
    assert answer.status_code == 200
    for image in answer.json()["data"]:
        if url := image.get("url"):
            found = httpx.get(url, headers={"Authorization": HEADERS["Authorization"]})
            assert found.headers["content-type"].split("/")[0] == "image"
            opened(found.content)
        else:
            opened(base64.b64decode(image["b64_json"]))


def test_open_webui_edits_a_picture(stack: WebStack) -> None:
    files = [("image", ("image.png", picture(), "image/png"))]
    form = {"model": "dall-e-2", "prompt": "a dog", "n": "1", "size": "512x512", "response_format": "b64_json"}
    answer = httpx.post(
        f"{stack.base_url}/images/edits", data=form, files=files, headers={"Authorization": HEADERS["Authorization"]}
    )
    assert opened(base64.b64decode(answer.json()["data"][0]["b64_json"])).size == (512, 512)


def test_librechats_dalle_tool_finds_the_name_in_the_address(stack: WebStack) -> None:
    data = {
        "model": "dall-e-3",
        "quality": "hd",
        "style": "natural",
        "size": "1024x1024",
        "prompt": "a cat",
        "n": 1,
    }
    with httpx.Client(headers={"api-key": KEY}) as client:  # as it shows its key to Azure
        answer = client.post(f"{stack.base_url}/images/generations", json=data)
    url = answer.json()["data"][0]["url"]
    name = LIBRECHAT_NAME.search(url)
    assert name is not None
    assert url.endswith(f"/{name[0]}")
    assert opened(httpx.get(url).content).size == (1024, 1024)


def test_librechats_image_tools_generate_and_edit(stack: WebStack) -> None:
    data = {
        "model": "gpt-image-1",
        "prompt": "a cat",
        "n": 1,
        "background": "auto",
        "output_format": "webp",
        "output_compression": 100,
        "quality": "auto",
        "size": "auto",
    }
    made = httpx.post(f"{stack.base_url}/images/generations", json=data, headers=HEADERS).json()
    assert opened(base64.b64decode(made["data"][0]["b64_json"])).format == "WEBP"
    form = {"model": "gpt-image-1", "prompt": "a dog", "quality": "auto", "size": "auto"}
    files = [("image[]", ("a.png", picture(), "image/png"))]
    edited = httpx.post(
        f"{stack.base_url}/images/edits", data=form, files=files, headers={"Authorization": HEADERS["Authorization"]}
    )
    opened(base64.b64decode(edited.json()["data"][0]["b64_json"]))


def retired_sample(client: OpenAI, folder: Path) -> list[str | None]:
    """OpenAI's guide to dall-e-2 as it was: one picture, an edit with a mask, a variation."""
    response = client.images.generate(model="dall-e-2", prompt="a white siamese cat", n=1, size="1024x1024")
    image_url = response.data[0].url  # type: ignore[index]

    response = client.images.edit(
        model="dall-e-2",
        image=(folder / "sunlit_lounge.png").open("rb"),
        mask=(folder / "mask.png").open("rb"),
        prompt="A sunlit indoor lounge area with a pool containing a flamingo",
        n=1,
        size="1024x1024",
    )
    edited_url = response.data[0].url  # type: ignore[index]

    # A picture in memory, and one with a name, as the guide has both.
    byte_stream = BytesIO((folder / "corgi_and_cat_paw.png").read_bytes())
    response = client.images.create_variation(image=byte_stream.getvalue(), n=1, model="dall-e-2", size="1024x1024")
    varied_url = response.data[0].url  # type: ignore[index]
    return [image_url, edited_url, varied_url]


def write_sources(folder: Path, side: int = 256) -> None:
    """The pictures that the sample opens."""
    for name in ("sunlit_lounge.png", "corgi_and_cat_paw.png"):
        (folder / name).write_bytes(picture(side))
    (folder / "mask.png").write_bytes(openai_mask(side))


def test_the_retired_sample_runs_unchanged_but_for_its_base_url(stack: WebStack, tmp_path: Path) -> None:
    write_sources(tmp_path)
    urls = retired_sample(OpenAI(base_url=stack.base_url, api_key=KEY), tmp_path)
    assert [opened(httpx.get(str(url)).content).size for url in urls] == [(1024, 1024)] * 3
