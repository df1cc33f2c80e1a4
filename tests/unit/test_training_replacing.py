"""Folders whose parts are replaced together."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from training.replacing import replacing, require_whole

PARTS, SEAL = ("a", "b"), "seal"
rename_indeed = Path.rename


def made(folder: Path, text: str) -> None:
    with replacing(folder, PARTS, SEAL) as new:
        for name in (*PARTS, SEAL):
            (new / name).write_text(text)


def content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_parts_take_the_places_of_those_before_and_the_rest_stays(tmp_path: Path) -> None:
    made(tmp_path, "first")
    (tmp_path / "mine").write_text("mine")
    made(tmp_path, "second")
    assert content(tmp_path) == {"a": "second", "b": "second", "seal": "second", "mine": "mine"}
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir() if path.name in PARTS} == {0o644}


def test_whatever_lies_in_a_parts_place_is_replaced(tmp_path: Path) -> None:
    made(tmp_path / "folder", "first")
    (tmp_path / "folder" / "a").unlink()
    (tmp_path / "folder" / "a").mkdir()
    (tmp_path / "folder" / "b").unlink()
    (tmp_path / "elsewhere").write_text("mine")
    (tmp_path / "folder" / "b").symlink_to(tmp_path / "elsewhere")
    made(tmp_path / "folder", "second")
    assert content(tmp_path / "folder") == {"a": "second", "b": "second", "seal": "second"}
    assert (tmp_path / "elsewhere").read_text() == "mine"


@pytest.mark.parametrize("at", range(6))
def test_where_a_move_fails_everything_stays(at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path, "first")
    (tmp_path / "mine").write_text("mine")
    moves = []

    def rename(path: Path, to: Path) -> None:
        moves.append(path)
        if len(moves) == at + 1:
            raise OSError("no more")
        rename_indeed(path, to)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(OSError, match="no more"):
        made(tmp_path, "second")
    assert content(tmp_path) == {"a": "first", "b": "first", "seal": "first", "mine": "mine"}


def test_sigterm_waits_until_all_is_in_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path, "first")

    def rename(path: Path, to: Path) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        rename_indeed(path, to)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(SystemExit) as end:
        made(tmp_path, "second")
    assert end.value.code == 143
    assert content(tmp_path) == {"a": "second", "b": "second", "seal": "second"}


def test_what_others_put_where_parts_belong_is_refused_and_what_a_killed_run_left_is_not(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("mine")
    with pytest.raises(RuntimeError, match="has a and no seal: whatever that is, it is not replaced"):
        require_whole(tmp_path, PARTS, SEAL)
    (tmp_path / ".new-left" / "old").mkdir(parents=True)
    require_whole(tmp_path, PARTS, SEAL)
    made(tmp_path, "second")
    assert content(tmp_path) == {"a": "second", "b": "second", "seal": "second"}
