"""The diffusion prior: predicts the clean image embedding, mean-squared error (section 2.2, eq. 2)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import CLIPTokenizer

from training import clip as clip_stage
from training import networks
from training.clip import Clip
from training.embeddings import Examples, encode_texts
from training.grow import take_over
from training.loop import UNLIMITED, arguments, choose, device, fit, flips, normal
from training.presets import Limits, Preset
from training.quick import compiled
from unclip.diffusion.schedule import NoiseSchedule

MEASURED = 24  # batches that the embeddings' mean and deviation are taken from
DROP = 0.1  # of the captions become the empty one, so that guidance has something to steer away from


def train(preset: Preset, clip: Clip, words: CLIPTokenizer, data: Examples, limits: Limits = UNLIMITED) -> nn.Module:
    """Trains the prior, or loads it if it is trained or kept. Embeddings are given zero mean and unit deviation."""
    torch.manual_seed(0)
    network: Any = networks.prior(preset).to(device())
    if preset.start:
        take_over(network, preset.start, "prior")
    if preset.keeps("prior"):
        kept: nn.Module = network.eval()
        return kept
    if not preset.keeps("clip"):
        generator = torch.Generator(device()).manual_seed(2**31)
        image = torch.cat([data.draw(preset.prior.batch, generator).image for _ in range(MEASURED)])
        network.clip_mean.data.copy_(image.mean(0, keepdim=True))
        network.clip_std.data.copy_(image.std(0, keepdim=True).clamp(min=1e-3))
    quick = compiled(network, preset.prior, device())
    schedule = torch.from_numpy(NoiseSchedule.squaredcos_cap_v2().alphas_cumprod).float().to(device())
    empty = encode_texts(clip, words, [""])
    # Parameters only: the statistics above are set, not learned.
    network.clip_mean.requires_grad_(False)
    network.clip_std.requires_grad_(False)

    def loss(generator: torch.Generator) -> torch.Tensor:
        count = preset.prior.batch
        shown = data.draw(count, generator)
        clean = (shown.image - network.clip_mean) / network.clip_std
        dropped = flips(count, DROP, generator).to(clean.device)
        text = torch.where(dropped[:, None], empty[0], shown.text)
        states = torch.where(dropped[:, None, None], empty[1], shown.states)
        mask = torch.where(dropped[:, None], empty[2], shown.mask)
        t = choose(len(schedule), count, generator).to(clean.device)
        signal = schedule[t][:, None]
        noisy = signal.sqrt() * clean + (1 - signal).sqrt() * normal(clean.shape, generator)
        predicted = quick(
            noisy, timestep=t, proj_embedding=text, encoder_hidden_states=states, attention_mask=mask
        ).predicted_image_embedding
        return functional.mse_loss(predicted, clean)

    fit("prior", preset, network, loss, preset.prior, limits, made_from=[clip])
    trained: nn.Module = network
    return trained


if __name__ == "__main__":
    preset, limits = arguments("Trains the prior.")
    clip, words = clip_stage.train(preset)
    train(preset, clip, words, Examples(preset, clip, words), limits)
