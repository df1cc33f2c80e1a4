"""A checkpoint with random weights in the sizes of Karlo v1 alpha, for measuring speed: 3.3 billion parameters.

Sizes are those of diffusers' ``scripts/convert_kakao_brain_unclip_to_diffusers.py``. Prior, decoder and upsampler are
there, the encoder is not. Made on the device, since a CPU would draw random numbers for minutes.
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

from tests.tiny import SCHEDULERS

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
