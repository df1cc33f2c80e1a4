"""Writes a trained run as a checkpoint folder in diffusers' unCLIP layout, half precision, with digests."""

from __future__ import annotations

import hashlib
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
from training.presets import Preset, data_in
from training.replacing import replacing, require_whole
from training.sources import manifest
from training.student import SAMPLING as STUDENT_SAMPLING
from training.student import SCHEDULER as STUDENT_SCHEDULER
from training.teachers import manifest as teachers
from training.vocabulary import vocabulary_of
from unclip.checkpoints.components import EVERY_FOLDER, STUDENT, STUDENT_FOLDERS
from unclip.checkpoints.manifest import MANIFEST, read_manifest, write_manifest

SHARD = "15MB"  # of a weights file: repositories and code hosts dislike larger ones
PARTS = (*EVERY_FOLDER, "data.json")  # beside the manifest, what an export writes
LARGEST = 64_000_000  # bytes of the whole folder
# From the sweeps on the tuning half (`training.evaluate`): where noise tells none apart, one with few steps.
DEFAULTS = {
    "prior": {"sampler": "ddpm", "steps": 10, "guidance_scale": 1.0},
    "decoder": {"sampler": "dpm++2m", "steps": 12, "guidance_scale": 3.0},
    "upsampler": {"sampler": "ddpm", "steps": 3, "guidance_scale": 1.0},
}
# Of a student, and which of the two ways is taken unasked.
FAST = {
    "decoder": asdict(STUDENT_SAMPLING),
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
            vocabulary = read_manifest(preset.start)["vocabulary"]
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


def packages_of(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What weights were made from, and those they began with."""
    return [*data["packages"], *(packages_of(data["start"]) if data.get("start") else [])]


def data_of(preset: Preset) -> dict[str, Any]:
    """Exactly which pictures the preset's weights have seen: packages, digests, licences, counts, what was held out;
    ``drawn`` are those that prior, decoder and upsampler saw too, CLIP all of them. And CLIP's teachers.

    Of weights that begin with a checkpoint its data are told too, and which of them were kept; a decoder that is kept
    draws what it drew there.
    """
    begun: dict[str, Any] | None = None
    kept = sorted(preset.kept if preset.start else ())
    if preset.start is not None:
        begun = data_in(preset.start)
        if preset.keeps("decoder"):
            return begun | {"kept": kept}
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
    pixels = hashlib.sha256()
    for pair in sorted(taught, key=lambda pair: pair.key):
        pixels.update(pair.key.encode() + pair.rgba.tobytes())
    return {
        "preset": preset.name,
        "packages": packages,
        "size": preset.size,
        "views": asdict(preset.variety),
        "pictures_sha256": pixels.hexdigest(),
        **preset.teaching(),
        "teachers": [asdict(teacher) for teacher in teachers().values()] if preset.teachers else [],
        **({} if begun is None else {"start": begun, "kept": kept}),
    }
