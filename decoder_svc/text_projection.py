"""Joins image and text embedding for the decoder's U-Net (section 2.1 of the paper): the ``text_proj`` component."""

from __future__ import annotations

import torch
from torch import nn

from unclip.checkpoints.checkpoint import Checkpoint, loading
from unclip.networks.loading import load_weights, weight_files


class TextProjection(nn.Module):
    """A CLIP image embedding becomes part of the time embedding and, beside it, extra tokens of context.

    Parameter names are those of published unCLIP checkpoints.
    """

    def __init__(self, *, clip_embeddings_dim: int, time_embed_dim: int, cross_attention_dim: int, tokens: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.learned_classifier_free_guidance_embeddings = nn.Parameter(torch.zeros(clip_embeddings_dim))
        self.embedding_proj = nn.Linear(clip_embeddings_dim, time_embed_dim)
        self.clip_image_embeddings_project_to_time_embeddings = nn.Linear(clip_embeddings_dim, time_embed_dim)
        self.clip_extra_context_tokens_proj = nn.Linear(clip_embeddings_dim, tokens * cross_attention_dim)
        self.encoder_hidden_states_proj = nn.Linear(clip_embeddings_dim, cross_attention_dim)
        self.text_encoder_hidden_states_norm = nn.LayerNorm(cross_attention_dim)

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> TextProjection:
        """Loads the ``text_proj`` folder.

        Raises:
            CheckpointError: config or weights are missing or do not fit.
        """
        config = checkpoint.config("text_proj", "config.json")
        with loading("text_proj"):
            module = cls(
                clip_embeddings_dim=config.get("clip_embeddings_dim", 768),
                time_embed_dim=config["time_embed_dim"],
                cross_attention_dim=config["cross_attention_dim"],
                tokens=config.get("clip_extra_context_tokens", 4),
            )
            load_weights(module, weight_files(checkpoint, "text_proj"), torch.device("cpu"), torch.float32)
        return module

    def forward(
        self, image: torch.Tensor, text: torch.Tensor, states: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Image ``[B, D]``, text ``[B, D]``, states ``[B, L, D]``, mask bool ``[B, L]`` to the U-Net's inputs.

        Returns (context ``[B, 4 + L, C]``, addition to the time embedding ``[B, T]``, mask bool ``[B, 4 + L]``).
        """
        addition = self.clip_image_embeddings_project_to_time_embeddings(image) + self.embedding_proj(text)
        # The projection's output holds the tokens as its last axis: an accident of the published weights.
        extra = self.clip_extra_context_tokens_proj(image).reshape(len(image), -1, self.tokens).transpose(1, 2)
        projected = self.text_encoder_hidden_states_norm(self.encoder_hidden_states_proj(states))
        seen = torch.ones(len(mask), self.tokens, dtype=torch.bool, device=mask.device)
        return torch.cat([extra, projected], dim=1), addition, torch.cat([seen, mask], dim=1)
