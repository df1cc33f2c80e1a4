"""A checkpoint whose decoder has a student: its folders, its fast way, and what is refused of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from decoder_svc.decoder import Decoder
from decoder_svc.networks import load, signature
from decoder_svc.upsampler import Upsampler
from tests.tiny import FAST, rewrite, seal
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.checkpoints.components import (
    DECODER_FOLDERS,
    STUDENT_FOLDERS,
)
from unclip.errors import CheckpointError
from unclip.networks.placement import Placement
from unclip.options import SamplingSettings
from unclip.serving.model_info import model_info

CPU = torch.device("cpu")
LEARNED = {"_class_name": "DDPMScheduler", "variance_type": "learned_range", "beta_schedule": "squaredcos_cap_v2"}


def say(folder: Path, file: str, **changed: object) -> None:
    """Has a configuration say something else, and unclip.json list it."""
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    seal(folder)


@pytest.fixture
def folder(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "copy"))


def test_a_students_folders_are_the_decoders_where_they_are_listed(taught_checkpoint: Path) -> None:
    checkpoint = Checkpoint.open(taught_checkpoint)
    assert checkpoint.components("decoder") == (*DECODER_FOLDERS, *STUDENT_FOLDERS)
    checkpoint.verify(checkpoint.components("decoder"))
    assert checkpoint.fast("decoder") == SamplingSettings("ddim", 4, 3.0)
    assert checkpoint.fast("upsampler") == SamplingSettings("ddpm", 1, 1.0)
    assert checkpoint.fast("prior") is None
    assert checkpoint.quality == "fast"


def test_a_student_is_part_of_its_decoders_version_and_of_no_other(
    tiny_checkpoint: Path, taught_checkpoint: Path
) -> None:
    without, taught = Checkpoint.open(tiny_checkpoint), Checkpoint.open(taught_checkpoint)

    def version(checkpoint: Checkpoint, stage: str) -> str:
        return checkpoint.version(checkpoint.components(stage))

    assert without.version(DECODER_FOLDERS) == taught.version(DECODER_FOLDERS) == version(without, "decoder")
    assert version(taught, "decoder") != version(without, "decoder")
    for stage in ("encoder", "prior", "upsampler"):
        assert version(taught, stage) == version(without, stage)


def test_a_student_that_nothing_says_the_settings_of_is_no_part_of_its_decoder(taught: Path) -> None:
    rewrite(taught, lambda manifest: [manifest.pop(name) for name in ("fast", "quality")])
    checkpoint = Checkpoint.open(taught)
    assert checkpoint.components("decoder") == DECODER_FOLDERS
    assert not Decoder(checkpoint, CPU).fast


def test_a_checkpoint_without_a_student_has_no_fast_way(tiny_checkpoint: Path) -> None:
    checkpoint = Checkpoint.open(tiny_checkpoint)
    assert (checkpoint.fast("decoder"), checkpoint.fast("upsampler"), checkpoint.quality) == (None, None, "standard")
    assert not Decoder(checkpoint, CPU).fast


@pytest.fixture
def taught(taught_checkpoint: Path, tmp_path: Path) -> Path:
    """A copy to damage of one with a student."""
    return Path(shutil.copytree(taught_checkpoint, tmp_path / "taught"))


@pytest.mark.parametrize(
    ("fast", "said"),
    [
        ([], "settings of decoder and upsampler alone"),
        ({"prior": {}}, "settings of decoder and upsampler alone"),
        ({"decoder": {"sampler": "ddim", "steps": 4}}, "fast of decoder are incomplete: .*guidance_scale"),
        ({"decoder": {"sampler": "ddim", "steps": 4.7, "guidance_scale": 3}}, "fast of decoder are out of range"),
        ({"decoder": {"sampler": "ddim", "steps": True, "guidance_scale": 3}}, "fast of decoder are out of range"),
        ({"decoder": {"sampler": "ddim", "steps": "4", "guidance_scale": 3}}, "fast of decoder are out of range"),
        ({"decoder": {**FAST["decoder"], "eta": 0.5}}, "fast of decoder are out of range"),
        ({"decoder": []}, "fast of decoder are incomplete"),
        ({"upsampler": FAST["upsampler"]}, "fast has settings of the upsampler, and none of the decoder"),
        ({"decoder": {"sampler": "euler", "steps": 4, "guidance_scale": 3}}, "fast of decoder are out of range"),
        ({"decoder": {"sampler": "ddim", "steps": 0, "guidance_scale": 3}}, "fast of decoder are out of range"),
        ({"decoder": {"sampler": "ddim", "steps": 4, "guidance_scale": 0.5}}, "fast of decoder are out of range"),
        ({"decoder": {"sampler": "ddim", "steps": 4, "guidance_scale": 9}}, "fast of decoder are out of range"),
    ],
)
def test_settings_of_a_fast_way_that_are_none_are_refused(taught: Path, fast: object, said: str) -> None:
    rewrite(taught, lambda manifest: manifest.update(fast=fast))
    with pytest.raises(CheckpointError, match=said):
        Decoder(Checkpoint.open(taught), CPU)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"quality": "best"}, "quality must be standard or fast; got 'best'"),
        ({"quality": ["fast"]}, "quality must be standard or fast"),
        ({"fast": {}}, "quality is fast, yet fast has no settings of the decoder"),
    ],
)
def test_a_quality_that_cannot_be_made_is_refused(taught: Path, told: dict[str, Any], said: str) -> None:
    rewrite(taught, lambda manifest: manifest.update(told))
    with pytest.raises(CheckpointError, match=said):
        model_info(Checkpoint.open(taught), (), "cpu", (), ())


def test_a_fast_way_without_a_student_is_refused(folder: Path, taught: Path) -> None:
    rewrite(folder, lambda manifest: manifest.update(fast=FAST))
    with pytest.raises(CheckpointError, match="fast names the decoder, which has no decoder_student"):
        Decoder(Checkpoint.open(folder), CPU)
    shutil.rmtree(taught / "decoder_student")
    with pytest.raises(CheckpointError, match=r"decoder_student is missing"):
        Decoder(Checkpoint.open(taught), CPU)


def test_a_fast_way_without_a_students_scheduler_is_refused(taught: Path) -> None:
    shutil.rmtree(taught / "decoder_student_scheduler")
    seal(taught)
    with pytest.raises(CheckpointError, match="fast names the decoder, which has no decoder_student_scheduler"):
        Decoder(Checkpoint.open(taught), CPU)


def test_a_student_whose_scheduler_has_fewer_timesteps_than_it_takes_steps_is_refused(taught: Path) -> None:
    say(taught, "decoder_student_scheduler/scheduler_config.json", num_train_timesteps=3)
    with pytest.raises(CheckpointError, match=r"decoder_student_scheduler/.*: num_train_timesteps .*, 4; got 3"):
        Decoder(Checkpoint.open(taught), CPU)


def test_an_upsampler_whose_scheduler_has_fewer_timesteps_than_its_fast_way_takes_steps_is_refused(
    taught: Path,
) -> None:
    say(taught, "super_res_scheduler/scheduler_config.json", num_train_timesteps=3)
    rewrite(taught, lambda manifest: manifest["fast"]["upsampler"].update(steps=4))
    with pytest.raises(CheckpointError, match=r"super_res_scheduler/.*: num_train_timesteps .*, 4; got 3"):
        Upsampler(Checkpoint.open(taught), CPU)


@pytest.mark.parametrize("name", ["decoder", "decoder_student"])
def test_a_network_without_the_variance_that_its_scheduler_takes_from_it_is_refused(taught: Path, name: str) -> None:
    say(taught, f"{name}_scheduler/scheduler_config.json", **LEARNED)
    say(taught, f"{name}/config.json", out_channels=3)
    with pytest.raises(CheckpointError, match=f"{name}/config.json: out_channels must be 6 where .*; got 3"):
        Decoder(Checkpoint.open(taught), CPU)


@pytest.mark.parametrize(
    ("name", "said"), [("class_embed_type", None), ("cross_attention_dim", 40), ("addition_embed_type", "image")]
)
def test_a_student_that_is_told_something_else_than_its_decoder_is_refused(
    taught: Path, name: str, said: object
) -> None:
    say(taught, "decoder_student/config.json", **{name: said})
    with pytest.raises(
        CheckpointError, match=rf"decoder_student/config\.json: {name} must be .*, as the decoder's; got"
    ):
        Decoder(Checkpoint.open(taught), CPU)


@pytest.mark.parametrize("channels", [2, 5])
def test_a_student_that_says_neither_pictures_nor_their_variance_is_refused(taught: Path, channels: int) -> None:
    say(taught, "decoder_student/config.json", out_channels=channels)
    with pytest.raises(CheckpointError, match=rf"out_channels must be 3, or 6 with a variance; got {channels}"):
        Decoder(Checkpoint.open(taught), CPU)


def test_a_student_walks_pictures_of_its_decoders_size_whatever_it_says_of_its_own(taught: Path) -> None:
    say(taught, "decoder_student/config.json", sample_size=8)
    checkpoint = Checkpoint.open(taught)
    walked = signature("decoder_student", checkpoint)
    assert walked.inputs[0].shape == walked.output.shape == signature("decoder", checkpoint).inputs[0].shape


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("time_cond_proj_dim", None, "time_cond_proj_dim must be 4 or more"),
        ("in_channels", 7, "in_channels must be 3; got 7"),
    ],
)
def test_a_student_of_another_shape_is_refused(taught: Path, field: str, value: object, said: str) -> None:
    say(taught, "decoder_student/config.json", **{field: value})
    with pytest.raises(CheckpointError, match=said):
        signature("decoder_student", Checkpoint.open(taught))
    with pytest.raises(CheckpointError, match=said):
        load("decoder_student", Checkpoint.open(taught), Placement(CPU))
