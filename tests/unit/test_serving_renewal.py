"""A channel that has been succeeded closes with its last call, not before and not never."""

from __future__ import annotations

from pathlib import Path

from unclip.serving.files import Watched
from unclip.serving.renewal import Generations
from unclip.serving.tls import Material


def material(tmp_path: Path) -> Watched[Material]:
    file = tmp_path / "serial"
    file.write_text("1")
    return Watched([str(file)], lambda contents: Material(None, None, 0.0, int(contents[0])))


def test_a_succeeded_channel_closes_with_its_last_call(tmp_path: Path) -> None:
    closed: list[str] = []
    generations = Generations(material(tmp_path), lambda now: f"channel {now.serial}", closed.append)
    first, second = generations.enter(), generations.enter()
    assert (first.channel, second) == ("channel 1", first)
    (tmp_path / "serial").write_text("22")
    third = generations.enter()
    assert (third.channel, closed) == ("channel 22", [])
    first.leave()
    assert closed == []
    second.leave()
    assert closed == ["channel 1"]
    third.leave()
    assert closed == ["channel 1"]  # the latest stays open between calls


def test_an_idle_channel_closes_as_soon_as_it_is_succeeded(tmp_path: Path) -> None:
    closed: list[str] = []
    generations = Generations(material(tmp_path), lambda now: f"channel {now.serial}", closed.append)
    generations.enter().leave()
    (tmp_path / "serial").write_text("22")
    assert generations.latest().channel == "channel 22"
    assert closed == ["channel 1"]


def test_a_succeeded_channel_takes_no_call_that_looked_before_it_was(tmp_path: Path) -> None:
    closed: list[str] = []
    generations = Generations(material(tmp_path), lambda now: f"channel {now.serial}", closed.append)
    looked = generations.latest()
    (tmp_path / "serial").write_text("22")
    generations.latest()
    assert not looked.enter()
    assert generations.enter().channel == "channel 22"
