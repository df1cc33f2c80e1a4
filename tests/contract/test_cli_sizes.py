"""``--size WxH`` on the command line: painted where the stack can, kept by a replay, refused in one line elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.contract.gateways import noise_picture, png
from tests.contract.test_gateway_sizes import PAINTER, SIZES
from tests.unit.client_peer import GatewayPeer
from unclip.api.gateway.v1 import gateway_pb2
from unclip.cli import main
from unclip.testing import BlockingStubStack, StubModel


@pytest.fixture(scope="module")
def painter() -> Iterator[str]:
    with BlockingStubStack(PAINTER) as stack:
        yield stack.address


@pytest.fixture(scope="module")
def peer() -> Iterator[GatewayPeer]:
    peer = GatewayPeer()
    peer.start()
    yield peer
    peer.stop()


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        (["--size", "48x32"], (None, 48, 32)),
        (["--size=48X32"], (None, 48, 32)),
        (["--size", "48"], (48, None, None)),
        (["--size", "48x32", "--size", "64"], (64, None, None)),
        (["--size", "64", "--size", "48x32"], (None, 48, 32)),
        ([], (None, None, None)),
    ],
)
def test_one_flag_says_a_side_or_a_width_and_a_height(
    peer: GatewayPeer, tmp_path: Path, said: list[str], asked: tuple[int | None, ...]
) -> None:
    peer.asked.clear()
    assert main(["generate", "a cat", *said, "--server", peer.target, "--out", str(tmp_path)]) == 0
    [request] = [each for each in peer.asked if isinstance(each, gateway_pb2.StreamRequest)]
    told = {field.name: value for field, value in request.generate.ListFields()}
    assert tuple(told.get(name) for name in ("size", "width", "height")) == asked


@pytest.mark.parametrize("said", ["48x", "x48", "48x32x16", "4.8x3", "48 x 32", "wide", "", "48×32", "9" * 5000])
def test_what_is_no_size_is_a_mistake_in_the_arguments(capsys: pytest.CaptureFixture[str], said: str) -> None:
    with pytest.raises(SystemExit) as left:
        main(["generate", "a cat", f"--size={said}"])
    assert left.value.code == 2
    line = capsys.readouterr().err
    assert "argument --size: must be N or WxH; got " in line
    assert len(line) < 1000


def test_a_size_is_painted_written_and_made_again(
    painter: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "source.png").write_bytes(png(noise_picture(20, 30)))
    out = ["--server", painter, "--out", str(tmp_path / "out"), "--json"]
    commands = [
        ["generate", "a cat", "--count", "2", "--size", "48x32"],
        ["vary", str(tmp_path / "source.png"), "--count", "2", "--size", "48x32", "--fit", "letterbox"],
        ["edit", str(tmp_path / "source.png"), "a cat", "--pad", "8", "--size", "48x32"],
    ]
    for command in commands:
        assert main([*command, *out]) == 0
        made = json.loads(capsys.readouterr().out)["images"]
        assert {(image["width"], image["height"]) for image in made} == {(48, 32)}
        assert all(Image.open(image["path"]).size == (48, 32) for image in made)
        kind = command[0]
        assert {image["recipe"][kind]["width"] for image in made} == {48}
        sources = ["--source", str(tmp_path), "--source", str(tmp_path / "out")]
        assert main(["replay", made[0]["path"], *sources, *out]) == 0
        assert json.loads(capsys.readouterr().out)["identical"]


def test_info_tells_what_is_painted(painter: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--server", painter]) == 0
    assert f"32 px, or {SIZES}" in capsys.readouterr().out
    assert main(["info", "--server", painter, "--json"]) == 0
    stages = json.loads(capsys.readouterr().out)["stages"]
    assert [stage["sizes"]["multiple"] for stage in stages if "sizes" in stage] == [8, 8]


def test_a_size_that_nobody_paints_is_told_in_one_line_by_its_flag(
    painter: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--server", painter, "--out", str(tmp_path)]
    assert main(["generate", "a cat", "--size", "0x-5", *where]) == 2
    said = capsys.readouterr().err
    assert said == "unclip: --size: must be 16 to 4096; got 0; --size: must be 16 to 4096; got -5\n"
    assert main(["generate", "a cat", "--size", "36x32", *where]) == 4
    assert f"it paints {SIZES}" in capsys.readouterr().err
    with BlockingStubStack(StubModel()) as squares:
        assert (
            main(["generate", "a cat", "--size", "768x512", "--server", squares.address, "--out", str(tmp_path)]) == 4
        )
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "stub cannot paint 768 x 512 px; it paints squares of 256 px" in said
