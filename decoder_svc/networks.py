"""The U-Nets of decoder and upsampler as functions of named tensors."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from unclip.checkpoints.checkpoint import Checkpoint
from unclip.networks.interface import Network, NetworkName, Port, Signature, Tensors
from unclip.networks.placement import Placement

UPSAMPLERS: dict[NetworkName, str] = {"upsampler": "super_res_first", "upsampler_last": "super_res_last"}


def signature(name: NetworkName, checkpoint: Checkpoint) -> Signature:
    """Of the "decoder": noisy picture, timestep, context, addition to the time embedding; of an "upsampler" or
    "upsampler_last": noisy picture, timestep, and the small picture at final size."""
    folder = UPSAMPLERS.get(name, "decoder")
    config = checkpoint.config(folder, "config.json")
    side, channels = int(config["sample_size"]), int(config["out_channels"])
    noisy = (Port("sample", "FP32", (3, side, side)), Port("timestep", "INT64"))
    predicted = Port("predicted", "FP32", (channels, side, side))
    if name in UPSAMPLERS:
        return Signature((*noisy, Port("large", "FP32", (3, side, side))), predicted)
    projection = checkpoint.config("text_proj", "config.json")
    conditions = (
        Port("context", "FP32", (-1, int(projection["cross_attention_dim"]))),
        Port("addition", "FP32", (int(projection["time_embed_dim"]),)),
        Port("mask", "BOOL", (-1,)),
    )
    return Signature((*noisy, *conditions), predicted)


def load(name: NetworkName, checkpoint: Checkpoint, placement: Placement) -> Network:
    """The "decoder", "upsampler" or "upsampler_last" on a device. Raises CheckpointError."""
    if name in UPSAMPLERS:
        return placement.run(_upsampler(placement.load(UNet2DModel, checkpoint, UPSAMPLERS[name])))
    return placement.run(_decoder(placement.load(UNet2DConditionModel, checkpoint, "decoder")))


def _decoder(network: Any) -> Network:
    def forward(inputs: Tensors) -> torch.Tensor:
        out: torch.Tensor = network(
            inputs["sample"],
            inputs["timestep"],
            encoder_hidden_states=inputs["context"],
            class_labels=inputs["addition"],
            attention_mask=inputs["mask"],
        ).sample
        return out

    return forward


def _upsampler(network: Any) -> Network:
    def forward(inputs: Tensors) -> torch.Tensor:
        out: torch.Tensor = network(torch.cat([inputs["sample"], inputs["large"]], dim=1), inputs["timestep"]).sample
        return out

    return forward
