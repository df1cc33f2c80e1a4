"""The command line against a gateway's socket: files, words for people, JSON for programs, exit statuses."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.unit.client_peer import CHOSEN_SEED, GatewayPeer, picture, printed_json
from tests.unit.everything import EVERYTHING
from unclip.api.gateway.v1 import gateway_pb2
from unclip.api.type.v1 import notice_pb2, sampling_pb2
from unclip.cli import main
from unclip.client import Edit, Embedding, Interpolate, Sampling, TextDiff, load_embeddings, save_embeddings
from unclip.client.messages import stream_message

pytestmark = pytest.mark.usefixtures("called_peer")


def test_generate_writes_each_picture_and_says_where(
    peer: GatewayPeer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unclip.client.failover.secrets.randbelow", lambda seeds: CHOSEN_SEED)
    assert main(["generate", "a cat", "--count", "2"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines == [  # as they are finished
        *(f"out/generate-a-cat-{seed}.png  seed {seed}" for seed in (CHOSEN_SEED + 1, CHOSEN_SEED)),
        f"out/generate-a-cat-{CHOSEN_SEED}-sheet.png  contact sheet",
    ]
    assert Path(f"out/generate-a-cat-{CHOSEN_SEED}.png").read_bytes() == picture(CHOSEN_SEED)


@pytest.mark.parametrize(
    "command", [["generate", "a cat"], ["embed", "--caption", "a cat"]], ids=lambda words: words[0]
)
def test_what_is_to_be_known_of_an_answer_is_one_line_beside_it_or_a_field(
    peer: GatewayPeer, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    cut = notice_pb2.Notice(
        kind=notice_pb2.NOTICE_KIND_CAPTION_CUT, field="caption", parts=["so"], message="cut: so\x1b"
    )
    peer.notices = [cut]
    assert main(command) == 0
    told = capsys.readouterr()
    assert told.err.splitlines()[-1] == r"note: caption: cut: so\u001b"
    assert "note" not in told.out

    assert main([*command, "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["notices"] == [
        {"kind": "caption_cut", "field": "caption", "parts": ["so"], "message": "cut: so\x1b"}
    ]
    assert "note" not in told.err

    peer.notices = []
    assert main([*command, "--json"]) == 0
    assert printed_json(capsys)["notices"] == []


def test_a_sheet_of_variations_begins_with_the_picture(peer: GatewayPeer, house: Path) -> None:
    def width(command: list[str], sheet: str) -> int:
        assert main([*command, "--seed", "1", "--force"]) == 0
        with Image.open(f"out/{sheet}-1-sheet.png") as found:
            return found.width

    cells = {count: width(["generate", "a cat", "--count", str(count)], "generate-a-cat") for count in (2, 3)}
    assert width(["vary", str(house), "--count", "2"], f"vary-{house.stem}") == cells[3] > cells[2]


def test_a_single_picture_has_no_sheet(peer: GatewayPeer) -> None:
    assert main(["generate", "a cat"]) == 0
    assert len(list(Path("out").iterdir())) == 1


def test_generate_sends_what_was_said_and_no_more(peer: GatewayPeer) -> None:
    options = "--seed 5 --candidates 8 --prior-candidates 3 --prior-steps 9 --upsampler-steps 2"
    ddim = "--decoder-sampler ddim --decoder-eta 0.5 --decoder-guidance 4"

    assert main(["generate", "a cat", *options.split(), *ddim.split(), "--format", "webp"]) == 0

    sent = peer.streamed().generate
    assert (sent.seed, sent.prior_candidates, sent.prior.steps, sent.upsampler.steps) == (5, 3, 9, 2)
    assert sent.decoder == sampling_pb2.SamplingOptions(sampler=sampling_pb2.SAMPLER_DDIM, guidance_scale=4, eta=0.5)
    assert (sent.candidates, sent.format) == (8, gateway_pb2.IMAGE_FORMAT_WEBP)
    assert not sent.HasField("image_count")


@pytest.mark.parametrize("name", ["generate", "vary", "text_diff", "interpolate", "edit"])
def test_every_option_of_a_request_can_be_said(peer: GatewayPeer, house: Path, name: str) -> None:
    value = replace(EVERYTHING[name], **({"image": house} if name != "generate" else {}))  # type: ignore[arg-type]
    ends: dict[str, list[str]] = {
        "generate": ["a cat"],
        "text_diff": ["--before", "a cat", "--after", "a dog", "--theta", "0.5", "--frames", "2"],
        "interpolate": ["--caption", "a dog", "--frames", "2"],
        "edit": ["a cat", "--mask", str(house)],
    }
    flags: dict[str, str] = {"image_count": "count", "negative_caption": "negative", "report_psnr": "psnr"}
    said = [] if name == "generate" else [str(house)]
    said += ends.get(name, [])
    for field in fields(value):
        given = getattr(value, field.name)
        if isinstance(given, Sampling):
            for part, flag in (
                ("sampler", "sampler"),
                ("steps", "steps"),
                ("guidance_scale", "guidance"),
                ("eta", "eta"),
            ):
                if getattr(given, part) is not None and (field.name, part) != ("upsampler", "guidance_scale"):
                    said += [f"--{field.name}-{flag}", str(getattr(given, part))]
        elif given is True:
            said.append(f"--{flags.get(field.name, field.name)}")
        elif given is not None and given is not False and "help" in field.metadata:
            said += [f"--{flags.get(field.name, field.name).replace('_', '-')}", str(given)]

    assert main([name.replace("_", "-"), *said]) == 0

    expected = replace(value, upsampler=replace(value.upsampler, guidance_scale=None))
    if isinstance(expected, TextDiff):
        expected = replace(expected, thetas=(0, 0.5))
    elif isinstance(expected, Interpolate):
        expected = replace(expected, ts=(0, 1))
    elif isinstance(expected, Edit):
        expected = replace(expected, mask=house)
    assert peer.streamed() == stream_message(expected)


def test_json_tells_what_makes_each_picture_again(peer: GatewayPeer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "a cat", "--seed", "5", "--decoder-steps", "9", "--json"]) == 0

    [image] = printed_json(capsys)["images"]
    assert image["seed"] == 5
    assert image["recipe"]["generate"] == {
        "caption": "a cat",
        "seed": 5,
        "image_count": 1,
        "decoder": {"steps": 9},
        "format": "png",
        "negative_caption": "",
    }
    assert Path(image["path"]).exists()


def test_vary_sends_the_picture(peer: GatewayPeer, house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vary", str(house), "--eta", "0.25", "--start", "random", "--seed", "3", "--psnr"]) == 0

    sent = peer.streamed().vary
    assert sent.image.data == picture(7)
    assert (sent.eta, sent.start, sent.report_psnr) == (0.25, gateway_pb2.START_RANDOM, True)
    assert "inversion 31.5 dB" in capsys.readouterr().out
    assert Path("out/vary-house-3.png").exists()


@pytest.mark.parametrize("end", ["picture", "caption"])
def test_interpolate_writes_frames_an_animation_and_a_sheet(
    peer: GatewayPeer, capsys: pytest.CaptureFixture[str], tmp_path: Path, end: str
) -> None:
    for name in ("cat.png", "dog.png"):
        (tmp_path / name).write_bytes(picture(3))
    last = [str(tmp_path / "dog.png")] if end == "picture" else ["--caption", "a dog"]

    assert main(["interpolate", str(tmp_path / "cat.png"), *last, "--frames", "3", "--json"]) == 0

    asked = peer.streamed().interpolate
    assert list(asked.ts) == [0, 0.5, 1]
    assert asked.WhichOneof("to") == ("to_image" if end == "picture" else "to_caption")
    told = printed_json(capsys)
    assert Path(told["contact_sheet"]).exists()
    with Image.open(told["animation"]) as film:
        assert getattr(film, "n_frames", 1) == 4  # there and back
    assert [Path(image["path"]).exists() for image in told["images"]] == [True] * 3


def test_text_diff_writes_frames_an_animation_and_a_sheet(
    peer: GatewayPeer, house: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--before", "a house", "--after", "a modern house", "--frames", "3", "--seed", "1", "--json"]

    assert main(["text-diff", str(house), *arguments]) == 0

    assert list(peer.streamed().text_diff.thetas) == [0, 0.25, 0.5]
    told = printed_json(capsys)
    assert len(told["images"]) == 3
    with Image.open(told["animation"]) as film:
        assert getattr(film, "n_frames", 1) == 4
    assert Path(told["contact_sheet"]).exists()


def test_embed_tells_how_alike_things_are(peer: GatewayPeer, house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["embed", "--caption", "a cat", "--caption", "a cat", "--image", str(house)]

    assert main([*arguments, "--json", "--out", "vectors.npz"]) == 0

    told = printed_json(capsys)
    assert [row["name"] for row in told["embeddings"]] == ["a cat", "a cat", str(house)]
    assert told["cosines"][0][1] == pytest.approx(1)
    assert told["cosines"][0][2] < 0.999
    written = load_embeddings("vectors.npz")
    assert [len(written[name]) for name in ("a cat", str(house))] == [2, 1]
    assert written["a cat"][1].clip_space == told["clip_space"]
    assert written["a cat"][1].values.tolist() == told["embeddings"][1]["values"]

    assert main(arguments) == 0
    assert "1.000" in capsys.readouterr().out


def test_generate_paints_a_sum_of_embeddings(peer: GatewayPeer, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [Embedding(np.array(row, np.float32), "clip") for row in ([3, 4], [1, 0], [0, 9])]
    save_embeddings("vectors.npz", rows, ["a", "b", "c"])

    assert main(["generate", "--embedding", "vectors.npz", "--index", "0+1", "--json"]) == 0

    sent = peer.streamed().generate
    assert not sent.HasField("prior")
    assert (sent.caption, sent.embedding.clip_space) == ("", "clip")
    values = np.frombuffer(sent.embedding.values.data, "<f4")
    assert values == pytest.approx([5 / 2**0.5] * 2)
    [image] = printed_json(capsys)["images"]
    assert image["recipe"]["generate"]["embedding"] == {"values": values.tolist(), "clip_space": "clip"}


def test_info_says_what_the_stack_can_do(peer: GatewayPeer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    words = capsys.readouterr().out
    assert "generate, vary, text_diff, embed" in words
    assert "1,234,567 parameters" in words

    assert main(["info", "--json"]) == 0
    assert printed_json(capsys)["stages"][0]["defaults"]["sampler"] == "dpm++2m"
