"""The networks of decoder and upsampler as functions of named tensors."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from decoder_svc import conditions, latents
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.errors import CheckpointError
from unclip.networks.interface import Network, NetworkName, Port, Signature, Tensors
from unclip.networks.placement import Placement

UPSAMPLERS: dict[NetworkName, str] = {"upsampler": "super_res_first", "upsampler_last": "super_res_last"}


def signature(name: NetworkName, checkpoint: Checkpoint) -> Signature:
    """Of the "decoder": noisy sample, timestep, and what `decoder_svc.conditions` says; of an "upsampler" or
    "upsampler_last": noisy picture, timestep, and the small picture at final size; of a half of the autoencoder: see
    `decoder_svc.latents`."""
    if name in latents.HALVES:
        return latents.signature(name, checkpoint)
    config = checkpoint.config(UPSAMPLERS.get(name, "decoder"), "config.json")
    side, channels = int(config["sample_size"]), int(config["out_channels"])
    if name in UPSAMPLERS:
        noisy = (Port("sample", "FP32", (3, side, side)), Port("timestep", "INT64"))
        return Signature(
            (*noisy, Port("large", "FP32", (3, side, side))), Port("predicted", "FP32", (channels, side, side))
        )
    walked, free = channels_of(checkpoint), -1 if checkpoint.latent else side

    def port(name: str, channels: int) -> Port:
        return Port(name, "FP32", (channels, free, free), latents.TRIAL, latents.scale_of(checkpoint))

    noisy = (port("sample", walked), Port("timestep", "INT64"))
    seen = (port("known", walked + 1),) if sees_known(checkpoint) else ()
    return Signature((*noisy, *seen, *conditions.ports_of(checkpoint)), port("predicted", channels))


def channels_of(checkpoint: Checkpoint) -> int:
    """Of what the decoder walks: latents, or a picture's three."""
    return int(latents.config_of(checkpoint)["latent_channels"]) if checkpoint.latent else 3


def sees_known(checkpoint: Checkpoint) -> bool:
    """Whether the decoder is shown what is known of a picture, and where: latents with their mask behind them."""
    channels, taken = channels_of(checkpoint), checkpoint.config("decoder", "config.json").get("in_channels")
    if taken not in (channels, 2 * channels + 1):
        raise CheckpointError(
            f"checkpoint: decoder/config.json: in_channels must be {channels}, or {2 * channels + 1} where it is shown "
            f"what is known of a picture; got {taken}"
        )
    return bool(taken != channels)


def load(name: NetworkName, checkpoint: Checkpoint, placement: Placement) -> Network:
    """The "decoder", an upsampler, or a half of the autoencoder, on a device. Raises CheckpointError."""
    if name in latents.HALVES:
        return latents.load(name, checkpoint, placement)
    if name in UPSAMPLERS:
        return placement.run(_upsampler(placement.load(UNet2DModel, checkpoint, UPSAMPLERS[name])))
    return placement.run(_decoder(placement.load(UNet2DConditionModel, checkpoint, "decoder")))


def _decoder(network: Any) -> Network:
    def forward(inputs: Tensors) -> torch.Tensor:
        sample = inputs["sample"]
        if "known" in inputs:
            sample = torch.cat([sample, inputs["known"]], dim=1)
        out: torch.Tensor = network(sample, inputs["timestep"], **conditions.arguments_of(inputs)).sample
        return out

    return forward


def _upsampler(network: Any) -> Network:
    def forward(inputs: Tensors) -> torch.Tensor:
        out: torch.Tensor = network(torch.cat([inputs["sample"], inputs["large"]], dim=1), inputs["timestep"]).sample
        return out

    return forward
