"""Writes a trained run as a checkpoint folder in diffusers' unCLIP layout, half precision, with digests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_unclip import UnCLIPScheduler
from torch import nn
from transformers import CLIPImageProcessorPil, CLIPTokenizer

from training.clip import CLEANING, MEAN, STD, Clip
from training.decoder import SCHEDULER as DECODER_SCHEDULER
from training.decoder_network import Decoder
from training.presets import BEGUN, KEEPABLE, Preset, data_in
from training.replacing import replacing, require_whole
from training.sources import manifest
from training.student import SAMPLING as STUDENT_SAMPLING
from training.student import SCHEDULER as STUDENT_SCHEDULER
from training.teachers import manifest as teachers
from training.vocabulary import vocabulary_of
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.checkpoints.components import EVERY_FOLDER, STUDENT, STUDENT_FOLDERS
from unclip.checkpoints.manifest import MANIFEST, write_manifest
from unclip.errors import CheckpointError

SHARD = "15MB"  # of a weights file: repositories and code hosts dislike larger ones
PARTS = (*EVERY_FOLDER, "data.json")  # beside the manifest, what an export writes
LARGEST = 64_000_000  # bytes of the whole folder
# From the sweeps on the tuning half (`training.evaluate`): where noise tells none apart, one with few steps.
DEFAULTS = {
    "prior": {"sampler": "ddpm", "steps": 2, "guidance_scale": 1.0},
    "decoder": {"sampler": "dpm++2m", "steps": 12, "guidance_scale": 2.0},
    "upsampler": {"sampler": "ddpm", "steps": 2, "guidance_scale": 1.0},
}
# Of a student, and which of the two ways is taken unasked.
FAST = {
    # Of 1.5, 1.75 and 2 the one whose Fréchet distance and R@5 both were near enough to the decoder's at 2.
    "decoder": asdict(STUDENT_SAMPLING) | {"guidance_scale": 1.75},
    "upsampler": {"sampler": "ddpm", "steps": 1, "guidance_scale": 1.0},
}
QUALITY = "standard"
SCHEDULERS = {
    "prior_scheduler": {"prediction_type": "sample", "variance_type": "fixed_small_log", "clip_sample_range": 5.0},
    "super_res_scheduler": {"prediction_type": "sample", "variance_type": "fixed_small_log", "clip_sample_range": 1.0},
}


def export(
    folder: Path,
    preset: Preset,
    clip: Clip,
    words: CLIPTokenizer,
    prior: nn.Module,
    decoder: Decoder,
    upsampler: nn.Module,
    student: nn.Module | None = None,
) -> None:
    """Writes every component, data.json and unclip.json into ``folder``, in the place of those of the checkpoint that
    is there; whatever else lies there stays, and everything does where this fails.

    Raises:
        RuntimeError: the weights are too large to be embedded, or what lies there is no checkpoint.
    """
    require_replaceable(folder)
    with replacing(folder, PARTS, MANIFEST) as made:
        words.save_pretrained(made / "tokenizer")
        CLIPImageProcessorPil(
            size={"shortest_edge": preset.clip_size},
            crop_size={"height": preset.clip_size, "width": preset.clip_size},
            image_mean=list(MEAN),
            image_std=list(STD),
        ).save_pretrained(made / "feature_extractor")
        components = {
            "text_encoder": clip.text,
            "image_encoder": clip.image,
            "prior": prior,
            "text_proj": decoder.projection,
            "decoder": decoder.unet,
            "super_res_first": upsampler,
        }
        if student is not None:
            components[STUDENT] = student
        for name, network in components.items():
            network.to("cpu", torch.float16).save_pretrained(made / name, max_shard_size=SHARD)
        for name, config in SCHEDULERS.items():
            UnCLIPScheduler(**config).save_pretrained(made / name)
        DDPMScheduler.from_config(DECODER_SCHEDULER).save_pretrained(made / "decoder_scheduler")
        if student is not None:
            DDIMScheduler.from_config(STUDENT_SCHEDULER).save_pretrained(made / STUDENT_FOLDERS[1])
        data = data_of(preset)
        (made / "data.json").write_text(json.dumps(data, indent=1) + "\n")
        licenses = sorted({package["license"] for package in packages_of(data)})
        if preset.keeps("decoder") and preset.start is not None:
            vocabulary = vocabulary_in(preset.start)
        else:
            vocabulary = vocabulary_of(preset, preset.pairs()[0]).to_json()
        write_manifest(
            made,
            name="emoji",
            license=" AND ".join(licenses),
            caption_template="{}",
            defaults=DEFAULTS,
            cleaning=CLEANING,
            preset=data["preset"],
            vocabulary=vocabulary,
            **({} if student is None else {"fast": FAST, "quality": QUALITY}),
        )
        size = sum(path.stat().st_size for path in made.rglob("*") if path.is_file())
        if size > LARGEST:
            raise RuntimeError(
                f"the checkpoint has {size / 1e6:.0f} MB; one to be embedded has at most {LARGEST / 1e6:.0f}"
            )


def require_replaceable(folder: Path) -> None:
    """Raises RuntimeError: in the folder lies what an export would replace, and is none of an export's; or it cannot be
    written."""
    require_whole(folder, PARTS, MANIFEST)


def vocabulary_in(start: Path) -> dict[str, Any]:
    """What a checkpoint was taught to draw, as its unclip.json says. Raises RuntimeError: it does not."""
    try:
        found = Checkpoint.open(start).vocabulary
    except CheckpointError as error:
        raise RuntimeError(f"{start}: {error}") from error
    if found is None:
        raise RuntimeError(f"{start}: its {MANIFEST} has no vocabulary; `python -m training.vocabulary` writes it")
    return found.to_json()


def packages_of(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What weights were made from, and those they began with, and what those learned since."""
    return [*data["packages"], *(package for name in BEGUN if name in data for package in packages_of(data[name]))]


def data_of(preset: Preset) -> dict[str, Any]:
    """Exactly which pictures the preset's weights have seen. Of weights that begin with a checkpoint its data are told
    too, as ``start``, and which of them were ``kept``.

    A decoder that is kept draws what it drew there: these are its checkpoint's data then, and what is told of the
    preset is in ``since``, with the parts that learned by it; nothing is where a student alone did, of what these are.
    """
    if preset.start is None:
        return seen(preset)
    told: dict[str, Any] = {"start": data_in(preset.start), "kept": sorted(preset.kept)}
    if not preset.keeps("decoder"):
        return seen(preset) | told
    taught, now = [part for part in KEEPABLE if not preset.keeps(part)], seen(preset)
    if not taught and now == told["start"]:
        return now
    if preset.student.steps:
        taught.append("student")
    if taught:
        told["since"] = {"parts": taught, **now}
    return data_in(preset.start) | told


def seen(preset: Preset) -> dict[str, Any]:
    """Exactly which pictures a preset shows: packages, digests, licences, counts, what was held out; ``drawn`` are
    those that prior, decoder and upsampler see too, CLIP all of them. And CLIP's teachers."""
    (taught, held_out), (drawn, _) = preset.known(), preset.pairs()
    packages = [
        asdict(source)
        | {
            "taught": sum(pair.style == source.style for pair in taught),
            "held_out": sum(pair.style == source.style for pair in held_out),
            "drawn": sum(pair.style == source.style for pair in drawn),
        }
        for source in manifest()
        if source.style in ("", *preset.styles)
    ]
    return {
        "preset": preset.name,
        "packages": packages,
        "size": preset.size,
        "views": asdict(preset.variety),
        **preset.teaching(),
        "teachers": [asdict(teacher) for teacher in teachers().values()] if preset.teachers else [],
    }
