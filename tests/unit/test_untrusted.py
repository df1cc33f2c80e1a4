"""JSON of strangers ends in one line, however it is made."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from decoder_svc.decoder import Decoder
from encoder_svc.encoder import Encoder
from prior_svc.prior import Prior
from unclip.checkpoints import convert
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.checkpoints.untrusted import MAX_BYTES, MAX_DEPTH, read_json
from unclip.cli import main
from unclip.errors import CheckpointError, ConfigurationError
from unclip.serving.keys import parse_keys
from unclip.wire.recipe_text import png_info

DEEP = "[" * 100_000 + "]" * 100_000
DEEPER_THAN_OURS = '{"a":' * 300 + "1" + "}" * 300


@pytest.mark.parametrize("text", [DEEP, DEEPER_THAN_OURS, "[" * 100_000, "", "{", "\ud800", b"\xff", "9" * 5000])
def test_what_cannot_be_read_is_one_kind_of_error(text: str | bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (any: it is the caller who says what the text was)
        read_json(text)


def test_a_file_that_might_never_end_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "unclip.json")
    with pytest.raises(CheckpointError, match="no regular file"):
        Checkpoint.open(tmp_path)


def test_a_file_that_is_far_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "unclip.json").open("wb") as handle:
        handle.truncate(1 << 40)  # of holes
    with pytest.raises(CheckpointError, match=f"more than {MAX_BYTES} bytes"):
        Checkpoint.open(tmp_path)


def test_json_of_usual_depth_is_read() -> None:
    deepest = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert json.dumps(read_json(deepest)) == deepest


@pytest.mark.parametrize("text", [DEEP, DEEPER_THAN_OURS])
@pytest.mark.parametrize("name", ["unclip.json", "model_index.json"])
def test_the_command_line_refuses_a_checkpoint_that_is_nested_too_deeply(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / name).write_text(text)
    monkeypatch.setattr(sys, "argv", ["convert", str(tmp_path / "source"), str(tmp_path / "made")])
    assert convert.main() == 2
    said = capsys.readouterr().err
    assert said.startswith("unclip: checkpoint: ")
    assert said.count("\n") == 1
    assert len(said) < 500


@pytest.mark.parametrize("text", [DEEP[:5000], DEEPER_THAN_OURS, '{"unclip_recipe":1,"recipe":' + "[" * 5000])
def test_the_command_line_refuses_a_recipe_that_is_nested_too_deeply(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png", pnginfo=png_info(text))
    assert main(["replay", str(tmp_path / "x.png")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("unclip: picture: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize("text", ['{"keys":' * 300, "{" * 100_000, "keys = " + "[" * 100_000])
def test_keys_that_are_nested_too_deeply_are_no_keys(text: str) -> None:
    with pytest.raises(ConfigurationError, match="API keys must be in TOML or JSON"):
        parse_keys([text.encode()])


@pytest.mark.parametrize(
    ("file", "load"),
    [
        ("prior/config.json", Prior),
        ("prior_scheduler/scheduler_config.json", Prior),
        ("decoder/config.json", Decoder),
        ("text_encoder/config.json", Encoder),
        ("tokenizer/tokenizer_config.json", Encoder),
        ("feature_extractor/preprocessor_config.json", Encoder),
    ],
)
def test_a_component_that_is_nested_too_deeply_does_not_load(
    tiny_checkpoint: Path, tmp_path: Path, file: str, load: Callable[..., Any]
) -> None:
    copy = Path(shutil.copytree(tiny_checkpoint, tmp_path / "copy"))
    manifest = json.loads((copy / "unclip.json").read_text())
    (copy / file).write_text(DEEP)
    manifest["files"].pop(file)
    (copy / "unclip.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError):
        load(Checkpoint.open(copy), torch.device("cpu"))
