"""The networks of decoder and upsampler as functions of named tensors."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from decoder_svc import conditions, latents
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.diffusion.guidance import scale_embedding
from unclip.diffusion.process import Process
from unclip.errors import CheckpointError
from unclip.networks.interface import COMPONENTS, Network, NetworkName, Port, Signature, Tensors
from unclip.networks.placement import Placement

STUDENT: NetworkName = "decoder_student"
MIN_GUIDANCE_DIM = 4  # sines and cosines of two frequencies
# Of a student's configuration: by what it is told of the picture, which is what the decoder is told.
TOLD = ("cross_attention_dim", "class_embed_type", "addition_embed_type", "encoder_hid_dim", "encoder_hid_dim_type")
UPSAMPLERS: dict[NetworkName, str] = {"upsampler": "super_res_first", "upsampler_last": "super_res_last"}


def signature(name: NetworkName, checkpoint: Checkpoint) -> Signature:
    """Of the "decoder": noisy sample, timestep, and what `decoder_svc.conditions` says; of the "decoder_student" also
    the guidance scale; of an "upsampler" or "upsampler_last": noisy picture, timestep, and the small picture at final
    size; of a half of the autoencoder: see `decoder_svc.latents`."""
    if name in latents.HALVES:
        return latents.signature(name, checkpoint)
    config = checkpoint.config(COMPONENTS[name], "config.json")
    walking = checkpoint.config("decoder", "config.json") if name == STUDENT else config
    side, channels = int(walking["sample_size"]), int(config["out_channels"])
    if name in UPSAMPLERS:
        noisy = (Port("sample", "FP32", (3, side, side)), Port("timestep", "INT64"))
        return Signature(
            (*noisy, Port("large", "FP32", (3, side, side))), Port("predicted", "FP32", (channels, side, side))
        )
    walked, free = channels_of(checkpoint), -1 if checkpoint.latent else side

    def port(name: str, channels: int) -> Port:
        return Port(name, "FP32", (channels, free, free), latents.TRIAL, latents.scale_of(checkpoint))

    noisy = (port("sample", walked), Port("timestep", "INT64"))
    if name == STUDENT:
        guidance_dim(checkpoint)
        told = (Port("guidance", "FP32"), *conditions.ports_of(checkpoint))
        return Signature((*noisy, *told), port("predicted", channels))
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


def require_variance(name: NetworkName, checkpoint: Checkpoint, process: Process) -> None:
    """Raises CheckpointError where a network does not say the variance that its process takes from it: ancestral
    samplers would add noise of any size."""
    channels, said = 2 * channels_of(checkpoint), checkpoint.config(COMPONENTS[name], "config.json").get("out_channels")
    if process.variance == "learned_range" and said != channels:
        raise CheckpointError(
            f"checkpoint: {name}/config.json: out_channels must be {channels} where the scheduler's variance_type is "
            f"learned_range; got {said}"
        )


def guidance_dim(checkpoint: Checkpoint) -> int:
    """Dimensions in which the student is told its guidance scale. Raises CheckpointError for a network that is none."""
    config, walked = checkpoint.config(STUDENT, "config.json"), channels_of(checkpoint)
    if (taken := config.get("in_channels")) != walked:
        raise CheckpointError(f"checkpoint: {STUDENT}/config.json: in_channels must be {walked}; got {taken}")
    if (said := config.get("out_channels")) not in (walked, 2 * walked):
        raise CheckpointError(
            f"checkpoint: {STUDENT}/config.json: out_channels must be {walked}, or {2 * walked} with a variance; got "
            f"{said}"
        )
    taught = checkpoint.config("decoder", "config.json")
    for name in TOLD:
        if config.get(name) != taught.get(name):
            raise CheckpointError(
                f"checkpoint: {STUDENT}/config.json: {name} must be {taught.get(name)!r}, as the decoder's; got "
                f"{config.get(name)!r}"
            )
    dim = config.get("time_cond_proj_dim")
    if type(dim) is not int or dim < MIN_GUIDANCE_DIM:
        raise CheckpointError(
            f"checkpoint: {STUDENT}/config.json: time_cond_proj_dim must be {MIN_GUIDANCE_DIM} or more, for the "
            f"guidance scale; got {dim!r}"
        )
    return dim


def load(name: NetworkName, checkpoint: Checkpoint, placement: Placement) -> Network:
    """The "decoder", its student, an upsampler, or a half of the autoencoder, on a device. Raises CheckpointError."""
    if name in latents.HALVES:
        return latents.load(name, checkpoint, placement)
    if name in UPSAMPLERS:
        return placement.run(_upsampler(placement.load(UNet2DModel, checkpoint, UPSAMPLERS[name])))
    dim = guidance_dim(checkpoint) if name == STUDENT else 0
    network = placement.run(_decoder(placement.load(UNet2DConditionModel, checkpoint, COMPONENTS[name])))
    return _told_scale(network, dim) if dim else network


def _told_scale(student: Network, dim: int) -> Network:
    """Embeds the guidance scale in float32, whatever the student's own precision: half of it has no room for that."""

    def forward(inputs: Tensors) -> torch.Tensor:
        embedded = {name: value for name, value in inputs.items() if name != "guidance"}
        return student({**embedded, "guidance_embedding": scale_embedding(inputs["guidance"], dim)})

    return forward


def _decoder(network: Any) -> Network:
    def forward(inputs: Tensors) -> torch.Tensor:
        sample = inputs["sample"]
        if "known" in inputs:
            sample = torch.cat([sample, inputs["known"]], dim=1)
        given = {"timestep_cond": inputs.get("guidance_embedding"), **conditions.arguments_of(inputs)}
        out: torch.Tensor = network(sample, inputs["timestep"], **given).sample
        return out

    return forward


def _upsampler(network: Any) -> Network:
    def forward(inputs: Tensors) -> torch.Tensor:
        out: torch.Tensor = network(torch.cat([inputs["sample"], inputs["large"]], dim=1), inputs["timestep"]).sample
        return out

    return forward
