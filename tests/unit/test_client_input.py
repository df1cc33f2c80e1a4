"""What a client is given: sensible kinds of pictures are taken, all else is refused by field, limit and value."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.unit.client_peer import GatewayPeer, invalid, picture
from unclip.api.gateway.v1 import gateway_pb2
from unclip.client import (
    AsyncClient,
    Client,
    Embedding,
    Generate,
    GeneratedImage,
    ImageFile,
    Sampling,
    Vary,
    read_recipe,
)
from unclip.errors import ConfigurationError, InvalidRequest, UnclipError
from unclip.wire.images import MAX_BYTES

SOURCE = picture(7)
GREY = np.arange(16, dtype=np.uint8).reshape(4, 4)
DEEP: Any = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
HALF = Embedding(np.zeros(4, np.float16), "")
UNIT = np.zeros(4, np.float32)


@pytest.mark.parametrize("hold", [bytearray, memoryview, io.BytesIO])
def test_a_file_is_sent_byte_for_byte_however_it_is_held(
    peer: GatewayPeer, client: Client, hold: Callable[[bytes], Any]
) -> None:
    client.vary(hold(SOURCE))
    [asked] = peer.asked
    assert isinstance(asked, gateway_pb2.VaryRequest)
    assert asked.image.data == SOURCE


def test_an_open_file_is_read(peer: GatewayPeer, client: Client, tmp_path: Path) -> None:
    (tmp_path / "house.png").write_bytes(SOURCE)
    with (tmp_path / "house.png").open("rb") as file:
        client.embed(images=[file])
    [asked] = peer.asked
    assert isinstance(asked, gateway_pb2.EmbedRequest)
    assert asked.images[0].data == SOURCE


@pytest.mark.parametrize(
    ("array", "mode"),
    [(GREY, "L"), (DEEP, "RGB"), (np.dstack([DEEP, GREY]), "RGBA"), (GREY > 7, "L")],
    ids=["grey", "RGB", "RGBA", "mask"],
)
def test_an_array_is_a_picture(peer: GatewayPeer, client: Client, array: Any, mode: str) -> None:
    client.edit(SOURCE, "a cat", array)
    [asked] = peer.asked
    assert isinstance(asked, gateway_pb2.EditRequest)
    with Image.open(io.BytesIO(asked.mask.data)) as sent:
        expected = array * np.uint8(255) if array.dtype == np.bool_ else array
        assert np.array_equal(np.asarray(sent.convert(mode)), expected)


def closed() -> io.BytesIO:
    file = io.BytesIO(SOURCE)
    file.close()
    return file


REFUSED: dict[str, tuple[Callable[[Client], object], str, str]] = {
    "a caption that is no text": (lambda c: c.generate(3), "caption", "must be a text; got 3"),  # type: ignore[arg-type]
    "a caption in bytes": (lambda c: c.generate(b"a cat"), "caption", "got a bytes"),  # type: ignore[arg-type]
    "a lone surrogate": (lambda c: c.generate("\ud800"), "caption", "U+D800"),
    "a seed beyond int64": (lambda c: c.generate("", seed=1 << 64), "seed", "2^63 - 1; got 18446744073709551616"),
    "a seed that nobody can write down": (lambda c: c.generate("", seed=1 << 99999), "seed", "of 100000 bits"),
    "a seed in words": (lambda c: c.generate("", seed="one"), "seed", "must be a whole number; got 'one'"),  # type: ignore[arg-type]
    "half a picture": (lambda c: c.generate("", image_count=0.5), "image_count", "whole number; got 0.5"),  # type: ignore[arg-type]
    "sampling as a dict": (lambda c: c.generate("", prior={"steps": 3}), "prior", "a Sampling; got a dict"),  # type: ignore[arg-type]
    "steps in words": (lambda c: c.generate("", decoder=Sampling(steps="9")), "decoder.steps", "whole"),  # type: ignore[arg-type]
    "a scale beyond floats": (lambda c: c.generate("", prior=Sampling(eta=10**400)), "prior.eta", "a number"),
    "an unknown sampler": (lambda c: c.generate("", decoder=Sampling("euler")), "decoder.sampler", "ddpm, ddim"),  # type: ignore[arg-type]
    "a format that is a list": (lambda c: c.generate("", format=["png"]), "format", "png, jpeg, webp; got ['png']"),  # type: ignore[arg-type]
    "no embedding": (lambda c: c.generate(embedding=UNIT), "embedding", "an Embedding; got a ndarray"),  # type: ignore[arg-type]
    "an embedding of halves": (lambda c: c.generate(embedding=HALF), "embedding.values", "float16 [4]"),
    "an embedding of lists": (lambda c: c.generate(embedding=Embedding([["a"]], "")), "embedding.values", "[1, 1]"),  # type: ignore[arg-type]
    "no picture": (lambda c: c.vary(None), "image", "must be a picture; got none"),
    "a number as a picture": (lambda c: c.vary(3), "image", "a path, bytes, an open file"),  # type: ignore[arg-type]
    "an array of floats": (lambda c: c.vary(GREY / 255), "image", "float64 [4, 4]"),
    "an array of nothing": (lambda c: c.vary(GREY[:0]), "image", "uint8 [0, 4]"),
    "a closed file": (lambda c: c.vary(closed()), "image", "closed file"),
    "a file of text": (lambda c: c.vary(io.StringIO("a")), "image", "open for bytes"),  # type: ignore[arg-type]
    "an empty image": (lambda c: c.vary(Image.new("RGB", (0, 0))), "image", "read whole"),
    "a name no file can have": (lambda c: c.vary("a\0b"), "image", "cannot read"),
    "too many bytes": (lambda c: c.vary(bytes(MAX_BYTES + 1)), "image", "at most 10485760 bytes; got 10485761"),
    "a caption as captions": (lambda c: c.embed("a cat"), "captions", "must be a list; got 'a cat'"),
    "captions that are numbers": (lambda c: c.embed(["a", 3]), "captions[1]", "text; got 3"),  # type: ignore[list-item]
    "one picture as images": (lambda c: c.embed(images=SOURCE), "images", "must be a list; got a bytes"),  # type: ignore[arg-type]
    "thetas that are one": (lambda c: c.text_diff(SOURCE, "", "a", thetas=0.5), "thetas", "a list; got 0.5"),  # type: ignore[arg-type]
    "thetas in no list": (lambda c: c.text_diff(SOURCE, "", "a", thetas=np.array(0.5)), "thetas", "a list"),  # type: ignore[arg-type]
    "an open file as images": (lambda c: c.embed(images=io.BytesIO(SOURCE)), "images", "must be a list"),  # type: ignore[arg-type]
    "bytes in an array as images": (lambda c: c.embed(images=bytearray(SOURCE)), "images", "must be a list"),  # type: ignore[arg-type]
    "scales in an array": (lambda c: c.generate("", prior=Sampling(eta=UNIT)), "prior.eta", "a number"),  # type: ignore[arg-type]
    "captions in an array": (lambda c: c.interpolate(SOURCE, None, UNIT), "to_caption", "must be a text"),  # type: ignore[arg-type]
    "uneven rows": (lambda c: c.generate(embedding=Embedding([[1], [2, 3]], "")), "embedding.values", "[D]"),  # type: ignore[arg-type]
    "a theta in words": (lambda c: c.text_diff(SOURCE, "", "a", thetas=["x"]), "thetas[0]", "a number"),  # type: ignore[list-item]
    "after left empty": (lambda c: c.text_diff(SOURCE, "", None), "after", "must be a text; got None"),  # type: ignore[arg-type]
    "a word for yes": (lambda c: c.vary(SOURCE, report_psnr="yes"), "report_psnr", "True or False; got 'yes'"),  # type: ignore[arg-type]
    "no request": (lambda c: list(c.stream("a cat")), "request", "must be a Generate"),  # type: ignore[arg-type]
    "a broken interval": (lambda c: list(c.stream(Generate("a"), preview_interval=1.5)), "preview_interval", "1.5"),  # type: ignore[arg-type]
    "no recipe": (lambda c: c.replay("a cat"), "recipe", "must be a Recipe"),  # type: ignore[arg-type]
    "a recipe in nothing": (lambda c: read_recipe(3), "picture", "must be a path"),  # type: ignore[arg-type]
    "no seconds": (lambda c: Client(timeout=0), "timeout", "more than 0 and at most 86400 seconds; got 0"),
    "an endless timeout": (lambda c: Client(timeout=float("inf")), "timeout", "at most 86400 seconds; got inf"),
    "a timeout that is none": (lambda c: Client(timeout=float("nan")), "timeout", "at most 86400 seconds; got nan"),
    "a timeout beyond all": (lambda c: Client(timeout=1e300), "timeout", "at most 86400 seconds; got 1e+300"),
    "a timeout in words": (lambda c: Client(timeout="9"), "timeout", "must be a number; got '9'"),  # type: ignore[arg-type]
    "a number as a target": (lambda c: Client(3), "target", "must be a text; got 3"),  # type: ignore[arg-type]
    "a word for TLS": (lambda c: Client(tls=True), "tls", "must be a Tls; got True"),  # type: ignore[arg-type]
    "metadata as a dict": (lambda c: Client(metadata={"a": "b"}), "metadata", "must be a list"),  # type: ignore[arg-type]
    "metadata in capitals": (lambda c: Client(metadata=[("X-Id", "b")]), "metadata[0]", "a key of 0-9, a-z"),
    "a key with a line break": (lambda c: Client(api_key="a\nb"), "api_key", "printable ASCII"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_sent_is_refused_unasked(peer: GatewayPeer, client: Client, case: str) -> None:
    ask, field, said = REFUSED[case]
    with pytest.raises(InvalidRequest) as refused:
        ask(client)
    assert peer.asked == []
    [violation] = refused.value.violations
    assert violation.field == field
    assert said in violation.description
    assert refused.value.request_id == ""


def test_all_that_is_wrong_is_told_at_once(client: Client) -> None:
    with pytest.raises(InvalidRequest) as refused:
        client.generate(3, seed="one", decoder=Sampling(steps=0.5, eta="x"))  # type: ignore[arg-type]
    assert {v.field for v in refused.value.violations} == {"caption", "seed", "decoder.steps", "decoder.eta"}


def test_a_malformed_target_is_refused_at_once() -> None:
    for make in (Client, AsyncClient):
        for target in ("nonsense", ""):
            with pytest.raises(ConfigurationError, match="host:port"):
                make(target)


def test_an_error_has_the_id_of_its_call(peer: GatewayPeer, client: Client) -> None:
    peer.fails = invalid(("caption", "must not be empty"))

    async def awaited() -> UnclipError:
        async with AsyncClient(peer.target) as waiting:
            with pytest.raises(InvalidRequest) as refused:
                await waiting.generate("")
            return refused.value

    with pytest.raises(InvalidRequest) as refused:
        list(client.stream(Generate("")))
    for error, sent in zip((refused.value, asyncio.run(awaited())), peer.metadata, strict=True):
        assert error.request_id == sent["x-request-id"] != ""
    with Client(peer.target, metadata=[("x-request-id", "mine")]) as named, pytest.raises(InvalidRequest) as refused:
        named.generate("")
    assert refused.value.request_id == "mine"


def test_an_async_client_may_be_made_before_a_loop_runs_and_used_in_several(peer: GatewayPeer) -> None:
    client = AsyncClient(peer.target)
    for _ in range(2):
        [made] = asyncio.run(client.generate("a cat"))
        assert made.data
    asyncio.run(client.close())


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_server_and_key_are_read_from_the_variables_of_the_command_line(
    peer: GatewayPeer, monkeypatch: pytest.MonkeyPatch, kind: type[Client | AsyncClient]
) -> None:
    monkeypatch.setenv("UNCLIP_SERVER", peer.target)
    monkeypatch.setenv("UNCLIP_API_KEY", "secret")

    def ask(client: Client | AsyncClient) -> None:
        if isinstance(client, Client):
            client.model_info()
        else:
            asyncio.run(client.model_info())

    ask(kind())
    ask(kind(api_key=""))
    ask(kind(api_key="other"))
    assert [sent.get("authorization") for sent in peer.metadata] == ["Bearer secret", None, "Bearer other"]


def test_a_key_that_is_refused_is_not_told(peer: GatewayPeer) -> None:
    with pytest.raises(InvalidRequest) as refused:
        Client(peer.target, api_key="s3cret\n")
    assert "s3cret" not in str(refused.value)


def test_a_picture_is_one_line_and_shows_itself_in_a_notebook(client: Client) -> None:
    [made] = client.generate("a cat", seed=5)
    assert repr(made) == f"<GeneratedImage image/png 16 x 16 px, {len(made.data)} bytes, image_index 0, seed 5>"
    assert made._repr_png_() == made.data
    jpeg = io.BytesIO()
    made.to_pil().save(jpeg, "JPEG")
    shown = ImageFile(jpeg.getvalue(), "image/jpeg", 16, 16)._repr_png_()
    with Image.open(io.BytesIO(shown)) as png:
        assert (png.format, png.size) == ("PNG", (16, 16))


def test_a_recipe_is_read_from_whatever_holds_a_file(client: Client) -> None:
    [made] = client.vary(SOURCE)
    assert isinstance(made, GeneratedImage)
    for held in (made, made.data, bytearray(made.data), io.BytesIO(made.data)):
        with pytest.raises(InvalidRequest, match="holds no recipe"):  # the peer writes none
            read_recipe(held)
    assert isinstance(made.recipe, Vary)
