"""The decoder's networks as they are trained."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from training import networks
from training.presets import Preset


class Decoder(nn.Module):
    """The U-Net and the projection of its conditions, trained together."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.projection: Any = networks.text_projection(preset)
        self.unet = networks.decoder(preset)

    def forward(
        self,
        noisy: torch.Tensor,
        t: torch.Tensor,
        image: torch.Tensor,
        text: torch.Tensor,
        states: torch.Tensor,
        mask: torch.Tensor,
    ) -> torch.Tensor:
        """v, ``[B, 3, h, h]``."""
        return self.painted(noisy, t, *self.conditions(image, text, states, mask))

    def conditions(
        self, image: torch.Tensor, text: torch.Tensor, states: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What the U-Net is told: context ``[B, 4 + L, C]``, what joins the time ``[B, T]``, mask ``[B, 4 + L]``."""
        context, extra = self.projection(
            image_embeddings=image,
            prompt_embeds=text,
            text_encoder_hidden_states=states,
            do_classifier_free_guidance=False,
        )
        return context, extra, functional.pad(mask, (self.projection.clip_extra_context_tokens, 0), value=True)

    def painted(
        self, noisy: torch.Tensor, t: torch.Tensor, context: torch.Tensor, extra: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """`forward` under conditions that are known."""
        out: torch.Tensor = self.unet(
            noisy, t, encoder_hidden_states=context, class_labels=extra, attention_mask=mask
        ).sample
        return out
