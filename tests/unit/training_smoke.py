"""The smoke preset, trained in seconds."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.unit.training_drawings import COLOURS, drawing
from training import presets
from training.all import run
from training.loop import OUT_OF_TIME
from training.pictures import Pair
from training.presets import PRESETS, Limits

PRESET = PRESETS["smoke"]


def drawn(concepts: set[str] | None, styles: tuple[str, ...], size: int, cache: Path) -> list[Pair]:
    """The preset's pictures without a package to draw them from."""
    return [drawing(label, style, size) for style in styles for label in COLOURS]


@dataclass(frozen=True)
class Trained:
    """Where a smoke run left checkpoint, judge and state, and how many commands it took."""

    checkpoint: Path
    judge: Path
    state: Path
    commands: int


def train(home: Path) -> Trained:
    """All stages from zero; every command is late, so that each does one step and the next goes on."""
    out = home / "checkpoints" / "emoji"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setattr(presets, "pairs", drawn)
        commands = 1
        while not (out / "unclip.json").exists():
            try:
                run(PRESET, out, Limits(until=time.monotonic()))
            except SystemExit as end:
                assert end.code == OUT_OF_TIME  # noqa: PT017
                commands += 1
    return Trained(out, out.with_name("judge"), home / PRESET.folder, commands)
