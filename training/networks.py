"""The networks of a preset, untrained, in the shapes that diffusers' unCLIP layout expects.

Architectures follow Karlo's (kakaobrain, arXiv 2204.06125 reimplemented), scaled down.
"""

from __future__ import annotations

from diffusers.models.transformers.prior_transformer import PriorTransformer
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.deprecated.unclip.text_proj import UnCLIPTextProjModel
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from training.loop import device
from training.presets import Preset
from training.quick import plain_attention

HEAD = 32  # channels of an attention head, everywhere
TOLD = 256  # numbers that stand for a guidance scale
ATTENTIVE = 2  # levels of the decoder that look at its conditions: the innermost, where pixels are few


def text_encoder(preset: Preset, tokenizer: CLIPTokenizer) -> nn.Module:
    """CLIP's text half. The end token's id must not be 2: transformers pools differently for that one."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=preset.width,
        intermediate_size=4 * preset.width,
        projection_dim=preset.width,
        num_hidden_layers=preset.clip_layers,
        num_attention_heads=preset.width // HEAD,
        max_position_embeddings=preset.context,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return plain_attention(CLIPTextModelWithProjection(config), device())  # type: ignore[no-any-return]


def image_encoder(preset: Preset) -> nn.Module:
    """CLIP's image half."""
    config = CLIPVisionConfig(
        hidden_size=preset.width,
        intermediate_size=4 * preset.width,
        projection_dim=preset.width,
        num_hidden_layers=preset.clip_layers,
        num_attention_heads=preset.width // HEAD,
        image_size=preset.clip_size,
        patch_size=preset.patch,
    )
    return plain_attention(CLIPVisionModelWithProjection(config), device())  # type: ignore[no-any-return]


def prior(preset: Preset) -> nn.Module:
    """The diffusion prior (section 2.2): text states, text embedding, time, noisy embedding and a query token."""
    transformer = PriorTransformer(
        num_attention_heads=preset.width // HEAD,
        attention_head_dim=HEAD,
        num_layers=preset.prior_layers,
        embedding_dim=preset.width,
        num_embeddings=preset.context,
        additional_embeddings=4,
    )
    return plain_attention(transformer, device())  # type: ignore[no-any-return]


def text_projection(preset: Preset) -> nn.Module:
    """Image and text embedding to time embedding and 4 extra context tokens (section 2.1)."""
    return UnCLIPTextProjModel(  # type: ignore[no-any-return]
        clip_embeddings_dim=preset.width,
        time_embed_dim=4 * preset.decoder_channels[0],
        cross_attention_dim=preset.decoder_channels[-1],
    )


def decoder(preset: Preset) -> nn.Module:
    """The base diffusion U-Net: predicts v."""
    return _painter(preset, preset.decoder_channels)


def student(preset: Preset) -> nn.Module:
    """The decoder's student: predicts v, and is told the guidance scale."""
    channels = preset.student_channels or preset.decoder_channels
    return _painter(preset, channels, time_cond_proj_dim=TOLD)


def _painter(preset: Preset, channels: tuple[int, ...], **more: int) -> nn.Module:
    outer = len(channels) - ATTENTIVE
    unet = UNet2DConditionModel(
        sample_size=preset.base_size,
        in_channels=3,
        out_channels=3,
        down_block_types=("ResnetDownsampleBlock2D",) * outer + ("SimpleCrossAttnDownBlock2D",) * ATTENTIVE,
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D",) * ATTENTIVE + ("ResnetUpsampleBlock2D",) * outer,
        block_out_channels=channels,
        layers_per_block=1,
        cross_attention_dim=preset.decoder_channels[-1],
        attention_head_dim=HEAD,
        resnet_time_scale_shift="scale_shift",
        class_embed_type="identity",
        only_cross_attention=False,
        norm_num_groups=32 if channels[0] % 32 == 0 else 16,
        conv_in_kernel=preset.decoder_kernel,
        conv_out_kernel=preset.decoder_kernel,
        **more,
    )
    return plain_attention(unet, device())  # type: ignore[no-any-return]


def upsampler(preset: Preset) -> nn.Module:
    """The diffusion upsampler: sees x_t beside the upscaled base picture, no attention, no text."""
    return UNet2DModel(  # type: ignore[no-any-return]
        sample_size=preset.size,
        in_channels=6,
        out_channels=3,
        down_block_types=("ResnetDownsampleBlock2D",) * len(preset.upsampler_channels),
        up_block_types=("ResnetUpsampleBlock2D",) * len(preset.upsampler_channels),
        block_out_channels=preset.upsampler_channels,
        layers_per_block=1,
        resnet_time_scale_shift="scale_shift",
        add_attention=False,
        norm_num_groups=preset.upsampler_channels[0] // 4,  # a group of one channel would lose its mean: its colour
    )
