"""Kandinsky 2.2 as it was published, file by file, at the size of a toy: random weights, three repositories.

Configs and file names are those that diffusers 0.18 wrote in July 2023, as far as its classes, its pipelines and their
tests tell: no weights, and no file of the real ones, could be fetched where this was written. `PUBLISHED` has the
numbers of the real one that the toy scales down.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.vq_model import VQModel
from diffusers.models.transformers.prior_transformer import PriorTransformer
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from tests.karlo import DIFFUSERS, age_clip, age_tokenizer, write_component, write_json
from tests.tiny import CONTEXT, FINAL, HEAD, WIDTH, make_tiny_checkpoint, stir

PRIOR, DECODER, INPAINT = "kandinsky-2-2-prior", "kandinsky-2-2-decoder", "kandinsky-2-2-decoder-inpaint"
LICENSE = "apache-2.0"
SIDE = 64  # of the toy's pictures, in pixels; its latents are an eighth of it
VERSION = "0.18.0.dev0"
DECODER_PARTS = {
    "movq": ["diffusers", "VQModel"],
    "scheduler": ["diffusers", "DDPMScheduler"],
    "unet": ["diffusers", "UNet2DConditionModel"],
}
INDEXES: Mapping[str, Mapping[str, Any]] = {
    PRIOR: {
        "_class_name": "KandinskyV22PriorPipeline",
        "_diffusers_version": VERSION,
        "image_encoder": ["transformers", "CLIPVisionModelWithProjection"],
        "image_processor": ["transformers", "CLIPImageProcessor"],
        "prior": ["diffusers", "PriorTransformer"],
        "scheduler": ["diffusers", "UnCLIPScheduler"],
        "text_encoder": ["transformers", "CLIPTextModelWithProjection"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
    },
    DECODER: {"_class_name": "KandinskyV22Pipeline", "_diffusers_version": VERSION, **DECODER_PARTS},
    INPAINT: {"_class_name": "KandinskyV22InpaintPipeline", "_diffusers_version": VERSION, **DECODER_PARTS},
}
PUBLISHED: Mapping[str, Mapping[str, Any]] = {
    "prior": {
        "embedding_dim": 1280,
        "num_embeddings": 77,
        "attention_head_dim": 64,
        "num_attention_heads": 32,
        "num_layers": 20,
    },
    "unet": {
        "sample_size": 64,
        "block_out_channels": [384, 768, 1152, 1536],
        "layers_per_block": 3,
        "cross_attention_dim": 768,
        "encoder_hid_dim": 1280,
        "attention_head_dim": 64,
    },
    "movq": {"block_out_channels": [128, 256, 256, 512], "layers_per_block": 2, "num_vq_embeddings": 16384},
}
TOY: Mapping[str, Mapping[str, Any]] = {
    "prior": {
        "embedding_dim": WIDTH,
        "num_embeddings": CONTEXT,
        "attention_head_dim": HEAD,
        "num_attention_heads": WIDTH // HEAD,
        "num_layers": 2,
    },
    "unet": {
        "sample_size": SIDE // 8,
        "block_out_channels": [32, 64, 64, 64],
        "layers_per_block": 1,
        "cross_attention_dim": 24,
        "encoder_hid_dim": WIDTH,
        "attention_head_dim": HEAD,
    },
    "movq": {"block_out_channels": [32, 32, 32, 64], "layers_per_block": 1, "num_vq_embeddings": 12},
}
PRIOR_SCHEDULER = {
    "_class_name": "UnCLIPScheduler",
    "_diffusers_version": VERSION,
    "clip_sample": True,
    "clip_sample_range": 10.0,
    "num_train_timesteps": 1000,
    "prediction_type": "sample",
    "variance_type": "fixed_small_log",
}
DECODER_SCHEDULER = {
    "_class_name": "DDPMScheduler",
    "_diffusers_version": VERSION,
    "beta_end": 0.012,
    "beta_schedule": "linear",
    "beta_start": 0.00085,
    "clip_sample": True,
    "clip_sample_range": 2.0,
    "dynamic_thresholding_ratio": 0.995,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "sample_max_value": 2.0,
    "thresholding": True,
    "trained_betas": None,
    "variance_type": "learned_range",
}


def configs(sizes: Mapping[str, Mapping[str, Any]], in_channels: int = 4) -> dict[str, dict[str, Any]]:
    """``config.json`` of every network that diffusers has a class for, with these ``sizes``. in_channels: of the U-Net,
    9 where it is shown what is known of a picture."""
    return {
        "prior": {
            "_class_name": "PriorTransformer",
            "_diffusers_version": VERSION,
            "added_emb_type": "prd",
            "additional_embeddings": 4,
            "clip_embed_dim": None,
            "dropout": 0.0,
            "embedding_proj_dim": None,
            "embedding_proj_norm_type": None,
            "encoder_hid_proj_type": "linear",
            "norm_in_type": None,
            "time_embed_act_fn": "silu",
            "time_embed_dim": None,
            **sizes["prior"],
        },
        "unet": {
            "_class_name": "UNet2DConditionModel",
            "_diffusers_version": VERSION,
            "act_fn": "silu",
            "addition_embed_type": "image",
            "addition_embed_type_num_heads": 64,
            "center_input_sample": False,
            "class_embed_type": None,
            "down_block_types": ["ResnetDownsampleBlock2D", *["SimpleCrossAttnDownBlock2D"] * 3],
            "downsample_padding": 1,
            "encoder_hid_dim_type": "image_proj",
            "flip_sin_to_cos": True,
            "freq_shift": 0,
            "in_channels": in_channels,
            "mid_block_scale_factor": 1,
            "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
            "norm_eps": 1e-05,
            "norm_num_groups": 32,
            "out_channels": 8,
            "resnet_time_scale_shift": "scale_shift",
            "up_block_types": [*["SimpleCrossAttnUpBlock2D"] * 3, "ResnetUpsampleBlock2D"],
            **sizes["unet"],
        },
        "movq": {
            "_class_name": "VQModel",
            "_diffusers_version": VERSION,
            "act_fn": "silu",
            "down_block_types": [*["DownEncoderBlock2D"] * 3, "AttnDownEncoderBlock2D"],
            "in_channels": 3,
            "latent_channels": 4,
            "norm_num_groups": 32,
            "norm_type": "spatial",
            "out_channels": 3,
            "sample_size": 32,
            "scaling_factor": 0.18215,
            "up_block_types": ["AttnUpDecoderBlock2D", *["UpDecoderBlock2D"] * 3],
            "vq_embed_dim": 4,
            **sizes["movq"],
        },
    }


KINDS: Mapping[str, Any] = {"prior": PriorTransformer, "unet": UNet2DConditionModel, "movq": VQModel}


def make_tiny_kandinsky(folder: Path, *, seed: int = 0) -> tuple[Path, Path, Path]:
    """Writes the repositories into ``folder``, side by side: the prior's, the decoder's, the inpainting decoder's."""
    prior, decoder, inpaint = folder / PRIOR, folder / DECODER, folder / INPAINT
    whole = make_tiny_checkpoint(folder / "whole", seed=seed, manifest=False)
    age_tokenizer(whole / "tokenizer")
    age_clip(whole / "text_encoder", "text_model", CONTEXT)
    age_clip(whole / "image_encoder", "vision_model", (FINAL // 8) ** 2 + 1)
    for source, name in (
        ("tokenizer", "tokenizer"),
        ("text_encoder", "text_encoder"),
        ("image_encoder", "image_encoder"),
        ("feature_extractor", "image_processor"),
    ):
        shutil.copytree(whole / source, prior / name)
    shutil.rmtree(whole)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for repository, parts, channels in (
            (prior, ("prior",), 4),
            (decoder, ("unet", "movq"), 4),
            (inpaint, ("unet", "movq"), 9),
        ):
            for name in parts:
                config = configs(TOY, channels)[name]
                network = KINDS[name].from_config(config)
                stir(network)
                write_component(repository / name, config, network.state_dict(), DIFFUSERS)
    write_json(prior / "scheduler" / "scheduler_config.json", PRIOR_SCHEDULER)
    for repository in (decoder, inpaint):
        write_json(repository / "scheduler" / "scheduler_config.json", DECODER_SCHEDULER)
    for repository in (prior, decoder, inpaint):
        write_json(repository / "model_index.json", INDEXES[repository.name])
        (repository / "README.md").write_text(f"---\nlicense: {LICENSE}\ntags:\n- text-to-image\n---\n\n# Kandinsky\n")
    return prior, decoder, inpaint
