"""The prior's network as a function of named tensors."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.transformers.prior_transformer import PriorTransformer

from unclip.checkpoints.checkpoint import Checkpoint
from unclip.networks.interface import Network, NetworkName, Port, Signature, Tensors
from unclip.networks.placement import Placement


def signature(name: NetworkName, checkpoint: Checkpoint) -> Signature:
    """Of the "prior": noisy embedding, timestep, and a caption's encoding to the predicted embedding."""
    config = checkpoint.config("prior", "config.json")
    dim, context = int(config.get("embedding_dim", 768)), int(config.get("num_embeddings", 77))
    return Signature(
        (
            Port("sample", "FP32", (dim,)),
            Port("timestep", "INT64"),
            Port("text", "FP32", (dim,)),
            Port("states", "FP32", (context, dim)),
            Port("mask", "BOOL", (context,)),
        ),
        Port("predicted", "FP32", (dim,)),
    )


def load(name: NetworkName, checkpoint: Checkpoint, placement: Placement) -> Network:
    """The "prior" on a device. Raises CheckpointError."""
    network: Any = placement.load(PriorTransformer, checkpoint, "prior")

    def forward(inputs: Tensors) -> torch.Tensor:
        out: torch.Tensor = network(
            inputs["sample"],
            timestep=inputs["timestep"],
            proj_embedding=inputs["text"],
            encoder_hidden_states=inputs["states"],
            attention_mask=inputs["mask"],
        ).predicted_image_embedding
        return out

    return placement.run(forward)
