"""Networks of random weights in the sizes of Karlo v1 alpha, for measuring speed and memory: 3.7 billion parameters.

Sizes are those of diffusers' ``scripts/convert_kakao_brain_unclip_to_diffusers.py``, and CLIP's those of ViT-L/14.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.models.transformers.prior_transformer import PriorTransformer
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.deprecated.unclip.text_proj import UnCLIPTextProjModel
from diffusers.schedulers.scheduling_unclip import UnCLIPScheduler
from safetensors.torch import save_file
from transformers import (
    CLIPImageProcessorPil,
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from tests.tiny import SCHEDULERS, tokenizer

TFLOP = {"prior": 8.2, "decoder": 30.4, "upsampler": 59.5}  # of a picture: 25 and 25 guided steps, and 7 steps
CHANNELS = (320, 640, 960, 1280)


def prior() -> Any:
    """20 layers of width 2048, which are diffusers' defaults."""
    return PriorTransformer()


def text_projection() -> Any:
    """Of 768 dimensions, as CLIP ViT-L/14."""
    return UnCLIPTextProjModel(time_embed_dim=4 * CHANNELS[0], cross_attention_dim=1536)


def decoder() -> Any:
    """To 64 pixels."""
    return UNet2DConditionModel(
        sample_size=64,
        layers_per_block=3,
        down_block_types=("ResnetDownsampleBlock2D", *("SimpleCrossAttnDownBlock2D",) * 3),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=(*("SimpleCrossAttnUpBlock2D",) * 3, "ResnetUpsampleBlock2D"),
        block_out_channels=CHANNELS,
        in_channels=3,
        out_channels=6,
        cross_attention_dim=1536,
        class_embed_type="identity",
        attention_head_dim=64,
        resnet_time_scale_shift="scale_shift",
    )


def upsampler() -> Any:
    """From 64 to 256 pixels; two of these, the second for the last step."""
    return UNet2DModel(
        sample_size=256,
        layers_per_block=3,
        down_block_types=("ResnetDownsampleBlock2D",) * 4,
        up_block_types=("ResnetUpsampleBlock2D",) * 4,
        block_out_channels=CHANNELS,
        in_channels=6,
        out_channels=3,
        add_attention=False,
    )


def text_encoder() -> Any:
    """CLIP ViT-L/14's text half."""
    sizes = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    return CLIPTextModelWithProjection(CLIPTextConfig(**sizes, projection_dim=768, eos_token_id=2))


def image_encoder() -> Any:
    """CLIP ViT-L/14's image half."""
    sizes = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
    return CLIPVisionModelWithProjection(CLIPVisionConfig(**sizes, projection_dim=768, image_size=224, patch_size=14))


NETWORKS: Mapping[str, Callable[[], Any]] = {
    "prior": prior,
    "text_proj": text_projection,
    "decoder": decoder,
    "super_res_first": upsampler,
    "super_res_last": upsampler,
}


def make_karlo_sized_checkpoint(folder: Path, device: torch.device) -> Path:
    """Writes it in bfloat16, without a manifest, and returns ``folder``."""
    for name, make in NETWORKS.items():
        with device:
            network = make()
        network.to(torch.bfloat16).save_pretrained(folder / name)
        del network
    for name, config in SCHEDULERS.items():
        UnCLIPScheduler(**config).save_pretrained(folder / name)
    return folder


ENCODERS: Mapping[str, Callable[[], Any]] = {"text_encoder": text_encoder, "image_encoder": image_encoder}
BESIDE = {
    "prior": "prior_scheduler",
    "decoder": "decoder_scheduler",
    "super_res_first": "super_res_scheduler",
}


@torch.no_grad()
def make_karlo_part(folder: Path, name: str) -> int:
    """Writes a component, in float16, and what a service reads beside it; how many numbers it has.

    Without memory for more than the file: the network has none, and each tensor is drawn for itself.
    """
    with torch.device("meta"):
        network = {**NETWORKS, **ENCODERS}[name]()
    part = folder / name
    part.mkdir(parents=True)
    (network.config.to_json_file if name in ENCODERS else network.save_config)(
        part / "config.json" if name in ENCODERS else part
    )
    file = "model.safetensors" if name in ENCODERS else "diffusion_pytorch_model.safetensors"
    save_file({key: drawn(key, value) for key, value in network.state_dict().items()}, part / file, {"format": "pt"})
    if name in BESIDE:
        UnCLIPScheduler(**SCHEDULERS[BESIDE[name]]).save_pretrained(folder / BESIDE[name])
    elif name == "text_encoder":
        tokenizer(77).save_pretrained(folder / "tokenizer")
    elif name == "image_encoder":
        CLIPImageProcessorPil(size={"shortest_edge": 224}, crop_size={"height": 224, "width": 224}).save_pretrained(
            folder / "feature_extractor"
        )
    return sum(parameter.numel() for parameter in network.parameters())


def drawn(name: str, shaped: torch.Tensor) -> torch.Tensor:
    """Random values for a tensor, such that a network of them keeps the scale of what it is given."""
    if name == "clip_std":
        return torch.ones(shaped.shape).half()
    if shaped.dim() > 1:
        bound = (3 / shaped[0].numel()) ** 0.5
        return torch.empty(shaped.shape).uniform_(-bound, bound).half()
    return torch.full(shaped.shape, 1.0 if name.endswith("weight") else 0.0).half()  # norms, and biases
