"""Folders whose parts are replaced together."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from training.replacing import put_back, replacing, require_whole

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


FIRST = {"a": "first", "b": "first", "seal": "first", "mine": "mine"}
AFTER = {**FIRST, "a": "second", "b": "second", "seal": "second"}


def failing(monkeypatch: pytest.MonkeyPatch, at: int, error: BaseException, moved: bool = False) -> None:
    """The move ``at`` that place fails, or is done and ends the run all the same."""
    moves: list[Path] = []

    def rename(path: Path, to: Path) -> Path:
        moves.append(path)
        if len(moves) == at + 1 and not moved:
            raise error
        found = rename_indeed(path, to)
        if len(moves) == at + 1:
            raise error
        return found

    monkeypatch.setattr(Path, "rename", rename)


@pytest.mark.parametrize("error", [OSError("no more"), KeyboardInterrupt(), SystemExit(3), MemoryError()])
@pytest.mark.parametrize("at", range(7))
def test_where_a_move_fails_everything_stays(
    at: int, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path, "first")
    (tmp_path / "mine").write_text("mine")
    failing(monkeypatch, at, error)
    with pytest.raises(type(error)):
        made(tmp_path, "second")
    assert content(tmp_path) == FIRST


@pytest.mark.parametrize("at", range(7))
def test_a_run_that_ends_between_two_moves_has_replaced_all_or_nothing(
    at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path, "first")
    (tmp_path / "mine").write_text("mine")
    failing(monkeypatch, at, KeyboardInterrupt(), moved=True)
    with pytest.raises(KeyboardInterrupt):
        made(tmp_path, "second")
    assert content(tmp_path) == (AFTER if at == 6 else FIRST)


@pytest.mark.parametrize("at", range(4))
def test_where_there_was_nothing_before_nothing_stays_of_what_failed(
    at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, at, OSError("no more"))
    with pytest.raises(OSError, match="no more"):
        made(tmp_path, "first")
    assert not content(tmp_path)


def killed(folder: Path, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that replaces and is killed after so many moves: it puts nothing back and clears nothing up."""
    with monkeypatch.context() as patch:
        failing(patch, at, KeyboardInterrupt())
        puts = iter([put_back])  # the first clears up before, the last would after
        patch.setattr("training.replacing.put_back", lambda *these: next(puts, lambda *_: None)(*these))
        with pytest.raises(KeyboardInterrupt):
            made(folder, "second")
    assert list(folder.glob(".new-*"))


@pytest.mark.parametrize("at", range(7))
def test_what_a_killed_run_left_is_put_back_before_anything_is_begun(
    at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path, "first")
    (tmp_path / "mine").write_text("mine")
    killed(tmp_path, at, monkeypatch)
    for cut in range(8):  # nor does it matter where that is killed in turn
        with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
            failing(patch, cut, KeyboardInterrupt())
            require_whole(tmp_path, PARTS, SEAL)
    assert content(tmp_path) == FIRST


def test_an_export_that_fails_after_one_that_was_killed_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path, "first")
    (tmp_path / "mine").write_text("mine")
    killed(tmp_path, 5, monkeypatch)
    with pytest.raises(OSError, match="disk full"), replacing(tmp_path, PARTS, SEAL):
        raise OSError("disk full")
    assert content(tmp_path) == FIRST


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


def test_what_others_put_where_parts_belong_is_refused_whatever_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("mine")
    for left in (".new-left", ".new-left/old"):
        (tmp_path / left).mkdir(parents=True)
        with pytest.raises(RuntimeError, match="has a and no seal: whatever that is, it is not replaced"):
            require_whole(tmp_path, PARTS, SEAL)
    assert content(tmp_path) == {"a": "mine"}


def test_looking_leaves_no_folder_behind(tmp_path: Path) -> None:
    require_whole(tmp_path / "not" / "there", PARTS, SEAL)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RuntimeError, match="cannot be written"):
        require_whole(tmp_path / "file" / "in", PARTS, SEAL)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
