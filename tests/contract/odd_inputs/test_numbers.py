"""Numbers as people type them: refused in one line that names the flag, by the command line or by the gateway."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.odd_inputs.conftest import Refused
from tests.unit.client_peer import GatewayPeer, picture
from unclip import Client
from unclip.errors import InvalidRequest

# What no parser takes, and what the command line knows to be too much to send.
NO_NUMBERS = {
    "--count": ["x", "1.5", "", "1e3", "NaN", "9" * 5000],
    "--seed": ["x", "0.5", "9" * 5000],
    "--decoder-steps": ["ten", "1e2"],
    "--decoder-guidance": ["strong", "1,5"],
    "--timeout": ["soon", ""],
}
NO_FRAMES = ["0", "-1", "65", "10000000", "9" * 30, "9" * 5000, "1.5", "x"]
UNASKED = {
    "--timeout": ["nan", "inf", "-inf", "1e300", "0", "-1", "1e-400"],
    "--seed": [str(2**63), str(-(2**63) - 1), "9" * 400],
    "--count": [str(2**31), str(-(2**31) - 1)],
    "--decoder-steps": [str(2**31)],
    "--api-key": ["key\r", "key\n", "kéy", "\x1b[2J", "a\0b"],
}
BY_THE_GATEWAY = {
    "--count": ["0", "-1", "17", str(2**31 - 1)],
    "--candidates": ["0", "65", "-3"],
    "--size": ["0", "15", "2049", "-64"],
    "--prior-candidates": ["0", "17"],
    "--prior-steps": ["0", "1001"],
    "--decoder-steps": ["0", "-5", "1001", str(2**31 - 1)],
    "--decoder-guidance": ["nan", "inf", "-1", "31", "1e39"],
    "--decoder-eta": ["1.5", "-0.1", "nan"],
    "--upsampler-steps": ["0"],
    "--upsampler-eta": ["2"],
}


def pairs(table: dict[str, list[str]]) -> list[tuple[str, str]]:
    return [(flag, value) for flag, values in table.items() for value in values]


def shown(value: object) -> str:
    return ascii(value)[:20]


@pytest.mark.parametrize(("flag", "value"), pairs(NO_NUMBERS), ids=shown)
def test_what_is_no_number_is_a_mistake_in_the_arguments(
    peer: GatewayPeer, refused: Refused, flag: str, value: str
) -> None:
    assert f"argument {flag}: " in refused("generate", "a cat", f"{flag}={value}", usage=True)


@pytest.mark.parametrize("value", NO_FRAMES, ids=shown)
def test_frames_are_counted_before_they_are_made(peer: GatewayPeer, refused: Refused, value: str) -> None:
    for command in (["text-diff", "house.png", "--after", "a"], ["interpolate", "house.png", "--caption", "a"]):
        assert "argument --frames: " in refused(*command, f"--frames={value}", usage=True)


@pytest.mark.parametrize(("flag", "value"), pairs(UNASKED), ids=shown)
def test_what_cannot_be_sent_names_its_flag(peer: GatewayPeer, refused: Refused, flag: str, value: str) -> None:
    said = refused("generate", "a cat", f"{flag}={value}")
    assert said.startswith(f"unclip: {flag}: must be ")
    assert "got " in said
    assert peer.asked == []


@pytest.mark.parametrize(("flag", "value"), pairs(BY_THE_GATEWAY), ids=shown)
def test_what_the_gateway_refuses_names_its_flag(
    address: str, peer: GatewayPeer, refused: Refused, flag: str, value: str
) -> None:
    said = refused("generate", "a cat", f"{flag}={value}", "--server", address)
    assert said.startswith(f"unclip: {flag}: must be ")
    assert list(Path("out").iterdir()) == []


@pytest.mark.parametrize("theta", ["1.5", "-0.1", "nan", "inf"])
def test_how_far_to_go_names_its_flag(address: str, peer: GatewayPeer, refused: Refused, theta: str) -> None:
    command = ["text-diff", "house.png", "--after", "a", "--frames", "1", f"--theta={theta}"]
    assert refused(*command, "--server", address).startswith("unclip: --theta: must be 0 to 1; got ")


def test_other_words_of_the_contract_are_not_said(address: str, peer: GatewayPeer, refused: Refused) -> None:
    said = refused("vary", "house.png", "--start", "random", "--psnr", "--decoder-sampler", "ddpm", "--server", address)
    assert "--decoder-sampler: must be ddim or unset; got ddpm" in said
    assert "--psnr: must be unset with random" in said
    assert "_" not in said
    said = refused("generate", "", "--negative", "\x07", "--server", address)
    assert "caption: must not be empty" in said
    assert "--negative: must not contain control characters; got U+0007 at position 0" in said


@pytest.mark.parametrize("count", [65, 10_000_000])
def test_the_client_counts_frames_before_it_makes_a_message(count: int) -> None:
    with Client("127.0.0.1:1") as client, pytest.raises(InvalidRequest, match=f"thetas: must hold 0 to 64 .*{count}"):
        client.text_diff(picture(1), "", "a", thetas=range(count))
