"""Checkpoint folders: opened, verified, and refused with a sentence that names what is wrong."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from safetensors.torch import load_file
from transformers import CLIPTextModelWithProjection

from decoder_svc.decoder import Decoder
from decoder_svc.text_projection import TextProjection
from decoder_svc.upsampler import Upsampler
from encoder_svc.encoder import Encoder
from prior_svc.prior import Prior
from tests.tiny import WIDTH, make_tiny_checkpoint, rewrite
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.checkpoints.components import (
    DECODER_FOLDERS,
    ENCODER_FOLDERS,
    OPTIONAL_FOLDERS,
    PRIOR_FOLDERS,
    UPSAMPLER_FOLDERS,
)
from unclip.checkpoints.manifest import clip_space_of, write_manifest
from unclip.errors import CheckpointError
from unclip.options import SamplingSettings

EVERY_FOLDER = (*ENCODER_FOLDERS, *PRIOR_FOLDERS, *DECODER_FOLDERS, *UPSAMPLER_FOLDERS, *OPTIONAL_FOLDERS)
CPU = torch.device("cpu")


@pytest.fixture
def folder(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "copy"))


def test_a_whole_checkpoint_verifies(tiny_checkpoint: Path) -> None:
    Checkpoint.open(tiny_checkpoint).verify(EVERY_FOLDER)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no such folder: .*nowhere"):
        Checkpoint.open(tmp_path / "nowhere")


def test_a_file_is_no_checkpoint(tiny_checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        Checkpoint.open(tiny_checkpoint / "unclip.json")


@pytest.mark.parametrize("component", EVERY_FOLDER)
def test_a_missing_component_is_named(folder: Path, component: str) -> None:
    shutil.rmtree(folder / component)
    with pytest.raises(CheckpointError, match=f"{component} is missing"):
        Checkpoint.open(folder).verify([component])


def test_each_service_minds_its_own_folders_only(folder: Path) -> None:
    for name in set(EVERY_FOLDER) - set(PRIOR_FOLDERS):
        shutil.rmtree(folder / name)
    Checkpoint.open(folder).verify(PRIOR_FOLDERS)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "prior" / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"prior/config\.json is missing"):
        Checkpoint.open(folder).verify(PRIOR_FOLDERS)


@pytest.mark.parametrize("file", ["prior/diffusion_pytorch_model.safetensors", "prior/config.json"])
def test_an_altered_file_is_named_with_both_digests(folder: Path, file: str) -> None:
    path = folder / file
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    damaged = bytearray(path.read_bytes())
    damaged[-2] ^= 1
    path.write_bytes(damaged)
    after = hashlib.sha256(damaged).hexdigest()
    with pytest.raises(CheckpointError, match=f"{file} is altered: sha256 {after}, expected {before}"):
        Checkpoint.open(folder).verify(PRIOR_FOLDERS)


@pytest.mark.parametrize("stage", [Prior, Decoder, Upsampler])
def test_altered_weights_are_refused_before_they_are_loaded(folder: Path, stage: Any) -> None:
    for path in folder.glob("*/*.safetensors"):
        path.write_bytes(b"not the weights")
    with pytest.raises(CheckpointError, match="is altered"):
        stage(Checkpoint.open(folder), CPU)


@pytest.mark.parametrize(
    "name",
    [
        "decoder/model.safetensors",  # which the loader would prefer
        "decoder/diffusion_pytorch_model.fp16.safetensors",
        "decoder/diffusion_pytorch_model-00001-of-00002.safetensors",
        "decoder/diffusion_pytorch_model.safetensors.index.json",
        "decoder/more/model.safetensors",
        "text_proj/model.safetensors",
        "decoder_scheduler/config.json",
    ],
)
def test_a_file_that_the_manifest_does_not_list_is_refused(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    shutil.copy(folder / "decoder" / "diffusion_pytorch_model.safetensors", folder / name)
    with pytest.raises(CheckpointError, match=f"{name} is not listed in unclip.json"):
        Decoder(Checkpoint.open(folder), CPU)


@pytest.mark.parametrize("name", ["tokenizer/added_tokens.json", "tokenizer/merges.txt", "text_encoder/config.py"])
def test_so_is_what_steers_the_tokenizer(folder: Path, name: str) -> None:
    (folder / name).write_text("{}")
    with pytest.raises(CheckpointError, match=f"{name} is not listed in unclip.json"):
        Encoder(Checkpoint.open(folder), CPU)


def test_a_link_to_nowhere_that_the_manifest_does_not_list_is_refused_too(folder: Path) -> None:
    """It may lead somewhere by the time the weights are loaded."""
    (folder / "decoder" / "model.safetensors").symlink_to(folder / "later")
    with pytest.raises(CheckpointError, match="is not listed"):
        Checkpoint.open(folder).verify(DECODER_FOLDERS)


def test_hidden_files_and_pickles_are_never_read_and_never_in_the_way(folder: Path) -> None:
    before = Checkpoint.open(folder).version(DECODER_FOLDERS)
    (folder / "decoder" / ".DS_Store").write_bytes(b"of a file manager")
    (folder / "decoder" / "diffusion_pytorch_model.bin").write_bytes(b"a pickle")
    Checkpoint.open(folder).verify(DECODER_FOLDERS)
    assert Checkpoint.open(folder).version(DECODER_FOLDERS) == before
    (folder / "unclip.json").unlink()
    assert Checkpoint.open(folder).version(DECODER_FOLDERS) == before


def test_a_file_beside_the_components_steers_no_tokenizer(folder: Path) -> None:
    captions = ["a red circle"]
    before = Encoder(Checkpoint.open(folder), CPU).tokenize(captions)[0].ids
    for name in ("tokenizer_config.json", "config.json", "special_tokens_map.json"):
        (folder / name).write_text('{"tokenizer_class": "BertTokenizer", "model_type": "bert", "unk_token": "x"}')
    assert torch.equal(Encoder(Checkpoint.open(folder), CPU).tokenize(captions)[0].ids, before)


@pytest.mark.parametrize("name", ["diffusion_pytorch_model.bin", "model.pt", "model.ckpt"])
@pytest.mark.parametrize("manifest", [True, False])
def test_pickled_weights_are_refused_with_the_way_to_convert_them(folder: Path, name: str, manifest: bool) -> None:
    if not manifest:
        (folder / "unclip.json").unlink()
    next((folder / "prior").glob("*.safetensors")).rename(folder / "prior" / name)
    with pytest.raises(CheckpointError, match=f"{name}: only safetensors are loaded; convert it with unclip convert"):
        Checkpoint.open(folder).verify(PRIOR_FOLDERS)


def test_pickled_weights_beside_safetensors_are_never_read(folder: Path) -> None:
    """Repositories publish both."""
    (folder / "prior" / "diffusion_pytorch_model.bin").write_bytes(b"whatever it would do when opened")
    checkpoint = Checkpoint.open(folder)
    checkpoint.verify(PRIOR_FOLDERS)
    assert Prior(checkpoint, CPU).embedding_dim == WIDTH


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '"unclip"', "{}", '{"format": 2}', '{"format": "1"}'], ids=repr
)
def test_a_bad_manifest_is_refused_when_the_folder_is_opened(folder: Path, text: str) -> None:
    (folder / "unclip.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"unclip\.json"):
        Checkpoint.open(folder)


@pytest.mark.parametrize("files", [[], "all", 3, None], ids=repr)
def test_a_manifest_whose_files_are_no_table_is_refused(folder: Path, files: object) -> None:
    rewrite(folder, lambda manifest: manifest.update(files=files))
    with pytest.raises(CheckpointError, match="files must map each file to its sha256"):
        Checkpoint.open(folder)


def test_a_digest_that_is_none_is_refused(folder: Path) -> None:
    rewrite(folder, lambda manifest: manifest["files"].update({"prior/config.json": 7}))
    with pytest.raises(CheckpointError, match=r"prior/config\.json is altered"):
        Checkpoint.open(folder).verify(PRIOR_FOLDERS)


def test_a_component_that_the_manifest_does_not_list_is_refused(folder: Path) -> None:
    rewrite(folder, lambda manifest: manifest.update(files={}))
    with pytest.raises(CheckpointError, match=r"unclip\.json lists no file of prior"):
        Checkpoint.open(folder).verify(PRIOR_FOLDERS)


def test_defaults_are_those_of_the_manifest(tiny_checkpoint: Path) -> None:
    checkpoint = Checkpoint.open(tiny_checkpoint)
    assert checkpoint.defaults("prior") == SamplingSettings("ddpm", 5, 4.0)
    assert checkpoint.defaults("decoder") == SamplingSettings("ddpm", 5, 8.0)
    assert checkpoint.defaults("upsampler") == SamplingSettings("ddpm", 3, 1.0)
    assert (checkpoint.name, checkpoint.license) == ("tiny", "CC0-1.0")
    assert checkpoint.caption_template == "a photo of {}"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (None, "incomplete"),
        ({}, "incomplete"),
        ({"sampler": "ddpm", "steps": 5}, "incomplete"),
        ({"sampler": "ddpm", "steps": "many", "guidance_scale": 1}, "out of range"),
        ({"sampler": "ddpm", "steps": 5.5, "guidance_scale": 1}, "out of range"),
        ({"sampler": "euler", "steps": 5, "guidance_scale": 1}, "out of range"),
        ({"sampler": "ddpm", "steps": 0, "guidance_scale": 1}, "out of range"),
        ({"sampler": "ddpm", "steps": 1001, "guidance_scale": 1}, "out of range"),
        ({"sampler": "ddpm", "steps": 5, "guidance_scale": 31}, "out of range"),
    ],
    ids=repr,
)
def test_defaults_that_cannot_be_used_are_refused(folder: Path, entry: object, message: str) -> None:
    rewrite(folder, lambda manifest: manifest["defaults"].update(prior=entry))
    with pytest.raises(CheckpointError, match=f"defaults of prior are {message}"):
        Checkpoint.open(folder).defaults("prior")


def test_a_manifest_with_what_is_no_json_is_refused(folder: Path) -> None:
    prior = {"sampler": "ddpm", "steps": 5, "guidance_scale": float("nan")}
    rewrite(folder, lambda manifest: manifest["defaults"].update(prior=prior))
    with pytest.raises(CheckpointError, match=r"unclip\.json cannot be read: NaN is no JSON"):
        Checkpoint.open(folder).defaults("prior")


def test_a_folder_without_manifest_is_taken_for_karlo_as_published(tmp_path: Path) -> None:
    checkpoint = Checkpoint.open(make_tiny_checkpoint(tmp_path / "karlo", manifest=False))
    checkpoint.verify(EVERY_FOLDER)
    assert checkpoint.defaults("prior") == SamplingSettings("ddpm", 25, 4.0)
    assert checkpoint.defaults("decoder") == SamplingSettings("ddpm", 25, 8.0)
    assert checkpoint.defaults("upsampler") == SamplingSettings("ddpm", 7, 1.0)
    assert (checkpoint.name, checkpoint.license) == ("karlo", "unknown")
    assert len(checkpoint.clip_space) == 64
    assert Prior(checkpoint, CPU).embedding_dim == Decoder(checkpoint, CPU).embedding_dim


def test_equal_seeds_make_equal_checkpoints_and_other_seeds_other_clips(tiny_checkpoint: Path, tmp_path: Path) -> None:
    same = Checkpoint.open(make_tiny_checkpoint(tmp_path / "same"))
    other = Checkpoint.open(make_tiny_checkpoint(tmp_path / "other", seed=1))
    first = Checkpoint.open(tiny_checkpoint)
    assert first.version(EVERY_FOLDER) == same.version(EVERY_FOLDER) != other.version(EVERY_FOLDER)
    assert first.clip_space == same.clip_space != other.clip_space


def test_the_clip_space_names_the_clip_weights_and_nothing_else(folder: Path) -> None:
    before = clip_space_of(folder)
    (folder / "prior/diffusion_pytorch_model.safetensors").write_bytes(b"another prior")
    assert clip_space_of(folder) == before
    (folder / "image_encoder/model.safetensors").write_bytes(b"another CLIP")
    assert clip_space_of(folder) != before


def test_without_clip_weights_the_manifest_still_names_the_clip_space(folder: Path, tiny_checkpoint: Path) -> None:
    """A prior's or decoder's replica may hold its own folders only."""
    for name in ENCODER_FOLDERS:
        shutil.rmtree(folder / name)
    assert Checkpoint.open(folder).clip_space == Checkpoint.open(tiny_checkpoint).clip_space
    (folder / "unclip.json").unlink()
    with pytest.raises(CheckpointError, match="no CLIP weights"):
        _ = Checkpoint.open(folder).clip_space


def test_a_version_is_the_same_with_and_without_manifest(folder: Path) -> None:
    before = Checkpoint.open(folder).version(PRIOR_FOLDERS)
    (folder / "unclip.json").unlink()
    assert Checkpoint.open(folder).version(PRIOR_FOLDERS) == before


def test_a_written_manifest_lists_every_file_once_and_not_itself(folder: Path) -> None:
    write_manifest(folder, name="again")
    checkpoint = Checkpoint.open(folder)
    parts = {path.relative_to(folder).as_posix() for path in folder.rglob("*/*") if path.is_file()}
    assert set(checkpoint.manifest["files"]) == parts
    checkpoint.verify(EVERY_FOLDER)


def test_a_component_that_does_not_fit_its_config_is_refused(folder: Path) -> None:
    path = folder / "text_proj" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "cross_attention_dim": 7}))
    write_manifest(folder)
    with pytest.raises(CheckpointError, match="text_proj does not load"):
        TextProjection.from_checkpoint(Checkpoint.open(folder))


@pytest.mark.parametrize(
    ("scheduler", "prediction", "stage"),
    [
        ("prior_scheduler", "epsilon", Prior),
        ("decoder_scheduler", "sample", Decoder),
        ("super_res_scheduler", "v_prediction", Upsampler),
    ],
)
def test_a_stage_refuses_a_scheduler_of_another_kind(folder: Path, scheduler: str, prediction: str, stage: Any) -> None:
    path = folder / scheduler / "scheduler_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "prediction_type": prediction}))
    write_manifest(folder)
    with pytest.raises(CheckpointError, match=f"{scheduler}.*: prediction_type must be"):
        stage(Checkpoint.open(folder), CPU)


def test_a_prior_that_learned_its_variance_is_refused(folder: Path) -> None:
    path = folder / "prior_scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "variance_type": "learned_range"}))
    write_manifest(folder)
    with pytest.raises(CheckpointError, match="prior_scheduler: variance_type must be fixed_small_log"):
        Prior(Checkpoint.open(folder), CPU)


def test_a_tiny_checkpoint_has_nothing_where_a_mistake_could_hide(tiny_checkpoint: Path) -> None:
    for path in tiny_checkpoint.glob("*/*.safetensors"):
        for name, values in load_file(path).items():
            assert values.dtype == torch.float32, f"{path}: {name}"
            assert values.float().abs().min() != values.float().abs().max(), f"{path}: {name} is constant"
    assert (load_file(tiny_checkpoint / "prior/diffusion_pytorch_model.safetensors")["clip_std"] > 0).all()


def test_a_tiny_checkpoint_loads_with_its_own_classes(tiny_checkpoint: Path) -> None:
    text = CLIPTextModelWithProjection.from_pretrained(tiny_checkpoint, subfolder="text_encoder")
    assert text.config.hidden_size == text.config.projection_dim
    assert text.config.eos_token_id != 2
    assert UNet2DModel.from_pretrained(tiny_checkpoint, subfolder="super_res_last").config.sample_size == 32
