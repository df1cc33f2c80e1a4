"""What can be asked for is listed and found, and the demo draws it; words that were never taught are said once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.client_peer import GatewayPeer
from unclip.api.gateway.v1 import gateway_pb2
from unclip.api.type.v1 import model_info_pb2, notice_pb2
from unclip.cli import demo, main
from unclip.client import AsyncClient, Client, Sampling, Vocabulary

TAUGHT = model_info_pb2.Vocabulary(
    concepts=["automobile", "cherries", "red apple", "tractor"],
    synonyms={"car": "automobile", "red car": "automobile"},
    styles=["flat", "3d"],
    colours=["blue"],
    backgrounds=["white"],
    counts=["two"],
    words=["fruit", "vehicle"],
    captions=["a flat emoji of a cherry", "a flat emoji of a red apple", "two cars", "a blue apple"],
)


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[GatewayPeer]:
    """A gateway that UNCLIP_SERVER names, whose model says what it was taught."""
    peer = GatewayPeer()
    peer.vocabulary = TAUGHT
    peer.start()
    monkeypatch.setenv("UNCLIP_SERVER", peer.target)
    monkeypatch.chdir(tmp_path)
    yield peer
    peer.stop()


def told(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> tuple[list[str], str]:
    """What ``unclip info --captions`` prints, in lines, and what it says beside that."""
    assert main(["info", "--captions", *words]) == status
    said = capsys.readouterr()
    return said.out.splitlines(), said.err


def test_all_that_can_be_asked_for_is_listed(peer: GatewayPeer, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys) == (
        [
            "examples     a flat emoji of a cherry",
            "             a flat emoji of a red apple",
            "             two cars",
            "             a blue apple",
            "concepts     automobile (or car, red car); cherries; red apple; tractor",
            "styles       flat; 3d",
            "colours      blue",
            "backgrounds  white",
            "counts       two",
        ],
        "",
    )


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (["car"], ["examples     two cars", "concepts     automobile (or car, red car)"]),
        (
            ["Apples"],
            ["examples     a flat emoji of a red apple", "             a blue apple", "concepts     red apple"],
        ),
        (["red", "app"], ["examples     a flat emoji of a red apple", "concepts     red apple"]),
        (["red app"], ["examples     a flat emoji of a red apple", "concepts     red apple"]),
        (["cherry"], ["examples     a flat emoji of a cherry", "concepts     cherries"]),
        (["fruit"], ["words        fruit"]),
        (["blue"], ["examples     a blue apple", "colours      blue"]),
    ],
)
def test_what_has_some_words_is_found(
    peer: GatewayPeer, capsys: pytest.CaptureFixture[str], words: list[str], lines: list[str]
) -> None:
    assert told(capsys, *words) == (lines, "")


def test_where_there_is_nothing_what_may_be_meant_is_said_and_the_status_is_1(
    peer: GatewayPeer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told(capsys, "tracter", status=1) == (
        [],
        "peer was taught nothing that is called tracter; is tractor meant?\n",
    )
    assert told(capsys, "zebra", status=1) == ([], "peer was taught nothing that is called zebra\n")


def test_a_long_list_is_wrapped_and_a_servers_words_steer_no_terminal(
    peer: GatewayPeer, capsys: pytest.CaptureFixture[str]
) -> None:
    peer.vocabulary = model_info_pb2.Vocabulary(concepts=[f"concept {n}" for n in range(99)], styles=["\x1b[31mred"])
    lines, _ = told(capsys)
    assert all(len(line) <= 110 and line.isprintable() for line in lines)
    assert " ".join(line[13:] for line in lines[:-1]) == "; ".join(peer.vocabulary.concepts)
    assert lines[-1] == r"styles       \u001b[31mred"


def test_programs_get_it_as_json(peer: GatewayPeer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--json", "--captions", "car"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (found["name"], found["concepts"], found["captions"]) == ("peer", ["automobile"], ["two cars"])
    assert found["synonyms"] == {"car": "automobile", "red car": "automobile"}
    assert found["styles"] == []
    assert main(["info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["captions"] == list(TAUGHT.captions)


def test_a_model_that_does_not_say_is_one_that_cannot(peer: GatewayPeer, capsys: pytest.CaptureFixture[str]) -> None:
    peer.vocabulary = None
    assert told(capsys, "car", status=4) == ([], "unclip: peer does not say what it was taught\n")


def test_info_shows_a_few_examples(peer: GatewayPeer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    assert "such as     a flat emoji of a cherry\n            a flat emoji of a red apple\n            two cars\n" in (
        capsys.readouterr().out
    )
    assert main(["info", "--timeout", "10"]) == 0
    assert [request.vocabulary for request in peer.asked if isinstance(request, gateway_pb2.GetModelInfoRequest)] == [
        False,
        False,
    ]


def test_both_clients_read_it_where_it_is_asked_for(peer: GatewayPeer) -> None:
    with Client(peer.target) as client:
        assert client.model_info().vocabulary is None
        found = client.model_info(vocabulary=True).vocabulary
    assert isinstance(found, Vocabulary)
    assert (found.concepts, dict(found.synonyms)) == (tuple(TAUGHT.concepts), dict(TAUGHT.synonyms))

    async def ask() -> object:
        async with AsyncClient(peer.target) as client:
            return (await client.model_info(vocabulary=True)).vocabulary

    assert asyncio.run(ask()) == found


def test_words_that_were_never_taught_are_said_once_by_flag_and_without_another_call(
    peer: GatewayPeer, capsys: pytest.CaptureFixture[str]
) -> None:
    message = 'the model was never taught "appel" (is "apple" meant?): what it draws for that is a guess'
    kind = notice_pb2.NOTICE_KIND_WORDS_UNKNOWN
    peer.notices = [notice_pb2.Notice(kind=kind, field="caption", parts=["appel"], message=message)]
    assert main(["generate", "an appel", "--count", "3", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["notices"] == [
        {"kind": "words_unknown", "field": "caption", "parts": ["appel"], "message": message}
    ]
    assert main(["generate", "an appel", "--count", "3", "--force"]) == 0
    assert capsys.readouterr().err.count(f"note: caption: {message}\n") == 1
    assert len(peer.asked) == 2


def captions_of(peer: GatewayPeer) -> list[str]:
    return sorted(asked.caption for asked in each(peer, "generate"))


def each(peer: GatewayPeer, kind: str) -> list[Any]:
    """The requests of one kind that were made."""
    name = "".join(part.title() for part in kind.split("_")) + "Request"
    streamed = [asked for asked in peer.asked if isinstance(asked, gateway_pb2.StreamRequest)]
    plain = [asked for asked in peer.asked if type(asked).__name__ == name]
    return [*plain, *(getattr(asked, kind) for asked in streamed if asked.HasField(kind))]  # type: ignore[arg-type]


def test_the_demo_draws_the_models_own_examples(peer: GatewayPeer, tmp_path: Path) -> None:
    made = asyncio.run(demo.show(peer.target, tmp_path, Sampling()))
    assert captions_of(peer) == sorted(TAUGHT.captions)
    [change] = each(peer, "text_diff")
    assert (change.before, change.after) == ("a flat emoji of a red apple", "a flat emoji of a green apple")
    assert made[0].name == "a-flat-emoji-of-a-red-apple.png"
    assert all(path.stat().st_size for path in made)


def test_and_others_where_it_gives_none(peer: GatewayPeer, tmp_path: Path) -> None:
    peer.vocabulary = None
    asyncio.run(demo.show(peer.target, tmp_path, Sampling()))
    assert captions_of(peer) == sorted(demo.CAPTIONS)
