"""A random checkpoint in Karlo's layout, small enough to be made in seconds and to run on any machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers.models.transformers.prior_transformer import PriorTransformer
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.deprecated.unclip.text_proj import UnCLIPTextProjModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_unclip import UnCLIPScheduler
from tokenizers.pre_tokenizers import ByteLevel
from torch import nn
from transformers import (
    CLIPImageProcessorPil,
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from unclip.checkpoints.manifest import write_manifest

WIDTH = 32  # of both CLIPs, of their embeddings and of the text states alike, as in Karlo
CONTEXT = 16  # tokens of a caption
BASE, FINAL = 16, 32  # sides of the decoder's and the upsampler's pictures
HEAD = 16  # channels of an attention head
CHANNELS, CROSS = (16, 32), 24  # of the decoder, and of its context

DEFAULTS = {
    "prior": {"sampler": "ddpm", "steps": 5, "guidance_scale": 4.0},
    "decoder": {"sampler": "ddpm", "steps": 5, "guidance_scale": 8.0},
    "upsampler": {"sampler": "ddpm", "steps": 3, "guidance_scale": 1.0},
}
FAST = {
    "decoder": {"sampler": "ddim", "steps": 4, "guidance_scale": 3.0},
    "upsampler": {"sampler": "ddpm", "steps": 1, "guidance_scale": 1.0},
}
STUDENT_SCHEDULER = {
    "beta_schedule": "squaredcos_cap_v2",
    "prediction_type": "v_prediction",
    "timestep_spacing": "trailing",
    "clip_sample": False,
}
SCHEDULERS = {
    "prior_scheduler": {"prediction_type": "sample", "variance_type": "fixed_small_log", "clip_sample_range": 5.0},
    "decoder_scheduler": {"prediction_type": "epsilon", "variance_type": "learned_range", "clip_sample_range": 1.0},
    "super_res_scheduler": {"prediction_type": "epsilon", "variance_type": "fixed_small_log", "clip_sample_range": 1.0},
}


def make_tiny_checkpoint(
    folder: Path, *, seed: int = 0, super_res_last: bool = True, manifest: bool = True, quality: str | None = None
) -> Path:
    """Writes a checkpoint of random float32 networks into ``folder`` and returns it.

    super_res_last: whether the upsampler's last step has a network of its own. manifest: whether there is an
    unclip.json; without, the folder is as Karlo was published. quality: where nobody asks for one, of a checkpoint
    whose decoder has a student; None for one without.
    """
    folder.mkdir(parents=True, exist_ok=True)
    words = tokenizer()
    words.save_pretrained(folder / "tokenizer")
    CLIPImageProcessorPil(size={"shortest_edge": FINAL}, crop_size={"height": FINAL, "width": FINAL}).save_pretrained(
        folder / "feature_extractor"
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        networks = _networks(words)
        if super_res_last:
            networks["super_res_last"] = _upsampler()
        for name, network in networks.items():
            stir(network)
            network.save_pretrained(folder / name)
        if quality:  # after the others, which are as without
            stir(student := _decoder(out_channels=3, time_cond_proj_dim=16))
            student.save_pretrained(folder / "decoder_student")
    for name, config in SCHEDULERS.items():
        UnCLIPScheduler(**config).save_pretrained(folder / name)
    if quality:
        DDIMScheduler(**STUDENT_SCHEDULER).save_pretrained(folder / "decoder_student_scheduler")
    if manifest:
        told: dict[str, Any] = {"fast": FAST, "quality": quality} if quality else {}
        write_manifest(
            folder, name="tiny", license="CC0-1.0", caption_template="a photo of {}", defaults=DEFAULTS, **told
        )
    return folder


def tokenizer(context: int = CONTEXT) -> Any:
    """Bytes and a few merges. "!" is id 0 and pads; the end token comes last, as in CLIP, whose pooling seeks it."""
    letters = sorted(set(ByteLevel.alphabet()) - {"!"})
    merges = [("r", "e"), ("re", "d</w>"), ("c", "a"), ("ca", "t</w>"), ("d", "o"), ("do", "g</w>")]
    tokens = ["!", *letters, "!</w>", *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges)]
    vocab = {token: index for index, token in enumerate([*tokens, "<|startoftext|>", "<|endoftext|>"])}
    return CLIPTokenizer(vocab=vocab, merges=merges, pad_token="!", model_max_length=context)


def _networks(words: Any) -> dict[str, Any]:
    clip = {
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "projection_dim": WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": WIDTH // HEAD,
    }
    text = CLIPTextConfig(
        **clip,
        vocab_size=len(words),
        max_position_embeddings=CONTEXT,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )
    decoder = _decoder()
    return {
        "text_encoder": CLIPTextModelWithProjection(text),
        "image_encoder": CLIPVisionModelWithProjection(CLIPVisionConfig(**clip, image_size=FINAL, patch_size=8)),
        "prior": PriorTransformer(
            num_attention_heads=WIDTH // HEAD,
            attention_head_dim=HEAD,
            num_layers=2,
            embedding_dim=WIDTH,
            num_embeddings=CONTEXT,
            additional_embeddings=4,
        ),
        "text_proj": UnCLIPTextProjModel(
            clip_embeddings_dim=WIDTH, time_embed_dim=4 * CHANNELS[0], cross_attention_dim=CROSS
        ),
        "decoder": decoder,
        "super_res_first": _upsampler(),
    }


def _decoder(**others: Any) -> Any:
    config = {
        "sample_size": BASE,
        "in_channels": 3,
        "out_channels": 6,
        "down_block_types": ("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
        "up_block_types": ("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        "block_out_channels": CHANNELS,
        "layers_per_block": 1,
        "cross_attention_dim": CROSS,
        "attention_head_dim": HEAD,
        "resnet_time_scale_shift": "scale_shift",
        "class_embed_type": "identity",
        "only_cross_attention": False,
        "norm_num_groups": 8,
    }
    return UNet2DConditionModel(**config | others)


def _upsampler() -> Any:
    return UNet2DModel(
        sample_size=FINAL,
        in_channels=6,
        out_channels=3,
        down_block_types=("ResnetDownsampleBlock2D",) * 2,
        up_block_types=("ResnetUpsampleBlock2D",) * 2,
        block_out_channels=(16, 32),
        layers_per_block=1,
        resnet_time_scale_shift="scale_shift",
        add_attention=False,
        norm_num_groups=8,
    )


@torch.no_grad()
def stir(network: nn.Module) -> None:
    """Makes every parameter matter: a fresh network has zeros where a mistake could hide."""
    for name, parameter in network.named_parameters():
        if name == "clip_std":
            parameter.uniform_(0.5, 1.5)
        elif name.endswith(("_embedding", "_embeddings", "clip_mean")):
            parameter.normal_(0.0, 0.5)
        elif parameter.dim() == 1:  # biases, and scales of the norms
            parameter.add_(0.1 * torch.randn_like(parameter))
        elif "text_model" in name or "vision_model" in name or "_projection" in name:
            parameter.normal_(0.0, 0.1)  # CLIP starts so small that captions hardly differ


def seal(folder: Path) -> None:
    """Has unclip.json list what is there now."""
    manifest = json.loads((folder / "unclip.json").read_text())
    write_manifest(folder, **{name: value for name, value in manifest.items() if name not in ("format", "files")})


def rewrite(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Has ``change`` alter what a checkpoint's unclip.json says."""
    path = folder / "unclip.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
