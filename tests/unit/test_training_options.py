"""What the recipe's commands are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from training import loop
from training.presets import Preset


def test_there_is_nothing_to_keep_without_a_checkpoint(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    start = str(tiny_checkpoint)

    def chosen(*words: str) -> Preset:
        monkeypatch.setattr("sys.argv", ["training", "--preset", "smoke", *words])
        return loop.arguments("Trains.")[0]

    assert not chosen().keeps("clip")
    assert chosen("--start", start).keeps("clip")
    beginning = chosen("--start", start, "--keep", "upsampler")
    assert (beginning.keeps("clip"), beginning.keeps("upsampler")) == (False, True)
    with pytest.raises(SystemExit):
        chosen("--keep", "upsampler")
    assert "--keep needs --start" in capsys.readouterr().err
    assert chosen("--start", start, "--keep", "clip", "prior").keeps("prior")
    with pytest.raises(SystemExit):
        chosen("--start", start, "--keep", "prior")
    assert "needs clip" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        chosen("--start", "nowhere")
    assert "--start nowhere: checkpoint: no such folder" in capsys.readouterr().err


@pytest.mark.parametrize("said", ["0", "-1", "nan", "inf", "soon"])
def test_a_time_that_is_none_is_refused(
    said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["training", f"--minutes={said}"])
    with pytest.raises(SystemExit):
        loop.arguments("Trains.")
    assert f"argument --minutes: must be a number above 0; got {said}" in capsys.readouterr().err


@pytest.mark.parametrize("said", ["0", "-1", "1025", "two"])
def test_a_number_of_threads_that_is_none_is_refused(
    said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["training", f"--threads={said}"])
    with pytest.raises(SystemExit):
        loop.arguments("Trains.")
    assert f"argument --threads: must be 1 to 1024; got {said}" in capsys.readouterr().err
