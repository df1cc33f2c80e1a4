"""How commands end that cannot be done: one line, and an exit status that tells the kind of failure."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.rpc import code_pb2

from tests.unit.client_peer import GatewayPeer, invalid, overloaded, status
from unclip.cli import main

pytestmark = pytest.mark.usefixtures("called_peer")


def test_a_refused_request_is_one_line_that_names_the_field(
    peer: GatewayPeer, capsys: pytest.CaptureFixture[str]
) -> None:
    peer.fails = invalid(("generate.decoder.steps", "must be 1 to 1000; got 0"))

    assert main(["generate", "a cat", "--decoder-steps", "0"]) == 2

    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == "unclip: --decoder-steps: must be 1 to 1000; got 0\n"


def test_a_full_queue_says_when_to_try_again(peer: GatewayPeer, capsys: pytest.CaptureFixture[str]) -> None:
    peer.fails = overloaded(7)

    assert main(["generate", "a cat"]) == 3
    assert "try again in 7 s" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("code", "reason", "expected"),
    [
        (code_pb2.UNAVAILABLE, "STAGE_UNAVAILABLE", 3),
        (code_pb2.FAILED_PRECONDITION, "PRECONDITION_FAILED", 4),
        (code_pb2.PERMISSION_DENIED, "PERMISSION_DENIED", 4),
        (code_pb2.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", 5),
        (code_pb2.INTERNAL, "INTERNAL", 1),
    ],
)
def test_the_exit_status_tells_the_kind_of_failure(
    peer: GatewayPeer, code: int, reason: str, expected: int, capsys: pytest.CaptureFixture[str]
) -> None:
    peer.fails = status(code, reason, "as ordered")

    assert main(["info", "--timeout", "10"]) == expected
    assert capsys.readouterr().err.count("\n") == 1


def test_a_missing_file_is_one_line(peer: GatewayPeer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vary", "nowhere.png"]) == 2
    assert capsys.readouterr().err == "unclip: image: cannot read nowhere.png: No such file or directory\n"


def test_a_folder_that_cannot_be_made_fails_before_any_work(
    peer: GatewayPeer, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("out").write_text("in the way")

    assert main(["generate", "a cat"]) == 2
    assert peer.asked == []
    assert capsys.readouterr().err == "unclip: --out: cannot write into out: File exists\n"


def test_nothing_to_embed_is_a_mistake_in_the_arguments(peer: GatewayPeer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["embed"]) == 2
    assert "--caption" in capsys.readouterr().err


def test_a_checkpoint_that_is_not_there_is_one_line(peer: GatewayPeer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--checkpoint", "nowhere", "--port", "0"]) == 2
    assert "checkpoint nowhere is not a folder" in capsys.readouterr().err


def test_an_embedding_that_is_not_there_is_one_line(peer: GatewayPeer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "--embedding", "nowhere.npz"]) == 2
    assert capsys.readouterr().err == "unclip: --embedding: cannot read nowhere.npz: No such file or directory\n"
