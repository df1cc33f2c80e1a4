"""The decoder's networks as they are trained, and the term that teaches its variance."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from training import networks
from training.presets import Preset
from unclip.diffusion.schedule import NoiseSchedule


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
        """``[B, 6, h, h]``: v, and where the log-variance lies between its bounds, in [-1, 1]."""
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


class Variance:
    """The variational bound's term for the learned variance (Nichol & Dhariwal 2021, arXiv 2102.09672, eq. 14-16)."""

    def __init__(self, schedule: NoiseSchedule, where: torch.device) -> None:
        def table(values: object) -> torch.Tensor:
            return torch.as_tensor(values).float().to(where)

        bars = torch.from_numpy(schedule.alphas_cumprod)
        before = torch.cat([torch.ones(1, dtype=bars.dtype), bars[:-1]])
        betas = torch.from_numpy(schedule.betas)
        self.low = table(((1 - before) / (1 - bars) * betas).clamp(min=1e-20).log())
        self.low[0] = self.low[1]  # no noise at t = 0: its bound is -inf
        self.high = table(betas.log())
        # Mean of the posterior differs from the predicted one by scale * (noise error).
        self.scale = table(betas / ((1 - betas).sqrt() * (1 - bars).sqrt()))

    def loss(self, t: torch.Tensor, error: torch.Tensor, raw: torch.Tensor) -> torch.Tensor:
        """Kullback-Leibler divergence in bits per dimension; error is detached noise error, raw the second half."""
        low, high, scale = (x[t][:, None, None, None] for x in (self.low, self.high, self.scale))
        share = (raw + 1) / 2
        log_variance = share * high + (1 - share) * low
        divergence = 0.5 * (
            log_variance - low - 1 + (low - log_variance).exp() + (scale * error) ** 2 * (-log_variance).exp()
        )
        return divergence.mean() / 0.6931
