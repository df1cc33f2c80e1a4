"""What the command line writes: each picture when it is there, and nothing in another's place."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.unit.client_peer import GatewayPeer, invalid, overloaded, picture
from unclip.cli import main, report, terminal

PATIENCE_S = 60


pytestmark = pytest.mark.usefixtures("called_peer")


def names() -> list[str]:
    return sorted(path.name for path in Path("out").iterdir())


@pytest.mark.parametrize("as_json", [False, True])
def test_a_picture_is_there_before_the_next_and_stays_after_ctrl_c(peer: GatewayPeer, as_json: bool) -> None:
    peer.hangs = True
    command = [sys.executable, "-m", "unclip.cli", "generate", "a cat", "--count", "3", "--seed", "1"]
    command += ["--json"] if as_json else []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        end = time.monotonic() + PATIENCE_S
        made = Path("out/generate-a-cat-3.png")
        while not (made.exists() and made.read_bytes() == picture(3)):
            assert time.monotonic() < end
            time.sleep(0.02)
        assert running.poll() is None
        assert running.stdout is not None
        said = "" if as_json else running.stdout.readline()
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 130
    assert "unclip: interrupted\nunclip: 1 finished before that, and kept\n" in err
    assert names() == ["generate-a-cat-3.png"]
    if as_json:
        told = json.loads(out)
        assert told["error"]["reason"] == "INTERRUPTED"
        assert [image["path"] for image in told["images"]] == [str(made)]
    else:
        assert (said, out) == (f"{made}  seed 3\n", "")


def test_a_reader_that_leaves_ends_no_work(peer: GatewayPeer) -> None:
    command = [sys.executable, "-m", "unclip.cli", "generate", "a cat", "--count", "3", "--seed", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        running.stdout.close()
        assert running.wait(PATIENCE_S) == 0
    assert names() == ["generate-a-cat-1-sheet.png", *(f"generate-a-cat-{seed}.png" for seed in (1, 2, 3))]


def full_after(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk with room for so many files and a half."""
    write, full = os.write, [count]

    def into_little_room(handle: int, data: Any) -> int:
        if not full[0]:
            full[0] -= 1
            return write(handle, data[: len(data) // 2])
        if full[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        full[0] -= 1
        return write(handle, data)

    monkeypatch.setattr(os, "write", into_little_room)


def test_a_full_disk_leaves_what_is_whole(
    peer: GatewayPeer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    full_after(2, monkeypatch)
    assert main(["generate", "a cat", "--count", "4", "--seed", "1"]) == 1
    told = capsys.readouterr()
    assert "unclip: out/generate-a-cat-2.png: No space left on device\n" in told.err
    assert "unclip: 2 finished before that, and kept" in told.err
    assert names() == ["generate-a-cat-3.png", "generate-a-cat-4.png"]
    assert Path("out/generate-a-cat-3.png").read_bytes() == picture(3)


def test_pictures_before_a_failure_are_kept_and_listed(peer: GatewayPeer, capsys: pytest.CaptureFixture[str]) -> None:
    peer.fails_after = overloaded(7)
    assert main(["generate", "a cat", "--count", "4", "--seed", "1", "--json"]) == 3
    told = json.loads(capsys.readouterr().out)
    assert (told["error"]["reason"], told["error"]["retry_after"]) == ("OVERLOADED", 7)
    assert [image["seed"] for image in told["images"]] == [4]
    assert names() == ["generate-a-cat-4.png"]


def test_another_picture_of_the_name_stays_and_the_new_one_gets_a_number(
    peer: GatewayPeer, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("out").mkdir()
    Path("out/generate-a-cat-1.png").write_text("mine")
    for _ in range(2):  # what is there already is not written again
        assert main(["generate", "a cat", "--seed", "1"]) == 0
        assert capsys.readouterr().out == "out/generate-a-cat-1-2.png  seed 1\n"
    assert Path("out/generate-a-cat-1.png").read_text() == "mine"
    assert Path("out/generate-a-cat-1-2.png").read_bytes() == picture(1)
    assert names() == ["generate-a-cat-1-2.png", "generate-a-cat-1.png"]

    assert main(["generate", "a cat", "--seed", "1", "--force"]) == 0
    assert capsys.readouterr().out == "out/generate-a-cat-1.png  seed 1\n"
    assert Path("out/generate-a-cat-1.png").read_bytes() == picture(1)
    assert Path("out/generate-a-cat-1.png").stat().st_mode & 0o777 == Path("house.png").stat().st_mode & 0o777


def test_force_on_a_full_disk_keeps_what_was_there(peer: GatewayPeer, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("out").mkdir()
    Path("out/generate-a-cat-1.png").write_text("mine")
    full_after(0, monkeypatch)
    assert main(["generate", "a cat", "--seed", "1", "--force"]) == 1
    assert names() == ["generate-a-cat-1.png"]
    assert Path("out/generate-a-cat-1.png").read_text() == "mine"


def test_force_where_a_folder_has_the_name_leaves_nothing_beside(
    peer: GatewayPeer, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("out/generate-a-cat-1.png").mkdir(parents=True)
    assert main(["generate", "a cat", "--seed", "1", "--force"]) == 1
    assert capsys.readouterr().err == "unclip: out/generate-a-cat-1.png: Is a directory\n"
    assert names() == ["generate-a-cat-1.png"]


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("closed", [0, 1, 2])
def test_a_stream_that_nobody_opened_ends_no_work(peer: GatewayPeer, closed: int, as_json: bool) -> None:
    command = [sys.executable, "-m", "unclip.cli", "generate", "a cat", "--seed", "1", *(["--json"] if as_json else [])]
    shell = f'exec "$@" {closed}{"<" if closed == 0 else ">"}&-'
    ended = subprocess.run(["sh", "-c", shell, "sh", *command], capture_output=True, text=True, timeout=PATIENCE_S)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert bool(ended.stdout) == (closed != 1)
    assert names() == ["generate-a-cat-1.png"]


def test_an_answer_that_finds_no_room_is_one_line(
    peer: GatewayPeer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(result: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(report, "print_json", full)
    monkeypatch.setattr(terminal, "nobody_reads", lambda stream: None)
    assert main(["generate", "a cat", "--seed", "1", "--json"]) == 1
    said = "unclip: [Errno 28] No space left on device\nunclip: 1 finished before that, and kept\n"
    assert capsys.readouterr().err == said


def test_trajectories_of_other_captions_and_seeds_lie_side_by_side(peer: GatewayPeer) -> None:
    for after, seed in (("a dog", "1"), ("a dog", "2"), ("a bird", "1")):
        assert main(["text-diff", "house.png", "--after", after, "--frames", "2", "--seed", seed]) == 0
    assert len(names()) == 3 * 4
    assert "text-diff-house-a-dog-1-trajectory.webp" in names()
    assert "text-diff-house-a-bird-1-sheet.png" in names()


def test_an_earlier_canvas_stays(peer: GatewayPeer, capsys: pytest.CaptureFixture[str]) -> None:
    canvases = []
    for margin in ("4", "8", "4"):
        assert main(["edit", "house.png", "a house", "--pad", margin, "--json", "--seed", "1"]) == 0
        canvases.append(Path(json.loads(capsys.readouterr().out)["canvas"]))
    assert canvases[0] == canvases[2] != canvases[1]
    assert canvases[0].read_bytes() == peer.asked[0].edit.image.data  # type: ignore[attr-defined]
    assert canvases[1].read_bytes() == peer.asked[1].edit.image.data  # type: ignore[attr-defined]


def test_a_refused_edit_leaves_no_canvas(peer: GatewayPeer) -> None:
    peer.fails = invalid(("edit.caption", "must not be empty"))
    assert main(["edit", "house.png", "", "--pad", "4"]) == 2
    assert names() == []
