"""Writes a trained run as a checkpoint folder in diffusers' unCLIP layout, half precision, with digests."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from diffusers.schedulers.scheduling_unclip import UnCLIPScheduler
from torch import nn
from transformers import CLIPImageProcessorPil, CLIPTokenizer

from training.clip import MEAN, STD, Clip
from training.decoder_network import Decoder
from training.presets import Preset
from training.sources import manifest
from unclip.checkpoint import write_manifest

DEFAULTS = {
    "prior": {"sampler": "ddpm", "steps": 25, "guidance_scale": 2.0},
    "decoder": {"sampler": "dpm++2m", "steps": 12, "guidance_scale": 3.0},
    "upsampler": {"sampler": "ddpm", "steps": 7, "guidance_scale": 1.0},
}
SCHEDULERS = {
    "prior_scheduler": {"prediction_type": "sample", "variance_type": "fixed_small_log", "clip_sample_range": 5.0},
    "decoder_scheduler": {"prediction_type": "epsilon", "variance_type": "learned_range", "clip_sample_range": 1.0},
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
) -> None:
    """Writes every component and unclip.json into ``folder``; a model card that lies there stays."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in folder.iterdir():
        if part.is_dir():
            shutil.rmtree(part)
    words.save_pretrained(folder / "tokenizer")
    CLIPImageProcessorPil(
        size={"shortest_edge": preset.clip_size},
        crop_size={"height": preset.clip_size, "width": preset.clip_size},
        image_mean=list(MEAN),
        image_std=list(STD),
    ).save_pretrained(folder / "feature_extractor")
    components = {
        "text_encoder": clip.text,
        "image_encoder": clip.image,
        "prior": prior,
        "text_proj": decoder.projection,
        "decoder": decoder.unet,
        "super_res_first": upsampler,
    }
    for name, network in components.items():
        network.to("cpu", torch.float16).save_pretrained(folder / name)
    for name, config in SCHEDULERS.items():
        UnCLIPScheduler(**config).save_pretrained(folder / name)
    licenses = sorted({source.license for source in manifest() if source.style in ("", *preset.styles)})
    write_manifest(
        folder,
        name="emoji",
        license=" AND ".join(licenses),
        caption_template="{}",
        defaults=DEFAULTS,
        preset=preset.name,
    )
