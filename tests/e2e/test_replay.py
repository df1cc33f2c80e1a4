"""A picture file is enough to make the picture again, byte for byte: by both clients and the command line."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unclip import AsyncClient, Client, Generate, Preview, read_recipe
from unclip.cli import main
from unclip.client import FileFormat, GeneratedImage
from unclip.errors import InvalidRequest, PreconditionFailed
from unclip.testing import BlockingStubStack, StubModel

pytest_plugins = ["unclip.testing.fixtures"]

Make = Callable[[Client, FileFormat], list[GeneratedImage]]


def source(colour: str) -> bytes:
    file = io.BytesIO()
    Image.linear_gradient("L").resize((24, 20)).convert("RGB").save(file, "PNG")
    half = Image.open(io.BytesIO(file.getvalue()))
    half.paste(Image.new("RGB", (12, 10), colour))
    file = io.BytesIO()
    half.save(file, "PNG")
    return file.getvalue()


def masked(png: bytes) -> tuple[bytes, bytes]:
    """A mask of the left half of a picture, and the picture with that half cut out."""
    picture = Image.open(io.BytesIO(png))
    mask = Image.new("L", picture.size)
    mask.paste(255, (0, 0, picture.width // 2, picture.height))
    cut = picture.convert("RGBA")
    cut.paste((0, 0, 0, 0), (0, 0, picture.width // 2, picture.height))
    files = [io.BytesIO(), io.BytesIO()]
    mask.save(files[0], "PNG")
    cut.save(files[1], "PNG")
    return files[0].getvalue(), files[1].getvalue()


RED, BLUE = source("red"), source("blue")
MASK, CUT = masked(RED)
CAPTION = 'a "quoted" café 猫 \U0001f408'


def gap(one: GeneratedImage, other: GeneratedImage) -> int:
    """How far pixels are apart: pictures that shared a batch may come out 1 of 255 apart."""
    pixels = [np.asarray(image.to_pil()).astype(np.int16) for image in (one, other)]
    return int(np.abs(pixels[0] - pixels[1]).max())


MADE: dict[str, tuple[Make, list[bytes]]] = {
    "generate": (lambda client, format: client.generate(CAPTION, seed=-3, format=format, negative_caption="a dog"), []),
    "generate from an embedding": (
        lambda client, format: client.generate(embedding=client.embed(images=[RED]).images[0], seed=2, format=format),
        [],
    ),
    "vary": (lambda client, format: client.vary(RED, seed=4, eta=0.3, format=format), [RED]),
    "vary from random noise": (lambda client, format: client.vary(RED, start="random", format=format), [RED]),
    "text diff": (lambda client, format: client.text_diff(RED, "", CAPTION, thetas=[0.3], format=format), [RED]),
    "edit with a mask": (
        lambda client, format: client.edit(RED, CAPTION, MASK, seed=5, resampling=2, format=format),
        [MASK, RED],
    ),
    "edit what is transparent": (
        lambda client, format: client.edit(CUT, CAPTION, seed=5, fit="letterbox", format=format),
        [CUT],
    ),
    "interpolate to a caption": (
        lambda client, format: client.interpolate(RED, to_caption=CAPTION, ts=[0.3], format=format),
        [BLUE, RED],
    ),
}


@pytest.fixture(scope="module", params=["stub", "real"])
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "stub":
        with BlockingStubStack(StubModel(dim=8, base_size=16, final_size=32)) as stubs:
            yield stubs.address
    else:
        yield request.getfixturevalue("stack").address


@pytest.fixture
def client(address: str) -> Iterator[Client]:
    with Client(address) as client:
        yield client


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("capability", MADE)
def test_a_file_holds_what_makes_it_again(client: Client, capability: str, format: FileFormat) -> None:
    make, sources = MADE[capability]
    [made] = make(client, format)
    recipe = read_recipe(made.data)
    assert (recipe.request, recipe.model_version, recipe.source_digests) == (
        made.recipe,
        client.model_info().version,
        made.source_digests,
    )
    assert client.replay(recipe, sources).data == made.data


@pytest.mark.parametrize("format", ["png", "webp"])
def test_an_interpolation_between_pictures_is_made_again(client: Client, format: FileFormat) -> None:
    [made] = client.interpolate(RED, BLUE, ts=[0.3], format=format)
    again = client.replay(read_recipe(made.data), [BLUE, RED])
    assert again.recipe == made.recipe
    assert gap(again, made) <= 1  # its two inversions may share passes through the network, or not


def test_one_of_many_pictures_is_made_again_alone(client: Client) -> None:
    made = client.text_diff(RED, "a dog", "a cat", thetas=[0, 0.2, 0.4], seed=1)[2]
    again = client.replay(read_recipe(made.data), [RED])
    assert (again.recipe, again.image_index) == (made.recipe, 0)
    assert gap(again, made) <= 1


def test_the_best_candidate_is_made_again_without_the_others(client: Client) -> None:
    best, second = client.generate("a cat", seed=7, image_count=2, candidates=5)
    assert best.score is not None
    assert second.score is not None
    assert 1 >= best.score >= second.score >= -1
    again = client.replay(read_recipe(second.data))
    assert (again.recipe, again.score, again.seed) == (second.recipe, None, second.seed)
    assert gap(again, second) <= 1


def test_the_async_client_replays_too(client: Client, address: str) -> None:
    [made] = client.vary(RED, seed=4)

    async def again() -> GeneratedImage:
        async with AsyncClient(address) as waiting:
            return await waiting.replay(read_recipe(made.data), [BLUE, RED])

    assert asyncio.run(again()).data == made.data


def test_previews_say_nothing_of_their_making(client: Client) -> None:
    previews = [event for event in client.stream(Generate("a cat"), preview_interval=1) if isinstance(event, Preview)]
    assert previews
    for preview in previews:
        with pytest.raises(InvalidRequest, match="holds no recipe"):
            read_recipe(preview.data)


def test_a_missing_source_is_named_by_its_digest(client: Client) -> None:
    [made] = client.vary(RED, seed=4)
    with pytest.raises(InvalidRequest, match=made.source_digests[0]):
        client.replay(read_recipe(made.data), [BLUE])


def test_the_command_line_finds_the_source_beside_the_picture(
    unclip_stack: BlockingStubStack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Client(unclip_stack.address) as client:
        [made] = client.interpolate(RED, BLUE, ts=[0.5], format="jpeg")
    picture = made.save(tmp_path / "made" / "between.jpg")
    (picture.parent / "red.png").write_bytes(RED)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "blue.png").write_bytes(BLUE)
    asked = ["replay", str(picture), "--server", unclip_stack.address, "--out", str(tmp_path / "out"), "--json"]

    assert main(asked) == 2
    assert made.source_digests[1] in capsys.readouterr().err
    assert main([*asked, "--source", str(tmp_path / "elsewhere")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["identical"], told["largest_difference"]) == (True, 0)
    assert (tmp_path / "out" / "replay-between.jpg").read_bytes() == made.data


def test_a_picture_of_another_model_is_replayed_only_when_that_is_wanted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with BlockingStubStack() as stubs, Client(stubs.address) as client:
        [made] = client.generate("a cat", seed=1)
    picture = made.save(tmp_path / "cat.png")
    with BlockingStubStack(StubModel(version="stub-2", base_size=32)) as stubs, Client(stubs.address) as client:
        with pytest.raises(PreconditionFailed, match=r"stub-1.*stub-2"):
            client.replay(read_recipe(picture))
        assert client.replay(read_recipe(picture), any_model=True).model_version == "stub-2"
        asked = ["replay", str(picture), "--server", stubs.address, "--out", str(tmp_path / "out")]
        assert main(asked) == 4
        assert "stub-2" in capsys.readouterr().err
        assert main([*asked, "--any-model"]) == 0
        told = capsys.readouterr().out
        assert "differs" in told
        assert "stub-2, not stub-1" in told
