"""A channel that has been succeeded closes with its last call, not before and not never."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from unclip.serving.files import Watched
from unclip.serving.renewal import Generations
from unclip.serving.tls import Material


def material(tmp_path: Path) -> Callable[[], Material]:
    file = tmp_path / "serial"
    file.write_text("1")
    watched = Watched([str(file)], lambda contents: Material(None, None, 0.0, int(contents[0])))
    return lambda: watched.value


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


def test_a_channel_that_reaches_nobody_for_a_while_is_succeeded(monkeypatch: pytest.MonkeyPatch) -> None:
    now, lost, closed, numbers = [0.0], set[int](), list[int](), count()
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    generations = Generations(lambda: None, lambda _: next(numbers), closed.append, lambda channel: channel in lost)

    def channel(at: float) -> int:
        now[0] = at
        return generations.latest().channel

    lost.add(0)
    assert [channel(0), channel(4.9)] == [0, 0]
    lost.clear()
    assert channel(5) == 0  # it has been found in time
    lost.add(0)
    assert [channel(6), channel(10.9), channel(11)] == [0, 0, 1]
    assert (channel(100), closed) == (1, [0])
