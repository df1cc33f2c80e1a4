"""A checkpoint with a student, served by the four processes: fast pictures by the command line, and made again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from unclip import Client, LocalStack
from unclip.cli import main

Say = Callable[..., Any]


@pytest.fixture(scope="module")
def taught(taught_checkpoint: Path) -> Iterator[LocalStack]:
    with LocalStack(taught_checkpoint, threads=1) as stack:
        yield stack


@pytest.fixture
def say(taught: LocalStack, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Say:
    """What a command answers in JSON."""

    def command(*words: str) -> Any:
        out = [] if words[0] == "info" else ["--out", str(tmp_path / words[0])]
        assert main([*words, "--server", taught.address, "--json", *out]) == 0
        return json.loads(capsys.readouterr().out)

    return command


@pytest.mark.parametrize(
    ("words", "quality", "steps"),
    [
        ([], "fast", (4, 1)),
        (["--quality", "fast", "--decoder-guidance", "2.6", "--upsampler-steps", "2"], "fast", (4, 2)),
        (["--quality", "standard"], "standard", (5, 3)),
        (["--negative", "a dog"], "standard", (5, 3)),
    ],
)
def test_a_picture_says_its_quality_and_is_made_again_byte_for_byte(
    say: Say, words: list[str], quality: str, steps: tuple[int, int]
) -> None:
    [made] = say("generate", "a cat", "--seed", "3", *words)["images"]
    recipe = made["recipe"]["generate"]
    assert (recipe["quality"], recipe["decoder"]["steps"], recipe["upsampler"]["steps"]) == (quality, *steps)
    assert say("replay", made["path"])["identical"]


def test_the_model_says_which_quality_it_has_and_how_fast_it_is(
    say: Say, taught: LocalStack, capsys: pytest.CaptureFixture[str]
) -> None:
    told = say("info")
    assert told["quality"] == "fast"
    [decoder] = [stage for stage in told["stages"] if stage["stage"] == "decoder"]
    assert decoder["fast"] == {"sampler": "ddim", "steps": 4, "guidance_scale": 3.0, "eta": 0.0}
    assert main(["info", "--server", taught.address]) == 0
    lines = capsys.readouterr().out
    assert "quality     fast where nothing else is asked for" in lines
    assert "; fast sampler ddim, steps 4, guidance_scale 3.0" in lines


def test_what_a_student_cannot_do_is_said_in_the_words_of_the_command_line(
    taught: LocalStack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["generate", "a cat", "--quality", "fast", "--decoder-steps", "9", "--out", str(tmp_path)]
    assert main([*words, "--server", taught.address]) == 2
    assert "--decoder-steps: must be unset or 4 with fast; got 9" in capsys.readouterr().err


def test_edits_and_variations_are_the_decoders_own(taught: LocalStack) -> None:
    with Client(taught.address) as client:
        [made] = client.generate("a cat", seed=3)
        [varied] = client.vary(made.data, seed=4)
    assert (varied.recipe.decoder.steps, varied.recipe.upsampler.steps) == (5, 3)
