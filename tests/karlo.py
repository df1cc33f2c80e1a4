"""Karlo v1 alpha as it was published, file by file, at the size of a toy: random weights, two repositories.

Configs, file names and ``model_index.json`` are those that diffusers wrote in December 2022, when
``scripts/convert_kakao_brain_unclip_to_diffusers.py`` (0.11) made the first repository, and
``scripts/convert_unclip_txt2img_to_image_variation.py`` (0.12) the second: options that came later are not in them, the
tokenizer has no tokenizer.json, and CLIP's files hold the position ids that later files leave out. `PUBLISHED` has the
numbers of the real one that the toy scales down.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.models.transformers.prior_transformer import PriorTransformer
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.deprecated.unclip.text_proj import UnCLIPTextProjModel
from safetensors.torch import load_file, save_file

from tests.tiny import BASE, CONTEXT, FINAL, HEAD, SCHEDULERS, WIDTH, make_tiny_checkpoint, stir

ALPHA, VARIATIONS = "karlo-v1-alpha", "karlo-v1-alpha-image-variations"
LICENSE = "creativeml-openrail-m"
SHARED = {
    "decoder": ["diffusers", "UNet2DConditionModel"],
    "decoder_scheduler": ["diffusers", "UnCLIPScheduler"],
    "super_res_first": ["diffusers", "UNet2DModel"],
    "super_res_last": ["diffusers", "UNet2DModel"],
    "super_res_scheduler": ["diffusers", "UnCLIPScheduler"],
    "text_encoder": ["transformers", "CLIPTextModelWithProjection"],
    "text_proj": ["unclip", "UnCLIPTextProjModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
}
INDEXES: Mapping[str, Mapping[str, Any]] = {
    ALPHA: {
        "_class_name": "UnCLIPPipeline",
        "_diffusers_version": "0.11.0.dev0",
        "prior": ["diffusers", "PriorTransformer"],
        "prior_scheduler": ["diffusers", "UnCLIPScheduler"],
        **SHARED,
    },
    VARIATIONS: {
        "_class_name": "UnCLIPImageVariationPipeline",
        "_diffusers_version": "0.12.0.dev0",
        "feature_extractor": ["transformers", "CLIPImageProcessor"],
        "image_encoder": ["transformers", "CLIPVisionModelWithProjection"],
        **SHARED,
    },
}
# What the configs of the real one say beside what is the same in the toy's.
PUBLISHED: Mapping[str, Mapping[str, Any]] = {
    "prior": {
        "embedding_dim": 768,
        "num_embeddings": 77,
        "additional_embeddings": 4,
        "attention_head_dim": 64,
        "num_attention_heads": 32,
        "num_layers": 20,
    },
    "text_proj": {"clip_embeddings_dim": 768, "time_embed_dim": 1280, "cross_attention_dim": 1536},
    "decoder": {
        "sample_size": 64,
        "block_out_channels": [320, 640, 960, 1280],
        "layers_per_block": 3,
        "cross_attention_dim": 1536,
        "attention_head_dim": 64,
    },
    "super_res_first": {"sample_size": 256, "block_out_channels": [320, 640, 960, 1280], "layers_per_block": 3},
    "super_res_last": {"sample_size": 256, "block_out_channels": [320, 640, 960, 1280], "layers_per_block": 3},
}
TOY: Mapping[str, Mapping[str, Any]] = {
    "prior": {
        "embedding_dim": WIDTH,
        "num_embeddings": CONTEXT,
        "additional_embeddings": 4,
        "attention_head_dim": HEAD,
        "num_attention_heads": WIDTH // HEAD,
        "num_layers": 2,
    },
    "text_proj": {"clip_embeddings_dim": WIDTH, "time_embed_dim": 128, "cross_attention_dim": 24},
    "decoder": {
        "sample_size": BASE,
        "block_out_channels": [32, 64, 64, 64],
        "layers_per_block": 1,
        "cross_attention_dim": 24,
        "attention_head_dim": HEAD,
    },
    "super_res_first": {"sample_size": FINAL, "block_out_channels": [32, 64, 64, 64], "layers_per_block": 1},
    "super_res_last": {"sample_size": FINAL, "block_out_channels": [32, 64, 64, 64], "layers_per_block": 1},
}


def configs(sizes: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """``config.json`` of every network that diffusers has a class for, with these ``sizes``."""
    unet = {"act_fn": "silu", "downsample_padding": 1, "flip_sin_to_cos": True, "freq_shift": 0, "norm_num_groups": 32}
    upsampler = {
        "_class_name": "UNet2DModel",
        "_diffusers_version": "0.11.0.dev0",
        "add_attention": False,
        "attention_head_dim": 8,
        "center_input_sample": False,
        "down_block_types": ["ResnetDownsampleBlock2D"] * 4,
        "in_channels": 6,
        "mid_block_scale_factor": 1,
        "norm_eps": 1e-05,
        "out_channels": 3,
        "resnet_time_scale_shift": "default",
        "time_embedding_type": "positional",
        "up_block_types": ["ResnetUpsampleBlock2D"] * 4,
        **unet,
    }
    return {
        "prior": {
            "_class_name": "PriorTransformer",
            "_diffusers_version": "0.11.0.dev0",
            "dropout": 0.0,
            **sizes["prior"],
        },
        "text_proj": {
            "_class_name": "UnCLIPTextProjModel",
            "_diffusers_version": "0.11.0.dev0",
            "clip_extra_context_tokens": 4,
            **sizes["text_proj"],
        },
        "decoder": {
            "_class_name": "UNet2DConditionModel",
            "_diffusers_version": "0.11.0.dev0",
            "center_input_sample": False,
            "class_embed_type": "identity",
            "down_block_types": ["ResnetDownsampleBlock2D", *["SimpleCrossAttnDownBlock2D"] * 3],
            "dual_cross_attention": False,
            "in_channels": 3,
            "mid_block_scale_factor": 1,
            "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
            "norm_eps": 1e-05,
            "num_class_embeds": None,
            "only_cross_attention": False,
            "out_channels": 6,
            "resnet_time_scale_shift": "scale_shift",
            "up_block_types": [*["SimpleCrossAttnUpBlock2D"] * 3, "ResnetUpsampleBlock2D"],
            "upcast_attention": False,
            "use_linear_projection": False,
            **unet,
            **sizes["decoder"],
        },
        "super_res_first": {**upsampler, **sizes["super_res_first"]},
        "super_res_last": {**upsampler, **sizes["super_res_last"]},
    }


KINDS: Mapping[str, Any] = {
    "prior": PriorTransformer,
    "text_proj": UnCLIPTextProjModel,
    "decoder": UNet2DConditionModel,
    "super_res_first": UNet2DModel,
    "super_res_last": UNet2DModel,
}
SAFETENSORS = {"text_encoder": "model.safetensors", "image_encoder": "model.safetensors"}
DIFFUSERS = "diffusion_pytorch_model.safetensors"


def make_tiny_karlo(folder: Path, *, seed: int = 0) -> tuple[Path, Path]:
    """Writes both repositories into ``folder``, side by side; the one that draws, and the one that varies."""
    alpha, variations = folder / ALPHA, folder / VARIATIONS
    whole = make_tiny_checkpoint(folder / "whole", seed=seed, manifest=False)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for name, config in configs(TOY).items():
            network = KINDS[name].from_config(config)
            stir(network)
            write_component(whole / name, config, network.state_dict(), DIFFUSERS)
    for name, options in SCHEDULERS.items():
        scheduler = {"_class_name": "UnCLIPScheduler", "_diffusers_version": "0.11.0.dev0", **options}
        scheduler |= {"clip_sample": True, "num_train_timesteps": 1000}
        write_json(whole / name / "scheduler_config.json", scheduler)
    age_tokenizer(whole / "tokenizer")
    age_clip(whole / "text_encoder", "text_model", CONTEXT)
    age_clip(whole / "image_encoder", "vision_model", (FINAL // 8) ** 2 + 1)
    for repository, index in ((alpha, INDEXES[ALPHA]), (variations, INDEXES[VARIATIONS])):
        for name in index:
            if not name.startswith("_"):
                shutil.copytree(whole / name, repository / name)
        write_json(repository / "model_index.json", index)
        (repository / "README.md").write_text(f"---\nlicense: {LICENSE}\ntags:\n- text-to-image\n---\n\n# Karlo\n")
    shutil.rmtree(whole)
    return alpha, variations


def write_component(folder: Path, config: Mapping[str, Any], weights: dict[str, torch.Tensor], name: str) -> None:
    """A component's folder anew, with nothing in it but config and weights."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_json(folder / "config.json", config)
    save_file({key: value.contiguous() for key, value in weights.items()}, folder / name, {"format": "pt"})


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """As diffusers and transformers write it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")


def age_tokenizer(folder: Path) -> None:
    """Leaves what a tokenizer without a Rust half was saved as."""
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    shutil.rmtree(folder)
    tokens = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    write_json(folder / "vocab.json", model["vocab"])
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    write_json(folder / "special_tokens_map.json", {**tokens, "pad_token": "!"})
    write_json(
        folder / "tokenizer_config.json",
        {
            **tokens,
            "pad_token": "!",
            "add_prefix_space": False,
            "do_lower_case": True,
            "errors": "replace",
            "model_max_length": CONTEXT,
            "name_or_path": "openai/clip-vit-large-patch14",
            "tokenizer_class": "CLIPTokenizer",
        },
    )


def age_clip(folder: Path, part: str, positions: int) -> None:
    """A CLIP encoder as transformers 4.25 saved OpenAI's: its token ids were wrong, and it kept position ids."""
    config = json.loads((folder / "config.json").read_text())
    config |= {"transformers_version": "4.25.0.dev0", "torch_dtype": "float32"}
    if part == "text_model":
        config |= {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}
    weights = load_file(folder / "model.safetensors")
    weights[f"{part}.embeddings.position_ids"] = torch.arange(positions)[None]
    write_component(folder, config, weights, SAFETENSORS[folder.name])
