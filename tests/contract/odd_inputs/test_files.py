"""Files as people have them: odd names, folders in the way, pipes, terminals of another time. No traceback."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from PIL import Image

from tests.contract.odd_inputs.conftest import Refused
from tests.unit.client_peer import GatewayPeer, picture
from unclip.cli import main
from unclip.cli.output import MAX_PART, file_name, slug
from unclip.client import ImageFile
from unclip.errors import InvalidRequest
from unclip.wire.images import MAX_BYTES, MAX_SIDE

NAMES = {
    "spaces": "my house .png",
    "a dash": "-house.png",
    "a line break": "my\nhouse.png",
    "an escape": "\x1b[2J\x1b]0;owned\x07.png",
    "an emoji": "\U0001f408.png",
    "no UTF-8": os.fsdecode(b"caf\xe9.png"),
    "other letters": "猫の家.png",
    "as long as it may be": "x" * 251 + ".png",
    "no letters": "....png",
    "no ending": "house",
    "a right-to-left turn": "a\u202egnp.exe.png",
}
CAPTIONS = {
    "long": "a very long caption " * 100,
    "one long word": "x" * 4000,
    "of many bytes": "猫" * 1000,
    "an emoji": "\U0001f408\u200d\U0001f469",
    "a path": "../../etc/passwd",
    "dots": "...",
    "a drive": "C:\\windows\\con",
    "signs": "*?\"<>|'`$(x);&",
    "half a character in bytes of its end": "x" * (MAX_PART - 1) + "é",
    "a dash before": "--force",
}


@pytest.mark.parametrize("case", NAMES)
def test_a_picture_may_have_any_name(peer: GatewayPeer, capsys: pytest.CaptureFixture[str], case: str) -> None:
    Path(NAMES[case]).write_bytes(picture(7))
    assert main(["vary", "--seed", "1", "--count", "2", "--", NAMES[case]]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all(line.isprintable() for line in lines)
    assert len(list(Path("out").iterdir())) == 3
    assert main(["embed", f"--image={NAMES[case]}"]) == 0
    assert capsys.readouterr().out.rstrip("\n").isprintable()
    assert main(["embed", f"--image={NAMES[case]}", "--json", "--out", "all.npz"]) == 0
    assert json.loads(capsys.readouterr().out)["embeddings"][0]["name"] == NAMES[case]


@pytest.mark.parametrize("case", NAMES)
def test_a_file_that_is_not_there_is_named_in_one_line(peer: GatewayPeer, refused: Refused, case: str) -> None:
    assert refused("vary", "--", NAMES[case]).startswith("unclip: image: cannot read ")
    assert refused("edit", "house.png", "a house", f"--mask={NAMES[case]}").startswith("unclip: --mask: cannot read ")


@pytest.mark.parametrize("case", CAPTIONS)
def test_a_caption_makes_a_name_that_every_system_takes(peer: GatewayPeer, case: str) -> None:
    assert main(["generate", "--seed", "1", "--", CAPTIONS[case]]) == 0
    [made] = Path("out").iterdir()
    assert made.name.startswith("generate-")
    assert made.name.endswith("1.png")
    assert len(os.fsencode(made.name)) < 80
    assert not set(made.name) & set("/\\:*?\"<>|'`$ ")


def test_a_name_is_cut_between_words() -> None:
    assert slug("A  flat emoji, of a red apple!") == "a-flat-emoji-of-a-red-apple"
    assert slug("a flat emoji of a red apple on a blue background") == "a-flat-emoji-of-a-red-apple-on-a-blue"
    assert slug("x" * 50) == "x" * MAX_PART
    assert file_name("edit", "house", "...", -3) == "edit-house--3"


@pytest.mark.parametrize("case", ["a file", "a file in the way", "a zero", "no room for names"])
def test_a_folder_that_cannot_be_written_is_told_before_anything_is_asked(
    peer: GatewayPeer, refused: Refused, case: str
) -> None:
    Path("file").write_text("in the way")
    out = {
        "a file": "file",
        "a file in the way": "file/out",
        "a zero": "a\0b",
        "no room for names": "x" * 300,
    }[case]
    for command in (["generate", "a cat"], ["vary", "house.png"], ["edit", "house.png", "a", "--pad", "3"]):
        assert refused(*command, "--out", out).startswith("unclip: --out: cannot write into ")
    assert peer.asked == []


def test_a_folder_in_which_no_file_can_be_made_is_told_before_anything_is_asked(
    peer: GatewayPeer, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(dir: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(dir))

    monkeypatch.setattr(tempfile, "TemporaryFile", denied)
    Path("out").mkdir()
    assert refused("generate", "a cat") == "unclip: --out: cannot write into out: Permission denied\n"
    assert peer.asked == []


@pytest.mark.parametrize(
    "command",
    [
        ["vary", "-"],
        ["text-diff", "-", "--after", "a dog", "--frames", "2"],
        ["interpolate", "house.png", "-", "--frames", "2"],
        ["edit", "-", "a house", "--pad", "4"],
        ["edit", "house.png", "a house", "--mask", "-"],
        ["embed", "--image", "-"],
    ],
)
def test_a_dash_is_standard_input(peer: GatewayPeer, monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(picture(9))))
    assert main(command) == 0
    [asked] = peer.asked
    assert "--pad" in command or picture(9) in asked.SerializeToString()


@pytest.mark.parametrize("sent", [b"", b"no picture", b"\0" * (MAX_BYTES + 1)])
def test_what_comes_on_standard_input_is_checked(
    peer: GatewayPeer, refused: Refused, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(sent)))
    assert refused("edit", "-", "a house", "--pad", "4").startswith("unclip: image: must ")
    assert refused("replay", "-").startswith("unclip: picture: must ")


def test_standard_input_is_one_file(peer: GatewayPeer, refused: Refused) -> None:
    for command in (["interpolate", "-", "-"], ["edit", "-", "a", "--mask", "-"], ["embed", "--image=-", "--image=-"]):
        assert refused(*command) == "unclip: -: standard input can be one file only; got it as 2\n"


@pytest.mark.parametrize("margins", ["30000", "4096", "0,0,4081,0", "9" * 400, "4000,4000,0,0", "2000"])
def test_a_canvas_larger_than_gateways_take_is_never_made(
    peer: GatewayPeer, refused: Refused, monkeypatch: pytest.MonkeyPatch, margins: str
) -> None:
    def new(mode: str, size: tuple[int, int], *more: object) -> Image.Image:
        raise AssertionError(f"a canvas of {size}")

    monkeypatch.setattr(Image, "new", new)
    assert refused("edit", "house.png", "a house", "--pad", margins).startswith(
        f"unclip: --pad: must make a picture of at most {MAX_SIDE}"
    )
    assert not Path("out").exists()
    assert peer.asked == []


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_a_terminal_that_has_no_emoji_gets_escapes(peer: GatewayPeer, encoding: str) -> None:
    Path("\U0001f408.png").write_bytes(picture(7))
    asked = ["embed", "--caption", "\U0001f408 猫 é", "--image", "\U0001f408.png"]
    for more in ([], ["--json"]):
        done = subprocess.run(
            [sys.executable, "-m", "unclip.cli", *asked, *more],
            env={**os.environ, "PYTHONIOENCODING": encoding},
            capture_output=True,
        )
        assert done.returncode == 0, done.stderr
        assert b"Traceback" not in done.stderr
        told = done.stdout.decode(encoding)
        assert not more or json.loads(told)["embeddings"][0]["name"] == "\U0001f408 猫 é"
        assert (b"\\U0001f408" in done.stdout) == (encoding != "utf-8" and not more)


@pytest.mark.parametrize("ending", [".webp", ".WEBP", ".png", ".bmp", ".tiff", ".jpg", ".gif", ".pdf", ""])
def test_a_picture_is_saved_as_its_ending_says(tmp_path: Path, ending: str) -> None:
    file = io.BytesIO()
    noise = Image.effect_noise((16, 16), 99).convert("RGB")
    noise.save(file, "PNG")
    image = ImageFile(file.getvalue(), "image/png", 16, 16)
    saved = image.save(tmp_path / f"x{ending}")
    if ending == ".pdf":
        assert saved.read_bytes().startswith(b"%PDF")
        return
    with Image.open(saved) as opened:
        same = opened.convert("RGB").tobytes() == noise.tobytes()
        assert same == (ending != ".jpg")
    assert ending not in ("", ".png") or saved.read_bytes() == image.data


@pytest.mark.parametrize("ending", [".xyz", ".txt", ".psd", ".pnng", ".x" * 20, ".\x1b[2J"])
def test_an_ending_of_no_picture_is_refused(tmp_path: Path, ending: str) -> None:
    image = ImageFile(picture(1), "image/png", 16, 16)
    with pytest.raises(InvalidRequest, match="path: must end with"):
        image.save(tmp_path / f"x{ending}")
    assert list(tmp_path.iterdir()) == []
