"""Stable unCLIP 2.1 as it was published, file by file, at the size of a toy: random weights, two repositories.

Configs and file names are those that diffusers 0.15 wrote in March 2023, as far as its classes and pipelines tell: no
file of the real ones could be fetched where this was written. `PUBLISHED` has the numbers of the real large one.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer
from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModelWithProjection

from tests.karlo import DIFFUSERS, age_clip, age_tokenizer, make_tiny_karlo, write_component, write_json
from tests.tiny import CONTEXT, FINAL, WIDTH, stir, tokenizer

LARGE, SMALL = "stable-diffusion-2-1-unclip", "stable-diffusion-2-1-unclip-small"
LICENSE = "openrail++"
SIDE = 64  # of the toy's pictures, in pixels; its latents are an eighth of it
STATES = 24  # width of the decoder's own text encoder
LARGE_WIDTH = 48  # of the large one's image embeddings: another CLIP than Karlo's
VERSION = "0.15.0.dev0"
INDEX: Mapping[str, Any] = {
    "_class_name": "StableUnCLIPImg2ImgPipeline",
    "_diffusers_version": VERSION,
    "feature_extractor": ["transformers", "CLIPImageProcessor"],
    "image_encoder": ["transformers", "CLIPVisionModelWithProjection"],
    "image_noising_scheduler": ["diffusers", "DDPMScheduler"],
    "image_normalizer": ["stable_diffusion", "StableUnCLIPImageNormalizer"],
    "scheduler": ["diffusers", "PNDMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
PUBLISHED: Mapping[str, Mapping[str, Any]] = {
    "unet": {
        "sample_size": 96,
        "block_out_channels": [320, 640, 1280, 1280],
        "layers_per_block": 2,
        "cross_attention_dim": 1024,
        "attention_head_dim": [5, 10, 20, 20],
        "projection_class_embeddings_input_dim": 2048,
    },
    "vae": {"block_out_channels": [128, 256, 512, 512], "layers_per_block": 2, "sample_size": 768},
    "image_normalizer": {"embedding_dim": 1024},
}
SCHEDULER = {
    "_class_name": "PNDMScheduler",
    "_diffusers_version": VERSION,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "prediction_type": "v_prediction",
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
}
NOISING = {
    "_class_name": "DDPMScheduler",
    "_diffusers_version": VERSION,
    "beta_end": 0.02,
    "beta_schedule": "squaredcos_cap_v2",
    "beta_start": 0.0001,
    "clip_sample": True,
    "clip_sample_range": 1.0,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "trained_betas": None,
    "variance_type": "fixed_small",
}


def toy(width: int) -> dict[str, dict[str, Any]]:
    """The sizes of a toy whose CLIP has embeddings of ``width``."""
    return {
        "unet": {
            "sample_size": SIDE // 8,
            "block_out_channels": [32, 64, 64, 64],
            "layers_per_block": 1,
            "cross_attention_dim": STATES,
            "attention_head_dim": [2, 4, 4, 4],
            "projection_class_embeddings_input_dim": 2 * width,
        },
        "vae": {"block_out_channels": [32, 32, 32, 64], "layers_per_block": 1, "sample_size": SIDE},
        "image_normalizer": {"embedding_dim": width},
    }


def configs(sizes: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """``config.json`` of every network that diffusers has a class for, with these ``sizes``."""
    return {
        "unet": {
            "_class_name": "UNet2DConditionModel",
            "_diffusers_version": VERSION,
            "act_fn": "silu",
            "center_input_sample": False,
            "class_embed_type": "projection",
            "down_block_types": [*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"],
            "downsample_padding": 1,
            "dual_cross_attention": False,
            "flip_sin_to_cos": True,
            "freq_shift": 0,
            "in_channels": 4,
            "mid_block_scale_factor": 1,
            "mid_block_type": "UNetMidBlock2DCrossAttn",
            "norm_eps": 1e-05,
            "norm_num_groups": 32,
            "num_class_embeds": None,
            "only_cross_attention": False,
            "out_channels": 4,
            "resnet_time_scale_shift": "default",
            "up_block_types": ["UpBlock2D", *["CrossAttnUpBlock2D"] * 3],
            "upcast_attention": False,
            "use_linear_projection": True,
            **sizes["unet"],
        },
        "vae": {
            "_class_name": "AutoencoderKL",
            "_diffusers_version": VERSION,
            "act_fn": "silu",
            "down_block_types": ["DownEncoderBlock2D"] * 4,
            "in_channels": 3,
            "latent_channels": 4,
            "norm_num_groups": 32,
            "out_channels": 3,
            "scaling_factor": 0.18215,
            "up_block_types": ["UpDecoderBlock2D"] * 4,
            **sizes["vae"],
        },
        "image_normalizer": {
            "_class_name": "StableUnCLIPImageNormalizer",
            "_diffusers_version": VERSION,
            **sizes["image_normalizer"],
        },
    }


KINDS: Mapping[str, Any] = {
    "unet": UNet2DConditionModel,
    "vae": AutoencoderKL,
    "image_normalizer": StableUnCLIPImageNormalizer,
}


def make_tiny_stable_unclip(folder: Path, *, seed: int = 0) -> tuple[Path, Path, Path]:
    """Writes both repositories and Karlo's, whose CLIP and prior the small one takes, side by side into ``folder``: the
    large one, the small one, and Karlo's."""
    large, small = folder / LARGE, folder / SMALL
    karlo, variations = make_tiny_karlo(folder, seed=seed)
    for name in ("image_encoder", "feature_extractor"):
        shutil.copytree(variations / name, small / name)
    shutil.copytree(variations / "feature_extractor", large / "feature_extractor")
    with torch.random.fork_rng():
        torch.manual_seed(seed + 1)
        vision = CLIPVisionConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=FINAL,
            patch_size=8,
            projection_dim=LARGE_WIDTH,
        )
        _save(CLIPVisionModelWithProjection(vision), large / "image_encoder")
        for repository, width in ((large, LARGE_WIDTH), (small, WIDTH)):
            words = tokenizer()
            words.save_pretrained(repository / "tokenizer")
            text = CLIPTextConfig(
                vocab_size=len(words),
                hidden_size=STATES,
                intermediate_size=48,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=CONTEXT,
                bos_token_id=words.bos_token_id,
                eos_token_id=words.eos_token_id,
                pad_token_id=words.pad_token_id,
            )
            _save(CLIPTextModel(text), repository / "text_encoder")
            age_tokenizer(repository / "tokenizer")
            for name, config in configs(toy(width)).items():
                network = KINDS[name].from_config(config)
                stir(network)
                write_component(repository / name, config, network.state_dict(), DIFFUSERS)
            write_json(repository / "scheduler" / "scheduler_config.json", SCHEDULER)
            write_json(repository / "image_noising_scheduler" / "scheduler_config.json", NOISING)
            write_json(repository / "model_index.json", INDEX)
            (repository / "README.md").write_text(f"---\nlicense: {LICENSE}\n---\n\n# Stable unCLIP\n")
    age_clip(large / "image_encoder", "vision_model", (FINAL // 8) ** 2 + 1)
    return large, small, karlo


def _save(network: Any, folder: Path) -> None:
    stir(network)
    network.save_pretrained(folder)
