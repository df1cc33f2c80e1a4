"""Pictures of the real gateway are marked and signed, whatever makes them, in every format; replay passes over it."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import c2pa
import numpy as np
import pytest
from PIL import Image

from tests.certificates import Authority, Files
from unclip import AsyncClient, Edit, Generate, Interpolate, Sampling, TextDiff, Vary, read_provenance, read_recipe
from unclip.api.prior.v1 import prior_pb2
from unclip.cli import main
from unclip.client import FileFormat, GeneratedImage, Request
from unclip.errors import ConfigurationError, Unavailable
from unclip.serving.signing import Signer
from unclip.testing import GatewayServer, StubStages
from unclip.wire.images import encode_image
from unclip.wire.marks import COMPOSITE, PURPOSES, TRAINED

FORMATS: Sequence[FileFormat] = get_args(FileFormat)
FAST = Sampling(steps=1)


def png(width: int, height: int) -> bytes:
    return encode_image(Image.linear_gradient("L").resize((width, height)).convert("RGB")).data


SOURCE, OTHER = png(24, 20), png(30, 30)
MASK = encode_image(Image.fromarray(np.arange(480).reshape(20, 24) % 24 < 12)).data
MADE: dict[str, tuple[Request, str]] = {
    "generate": (Generate("a cat", image_count=2), TRAINED),
    "ranked": (Generate("a cat", candidates=4, image_count=2), TRAINED),
    "resized": (Generate("a cat", size=40), TRAINED),
    "vary": (Vary(SOURCE, image_count=3), COMPOSITE),
    "letterboxed": (Vary(SOURCE, fit="letterbox"), COMPOSITE),
    "text diff": (TextDiff(SOURCE, "", "a dog", thetas=[0.1, 0.3, 0.5]), COMPOSITE),
    "interpolate": (Interpolate(SOURCE, OTHER, ts=[0.2, 0.4, 0.8]), COMPOSITE),
    "to a caption": (Interpolate(SOURCE, to_caption="a dog", ts=[0.2, 0.4]), COMPOSITE),
    "edit": (Edit(SOURCE, "a cat", MASK, image_count=2), COMPOSITE),
}


@asynccontextmanager
async def gateway(**settings: Any) -> AsyncIterator[AsyncClient]:
    """A client of the real gateway with ``settings`` before stubs."""
    async with (
        StubStages() as stages,
        GatewayServer(stages.addresses, **settings) as server,
        AsyncClient(server.address) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"), "gateway-ca")


@pytest.fixture(scope="module")
def signing(authority: Authority) -> dict[str, Any]:
    """Settings of a gateway that signs."""
    return settings_of(authority.issue_signer("gateway"))


def settings_of(files: Files) -> dict[str, Any]:
    return {"c2pa_certificate": str(files.cert), "c2pa_key": str(files.key)}


def manifest_of(image: GeneratedImage, ca: Path) -> tuple[str, dict[str, Any]]:
    """What the library says of a picture, given a CA to trust: its state, and the manifest in force."""
    trust = {"trust_anchors": ca.read_text(), "trust_config": "\n".join(PURPOSES)}
    context = c2pa.Context.from_dict({"version": 1, "trust": trust})
    with c2pa.Reader(image.media_type, io.BytesIO(image.data), context=context) as reader:
        return str(reader.get_validation_state()), dict(reader.get_active_manifest())


async def all_of(
    client: AsyncClient, seeds: Sequence[int], formats: Sequence[FileFormat] = FORMATS
) -> dict[tuple[str, FileFormat, int, int], GeneratedImage]:
    """Pictures of every capability in every format."""
    made: dict[tuple[str, FileFormat, int, int], GeneratedImage] = {}

    async def ask(name: str, file_format: FileFormat, seed: int) -> None:
        async for event in client.stream(
            replace(MADE[name][0], format=file_format, seed=seed, decoder=FAST, upsampler=FAST)
        ):
            if isinstance(event, GeneratedImage):
                made[name, file_format, seed, event.image_index] = event

    for name in MADE:
        await asyncio.gather(*(ask(name, file_format, seed) for file_format in formats for seed in seeds))
    return made


async def test_a_hundred_signed_pictures_are_trusted_and_have_the_pixels_and_recipes_of_unmarked_ones(
    authority: Authority, signing: dict[str, Any]
) -> None:
    async with gateway(**signing) as client:
        signed = await all_of(client, (0, 1))
    async with gateway(marks="off") as client:
        bare = await all_of(client, (0, 1))
    assert len(signed) >= 100
    ca = authority.ca.read_bytes()
    for key, image in signed.items():
        state, manifest = manifest_of(image, authority.ca)
        assert (key, state) == (key, "Trusted")
        found = read_provenance(image, ca)
        assert (found.xmp.source_type, found.c2pa.source_type) == (MADE[key[0]][1],) * 2
        assert (found.xmp.state, found.c2pa.state) == ("present", "trusted")
        before = bare[key]
        assert (read_provenance(before).xmp.state, read_provenance(before).c2pa.state) == ("none", "none")
        assert image.to_pil().tobytes() == before.to_pil().tobytes()
        assert read_recipe(image) == read_recipe(before)
        assert manifest["claim_generator_info"][0]["name"] == "unclip"


async def test_without_a_key_files_are_marked_and_always_the_same(signing: dict[str, Any]) -> None:
    async with gateway() as client:
        one, again = await all_of(client, (3,), ["png"]), await all_of(client, (3,), ["png"])
    for key, image in one.items():
        found = read_provenance(image)
        assert (found.xmp.source_type, found.c2pa.state) == (MADE[key[0]][1], "none")
        assert image.data == again[key].data


async def test_what_a_picture_began_with_is_in_its_manifest_with_the_marks_it_had(
    authority: Authority, signing: dict[str, Any]
) -> None:
    async with gateway(**signing) as client:
        [source] = await client.generate("a cat", format="jpeg")
        _, before = manifest_of(source, authority.ca)
        [edited] = await client.edit(source.data, "a dog", mask=png(*source.to_pil().size))
        [varied] = await client.vary(edited.data)
        [between] = await client.interpolate(SOURCE, varied.data, ts=[0.5])
    state, manifest = manifest_of(edited, authority.ca)
    mask, first = sorted(manifest["ingredients"], key=lambda each: str(each["title"]))
    assert (state, first["relationship"], mask["relationship"]) == ("Trusted", "parentOf", "inputTo")
    assert (first["active_manifest"], first["format"]) == (before["label"], "image/jpeg")
    assert first["instance_id"] == f"sha256:{edited.source_digests[0]}"
    assert first["description"] == f"IPTC DigitalSourceType: {TRAINED}"
    state, manifest = manifest_of(varied, authority.ca)
    [first] = manifest["ingredients"]
    assert (state, first["relationship"]) == ("Trusted", "inputTo")
    state, manifest = manifest_of(between, authority.ca)
    plain, marked = sorted(manifest["ingredients"], key=lambda each: str(each["title"]))
    assert (state, "active_manifest" in plain, "active_manifest" in marked) == ("Trusted", False, True)


def test_replay_of_a_signed_picture_says_that_its_pixels_are_the_same(
    signing: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = commands(
        signing,
        capsys,
        ["vary", str(tmp_path / "source.png"), "--seed", "1", "--out", str(tmp_path)],
        ["replay", str(tmp_path / "vary-source-1.png"), "--out", str(tmp_path / "again")],
        ["replay", str(tmp_path / "vary-source-1.png"), "--json", "--out", str(tmp_path / "json")],
        source=tmp_path / "source.png",
    )
    assert f"same pixels as {tmp_path / 'vary-source-1.png'}; the files differ in their marks" in said[1]
    told = json.loads(said[2])
    assert (told["identical"], told["same_pixels"], told["largest_difference"]) == (False, True, 0)


def test_what_the_command_line_makes_of_pictures_says_it_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["text-diff", str(tmp_path / "source.png"), "--after", "a dog", "--frames", "2", "--seed", "1"]
    commands({}, capsys, [*words, "--out", str(out)], source=tmp_path / "source.png")
    made = sorted(out.iterdir())
    assert {path.suffix for path in made} == {".png", ".webp"}
    assert len(made) == 4
    assert main(["verify", *map(str, made)]) == 0


def commands(
    settings: dict[str, Any], capsys: pytest.CaptureFixture[str], *lines: Sequence[str], source: Path
) -> list[str]:
    """What command lines print that go to a gateway with ``settings``; ``source`` is a picture for them."""
    said: list[str] = []
    source.write_bytes(SOURCE)

    async def run() -> None:
        async with StubStages() as stages, GatewayServer(stages.addresses, **settings) as server:
            for words in lines:
                capsys.readouterr()
                assert await asyncio.to_thread(main, [*words, "--server", server.address]) == 0
                said.append(capsys.readouterr().out)

    asyncio.run(run())
    return said


async def test_a_key_of_another_certificate_keeps_the_gateway_from_starting(authority: Authority) -> None:
    one, other = authority.issue_signer("one"), authority.issue_signer("other")
    with pytest.raises(ConfigurationError, match="is not the key of the certificate"):
        async with gateway(c2pa_certificate=str(one.cert), c2pa_key=str(other.key)):
            pass
    with pytest.raises(ConfigurationError, match="c2pa_certificate and c2pa_key go together"):
        async with gateway(c2pa_certificate=str(one.cert)):
            pass
    with pytest.raises(ConfigurationError, match="marks must be on or off; got 'maybe'"):
        async with gateway(marks="maybe"):
            pass


async def test_a_new_certificate_signs_without_a_restart(authority: Authority) -> None:
    files = authority.issue_signer("renewed")
    async with gateway(**settings_of(files)) as client:
        serials = []
        for _ in range(2):
            [image] = await client.generate("a cat")
            state, manifest = manifest_of(image, authority.ca)
            serials.append((state, manifest["signature_info"]["cert_serial_number"], str(files.serial)))
            authority.issue_signer("renewed")
    assert serials[0][1] != serials[1][1]
    assert all((state, found) == ("Trusted", expected) for state, found, expected in serials)


async def test_a_gateway_whose_certificate_has_ended_makes_nothing(
    signing: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        StubStages() as stages,
        GatewayServer(stages.addresses, **signing) as server,
        AsyncClient(server.address) as client,
    ):
        await client.generate("a cat")
        asked = len(stages.prior.requests(prior_pb2.SampleRequest))
        monkeypatch.setattr("unclip.serving.tls.Material.current", False)
        with pytest.raises(Unavailable, match="pictures cannot be signed"):
            await client.generate("a cat")
        assert len(stages.prior.requests(prior_pb2.SampleRequest)) == asked > 0


async def test_others_are_served_while_a_signature_takes_long(
    signing: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    sign: Callable[..., bytes] = Signer.sign

    def slow(*arguments: Any) -> bytes:
        begun.set()
        assert go_on.wait(30)
        return sign(*arguments)

    monkeypatch.setattr(Signer, "sign", slow)
    async with gateway(**signing) as client:
        waiting = asyncio.create_task(client.generate("a cat"))
        await asyncio.to_thread(begun.wait, 30)
        await client.model_info()
        assert not waiting.done()
        go_on.set()
        assert read_provenance((await waiting)[0]).c2pa.state == "valid"
