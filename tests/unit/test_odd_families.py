"""Repositories of latent families that something is wrong with: one line that names it, at start, and no traceback."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from decoder_svc.app import build
from decoder_svc.settings import Settings
from tests.kandinsky import DECODER, PRIOR, make_tiny_kandinsky
from tests.karlo import DIFFUSERS
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.checkpoints.convert import convert
from unclip.errors import CheckpointError


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The prior's repository and the decoder's, side by side; do not write into them."""
    return make_tiny_kandinsky(tmp_path_factory.mktemp("odd"))[:2]


@pytest.fixture
def decoder(halves: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of the decoder's, beside the prior's."""
    for half in halves:
        shutil.copytree(half, tmp_path / half.name)
    return tmp_path / DECODER


def refusal(decoder: Path) -> str:
    """What its service says when it is started."""
    with pytest.raises(CheckpointError) as found:
        asyncio.run(build(Settings(checkpoint=str(decoder), device="cpu", threads=1)))
    return str(found.value)


@pytest.mark.parametrize(
    ("file", "change", "told"),
    [
        ("unet", {"sample_size": None}, "decoder does not load"),
        ("unet", {"sample_size": 0}, "decoder does not load"),
        ("unet", {"in_channels": 5}, "in_channels must be 4, or 9 .*; got 5"),
        ("movq", {"latent_channels": None}, "does not load"),
        ("movq", {"block_out_channels": [32, 64]}, "does not load"),
        ("movq", {"scaling_factor": 0}, "scaling_factor must be more than 0; got 0"),
        ("movq", {"_class_name": "AutoencoderTiny"}, "autoencoder must be one of AutoencoderKL, VQModel"),
    ],
)
def test_configs_that_do_not_fit_are_told_in_a_line(
    decoder: Path, file: str, change: dict[str, Any], told: str
) -> None:
    path = decoder / file / "config.json"
    config = {**json.loads(path.read_text()), **change}
    path.write_text(json.dumps({name: value for name, value in config.items() if value is not None}))
    said = refusal(decoder)
    assert "\n" not in said
    assert re.search(told, said), said


def test_what_makes_no_numbers_does_not_start(decoder: Path) -> None:
    file = decoder / "unet" / DIFFUSERS
    save_file({name: torch.full_like(value, torch.nan) for name, value in load_file(file).items()}, file)
    assert "its trial run made no numbers" in refusal(decoder)


def test_a_lost_component_is_named_and_not_converted_away(decoder: Path, tmp_path: Path) -> None:
    shutil.rmtree(decoder / "movq")
    with pytest.raises(CheckpointError, match="movq is missing"):
        convert(str(decoder), tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_halves_are_known_by_their_folders_names(halves: tuple[Path, Path], tmp_path: Path) -> None:
    alone = shutil.copytree(halves[1], tmp_path / DECODER)
    with pytest.raises(CheckpointError, match=f"no encoder: .*put {PRIOR} beside it, called so"):
        _ = Checkpoint.open(alone).clip_space
    shutil.copytree(halves[1], tmp_path / PRIOR)  # the same half again
    with pytest.raises(CheckpointError, match="no encoder"):
        _ = Checkpoint.open(alone).for_stage("encoder")
    renamed = shutil.copytree(halves[0], tmp_path / "my-prior")
    with pytest.raises(CheckpointError, match="call both halves' folders as they were published"):
        Checkpoint.open(renamed).for_stage("decoder")
