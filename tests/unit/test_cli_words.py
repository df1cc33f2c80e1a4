"""What the command line says: its own words in errors, JSON for programs, and nothing that steers terminals."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
from pathlib import Path

import pytest
from google.rpc import code_pb2

from tests.unit.client_peer import GatewayPeer, invalid, overloaded, status
from unclip.checkpoints import untrusted
from unclip.cli import main
from unclip.cli.arguments import parser
from unclip.cli.parsing import Parser
from unclip.cli.requests import dests, flag_of, in_flags
from unclip.client import Generate, GeneratedImage, ImageFile, Preview, Sampling
from unclip.client.values import KINDS
from unclip.errors import FieldViolation, InvalidRequest
from unclip.wire.by_name import wire_name

ESCAPE = "\x1b[2J\x1b]0;owned\x07\x9b1m\u202e\nunclip: all is well"


pytestmark = pytest.mark.usefixtures("called_peer")


def commands(of: argparse.ArgumentParser | None = None) -> dict[str, Parser]:
    """Every command, by name."""
    found = {}
    for action in (of or parser())._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                found[name] = command
                found.update({f"{name} {inner}": each for inner, each in commands(command).items()})
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_of_a_request_is_called_by_its_flag(kind: str) -> None:
    command = commands()[kind.replace("_", "-")]
    flags = {name: action.option_strings for action in command._actions for name in dests(action)}
    for field in dataclasses.fields(KINDS[kind]):
        if field.name in ("ts", "_"):  # always what is legal
            continue
        if isinstance(field.default, Sampling):
            for part in dataclasses.fields(Sampling):
                if (dest := f"{field.name}_{part.name}") in flags:
                    for path in (f"{kind}.{field.name}.{part.name}", f"{field.name}.{part.name}"):
                        assert flag_of(path, command) == flags[dest][0]
        else:
            expected = flags[field.name][0] if flags[field.name] else {"to": "to-image"}.get(field.name, field.name)
            for path in (f"{kind}.{wire_name(field)}", field.name, f"{kind}.{wire_name(field)}.data"):
                assert flag_of(path, command) == expected


def test_of_values_that_one_option_stands_for_one_is_told() -> None:
    frames = [FieldViolation(f"thetas[{i}]", f"must be 0 to 1; got {0.4 * i:g}") for i in range(3, 6)]
    error = InvalidRequest([*frames, FieldViolation("thetas", "must be many"), FieldViolation("before", "is empty")])
    told = in_flags(error, commands()["text-diff"])
    assert [(each.field, each.description) for each in told.violations] == [
        ("--theta", "must be 0 to 1; got 2"),
        ("--theta", "must be many"),
        ("--before", "is empty"),
    ]


def test_a_description_is_in_words_of_the_command_line() -> None:
    command = commands()["interpolate"]
    error = InvalidRequest.of("interpolate.to", "must be to_image or to_caption, SAMPLER_DPMPP_2M or some_other_word")
    assert str(in_flags(error, command)) == "to-image: must be to-image or --caption, dpm++2m or some_other_word"
    assert flag_of("request", command) == "request"
    assert flag_of("interpolate.prior", command) == "--prior-*"
    assert flag_of("captions[1]", commands()["embed"]) == "--caption (number 2)"


def test_every_help_has_examples_that_can_be_said(capsys: pytest.CaptureFixture[str]) -> None:
    for name, command in {"": parser(), **commands()}.items():
        told = command.format_help()
        assert "examples:\n  unclip " in told, name
        lines = [line for line in told.partition("examples:")[2].splitlines() if line.startswith("  ")]
        for line in lines:
            words = shlex.split(line.split("| ")[-1].split(" >>")[0])
            assert words[0] == "unclip"
            if words[-1] != "--help":
                parser().parse_args(words[1:])
    with pytest.raises(SystemExit) as left:
        main(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out.startswith("unclip ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["generate", "a", "--count", "x"],
        ["generate", "a", "--nonsense"],
        ["generate", "a", "--timeout", "nan"],
        ["vary", "nowhere.png"],
        ["text-diff", "house.png"],
        ["interpolate", "house.png", "nowhere.png"],
        ["edit", "house.png", "a", "--pad", "9999"],
        ["replay", "house.png"],
        ["embed"],
        ["info", "--timeout", "0"],
        ["keys", "new", "not a name"],
        ["doctor", "--stage", "x", "--remote-only"],
        ["generate", "a", "--out", "house.png"],
        ["generate", "a", "--tls-cert", "x"],
    ],
)
def test_every_command_says_its_errors_as_json(
    peer: GatewayPeer, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    try:
        code: object = main([*arguments, "--json"])
    except SystemExit as left:
        code = left.code
    assert code == 2
    told = capsys.readouterr()
    error = json.loads(told.out)["error"]
    assert error["exit_status"] == 2
    assert error["reason"] in ("USAGE", "INVALID_REQUEST", "CONFIGURATION")
    assert error["message"] in told.err
    assert error["reason"] != "INVALID_REQUEST" or error["violations"][0].keys() == {"field", "description"}


def test_json_errors_have_what_the_server_said(peer: GatewayPeer, capsys: pytest.CaptureFixture[str]) -> None:
    def said() -> dict[str, object]:
        assert main(["generate", "a cat", "--json"]) > 0
        error: dict[str, object] = json.loads(capsys.readouterr().out)["error"]
        return error

    peer.fails = overloaded(7)
    assert said()["retry_after"] == 7
    peer.fails = invalid(("generate.caption", "must not be empty"), ("generate.image_count", "must be 1 to 16; got 0"))
    error = said()
    assert len(str(error["request_id"])) == 32
    assert error["violations"] == [
        {"field": "caption", "description": "must not be empty"},
        {"field": "--count", "description": "must be 1 to 16; got 0"},
    ]
    peer.stop()
    error = said()
    assert (error["reason"], error["stage"], error["exit_status"]) == ("STAGE_UNAVAILABLE", "gateway", 3)


@pytest.mark.parametrize("code", [code_pb2.INTERNAL, code_pb2.UNAVAILABLE, code_pb2.FAILED_PRECONDITION])
def test_a_server_does_not_steer_the_terminal(peer: GatewayPeer, capsys: pytest.CaptureFixture[str], code: int) -> None:
    peer.fails = status(code, "INTERNAL", ESCAPE)
    assert main(["info"]) > 0
    told = capsys.readouterr().err.splitlines()
    [line] = [line for line in told if line.startswith("unclip: ")]
    assert line.isprintable()
    assert "\\u001b" in line


@pytest.mark.parametrize("key", ["secret\r", "secret\n", "sécret", "secret\x1b[2J"])
def test_a_key_that_no_header_takes_is_one_line_without_the_key(
    peer: GatewayPeer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    monkeypatch.setenv("UNCLIP_API_KEY", key)
    assert main(["info"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("unclip: --api-key: must be a text of printable ASCII; got U+00")
    assert "cret" not in told
    assert told.count("\n") == 1


def test_a_certificate_without_end_is_one_line(
    peer: GatewayPeer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(untrusted, "MAX_BYTES", 1000)
    Path("ca.pem").write_bytes(b"-" * 1001)
    assert main(["info", "--tls-ca", "ca.pem"]) == 2
    assert capsys.readouterr().err == "unclip: ca.pem cannot be read: it has more than 1000 bytes\n"


@pytest.mark.parametrize("option", ["--negative", "--api-key", "--out"])
def test_two_dashes_behind_an_option_are_its_value(peer: GatewayPeer, option: str) -> None:
    assert main(["generate", "a cat", f"{option}=--"]) == 0


def test_ctrl_c_before_a_command_is_known_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(self: Parser, *given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Parser, "parse_args", interrupted)
    assert main(["info"]) == 130
    assert capsys.readouterr().err == "unclip: interrupted\n"


def test_printing_a_picture_prints_one_line() -> None:
    image = (b"\0" * 10**6, "image/png", 16, 16)
    made = GeneratedImage(*image, image_index=1, seed=3, model_version="v", recipe=Generate("a"))
    for each in (ImageFile(*image), Preview(*image, image_index=1), made, [made]):
        assert len(str(each)) < 120
        assert "\n" not in str(each)
    assert "seed 3" in repr(made)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["generate", "a", "red", "apple"], "unrecognized arguments: red apple; text of several words needs quotes"),
        (["generate", "a", "--n", "4"], "unrecognized arguments: --n 4"),
        (["generate", "a", "--image_count", "4"], "--image_count 4; there is --count"),
        (["generate", "a", "--steps", "4"], "there is --decoder-steps and --upsampler-steps and --prior-steps"),
        (["vary", "x.png", "--letterbocks"], "unrecognized arguments: --letterbocks; see unclip vary --help"),
        (["vary", "x.png", "--ouut=x"], "unrecognized arguments: --ouut=x; there is --out"),
        (["embed", "a cat"], "unrecognized arguments: a cat; there is --caption"),
        (["interpolate", "x.png"], "one of the arguments to-image --caption is required"),
        (["info", "--server", "http://localhost:50050"], "unclip: --server: a target must be host:port"),
        (["edit", "x.png"], "the following arguments are required: caption; see unclip edit --help"),
        ([], "the following arguments are required: COMMAND; see unclip --help"),
    ],
)
def test_who_mistypes_is_told_what_there_is(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    try:
        code: object = main(arguments)
    except SystemExit as left:
        code = left.code
    assert code == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1


def test_a_folder_that_is_called_as_a_picture_is_a_misunderstanding(
    peer: GatewayPeer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", "a cat", "--out", "cat.png"]) == 2
    assert "--out: must be a folder, in which each picture gets a name; got cat.png" in capsys.readouterr().err
    assert peer.asked == []
