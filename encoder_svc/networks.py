"""CLIP's two encoders as functions of named tensors."""

from __future__ import annotations

from typing import Any

import torch
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPVisionModelWithProjection
from transformers.utils.logging import disable_progress_bar

from unclip.checkpoints.checkpoint import Checkpoint
from unclip.networks.interface import Network, NetworkName, Port, Signature, Tensors
from unclip.networks.placement import Placement


def signature(name: NetworkName, checkpoint: Checkpoint) -> Signature:
    """Of the "text_encoder", ids ``[L]`` to ``[D + L * H]``, the "decoder_text_encoder", ids ``[L]`` to ``[L * H]``, or
    the "image_encoder", pixels ``[3, S, S]`` to ``[D]``."""
    config = checkpoint.config(name, "config.json")
    dim = int(config.get("projection_dim", 512))
    if name == "image_encoder":
        side = int(config.get("image_size", 224))
        return Signature((Port("pixels", "FP32", (3, side, side)),), Port("embedding", "FP32", (dim,)))
    context, width = int(config.get("max_position_embeddings", 77)), int(config.get("hidden_size", 512))
    states = context * width if name == "decoder_text_encoder" else dim + context * width
    return Signature((Port("ids", "INT64", (context,)),), Port("encoding", "FP32", (states,)))


def load(name: NetworkName, checkpoint: Checkpoint, placement: Placement) -> Network:
    """The "text_encoder" or "image_encoder" on a device. Raises CheckpointError."""
    disable_progress_bar()  # bars are not for logs
    if name == "image_encoder":
        return placement.run(_image(placement.load(CLIPVisionModelWithProjection, checkpoint, name)))
    if name == "decoder_text_encoder":
        return placement.run(_states(placement.load(CLIPTextModel, checkpoint, name)))
    return placement.run(_text(placement.load(CLIPTextModelWithProjection, checkpoint, name)))


def _text(network: Any) -> Network:
    def forward(inputs: Tensors) -> torch.Tensor:
        """The embedding, then every token's last hidden state."""
        out = network(input_ids=inputs["ids"])
        return torch.cat([out.text_embeds, out.last_hidden_state.flatten(1)], dim=1)

    return forward


def _states(network: Any) -> Network:
    def forward(inputs: Tensors) -> torch.Tensor:
        """Every token's last hidden state."""
        out: torch.Tensor = network(input_ids=inputs["ids"]).last_hidden_state.flatten(1)
        return out

    return forward


def _image(network: Any) -> Network:
    def forward(inputs: Tensors) -> torch.Tensor:
        out: torch.Tensor = network(pixel_values=inputs["pixels"]).image_embeds
        return out

    return forward
