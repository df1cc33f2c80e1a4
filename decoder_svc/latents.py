"""Latents: what a decoder may walk instead of pixels, and the autoencoder that leads there and back.

Two halves of one component, each a network of its own: the decoder service reads pictures with the first, for
inversion and edits, and the upsampler service makes pictures with the second.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.vq_model import VQModel
from torch.nn import functional

from unclip.checkpoints.checkpoint import Checkpoint
from unclip.checkpoints.components import AUTOENCODER
from unclip.errors import CheckpointError
from unclip.networks.interface import Network, NetworkName, Port, Signature, Tensors
from unclip.networks.placement import Placement

HALVES: dict[NetworkName, tuple[str, ...]] = {
    "latent_encoder": ("encoder", "quant_conv"),
    "latent_decoder": ("decoder", "post_quant_conv"),
}
KINDS: dict[str, Any] = {"AutoencoderKL": AutoencoderKL, "VQModel": VQModel}
TRIAL = 8  # sides of the latents of a trial run
NEIGHBOURS = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (1, 1))  # rows down, columns to the right


def config_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """The autoencoder's. Raises CheckpointError for one that is not supported."""
    config = checkpoint.config(AUTOENCODER, "config.json")
    if config.get("_class_name") not in KINDS or config.get("lookup_from_codebook"):
        raise CheckpointError(
            f"checkpoint: {AUTOENCODER} must be one of {', '.join(KINDS)}, without codebook; "
            f"got {config.get('_class_name')}"
        )
    factor = config.get("scaling_factor", 1.0)
    if not isinstance(factor, (int, float)) or isinstance(factor, bool) or not 0 < factor < math.inf:
        raise CheckpointError(
            f"checkpoint: {AUTOENCODER}/config.json: scaling_factor must be more than 0; got {factor}"
        )
    return config


def scale_of(checkpoint: Checkpoint) -> int:
    """Pixels to a side of each latent; 1 where the decoder walks pixels."""
    return 2 ** (len(config_of(checkpoint)["block_out_channels"]) - 1) if checkpoint.latent else 1


def size_of(checkpoint: Checkpoint) -> int:
    """Side of the decoder's pictures, in pixels, where nothing else is asked for."""
    return int(checkpoint.config("decoder", "config.json")["sample_size"]) * scale_of(checkpoint)


def signature(name: NetworkName, checkpoint: Checkpoint) -> Signature:
    """Of the "latent_encoder", pixels ``[3, H, W]`` to latents ``[C, h, w]``, or "latent_decoder", the way back."""
    scale, channels = scale_of(checkpoint), int(config_of(checkpoint)["latent_channels"])
    pixels = Port("pixels", "FP32", (3, -1, -1), TRIAL * scale, 1)
    latents = Port("latents", "FP32", (channels, -1, -1), TRIAL, scale)
    return Signature((pixels,), latents) if name == "latent_encoder" else Signature((latents,), pixels)


def load(name: NetworkName, checkpoint: Checkpoint, placement: Placement) -> Network:
    """One half on a device. Raises CheckpointError."""
    config = config_of(checkpoint)
    network = placement.load(KINDS[config["_class_name"]], checkpoint, AUTOENCODER, HALVES[name])
    return placement.run(HALF_OF[name, config["_class_name"]](network, float(config.get("scaling_factor", 1.0))))


def _variational_encoder(network: Any, scaling: float) -> Network:
    def forward(inputs: Tensors) -> torch.Tensor:
        # The middle of the distribution: a picture's latents are not to depend on chance.
        out: torch.Tensor = network.encode(inputs["pixels"]).latent_dist.mode() * scaling
        return out

    return forward


def _variational_decoder(network: Any, scaling: float) -> Network:
    def forward(inputs: Tensors) -> torch.Tensor:
        out: torch.Tensor = network.decode(inputs["latents"] / scaling).sample
        return out

    return forward


def _movq_encoder(network: Any, _: float) -> Network:
    def forward(inputs: Tensors) -> torch.Tensor:
        out: torch.Tensor = network.encode(inputs["pixels"]).latents
        return out

    return forward


def _movq_decoder(network: Any, _: float) -> Network:
    def forward(inputs: Tensors) -> torch.Tensor:
        out: torch.Tensor = network.decode(inputs["latents"], force_not_quantize=True).sample
        return out

    return forward


HALF_OF = {
    ("latent_encoder", "AutoencoderKL"): _variational_encoder,
    ("latent_decoder", "AutoencoderKL"): _variational_decoder,
    ("latent_encoder", "VQModel"): _movq_encoder,
    ("latent_decoder", "VQModel"): _movq_decoder,
}


def known_latents(mask: torch.Tensor, scale: int) -> torch.Tensor:
    """Which latents are known of a picture of which ``mask``, bool ``[H, W]``, is: bool ``[h, w]``.

    Those whose pixels all are, and their neighbours' too, in which they are seen as well. Which neighbours is as
    Kandinsky's inpainting has it, whose network was trained so: all but those up right and down left.
    """
    free = functional.max_pool2d((~mask)[None, None].float(), scale)
    rows, columns = free.shape[2:]
    around = functional.pad(free, (1, 1, 1, 1))[0, 0]
    shifted = [around[1 + down : 1 + down + rows, 1 + right : 1 + right + columns] for down, right in NEIGHBOURS]
    return torch.stack(shifted).amax(0) == 0
