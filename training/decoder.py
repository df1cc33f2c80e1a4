"""The decoder: noise prediction with learned variance under a CLIP image embedding and a caption (section 2.1)."""

from __future__ import annotations

from dataclasses import replace

import torch
from PIL import Image
from torch import nn
from torch.nn import functional
from transformers import CLIPTokenizer

from training import clip as clip_stage
from training.clip import Clip
from training.decoder_network import Decoder, Variance
from training.embeddings import Examples, encode_texts
from training.grow import grow_decoder, weights
from training.loop import UNLIMITED, arguments, choose, device, fit, flips, normal, uniform
from training.presets import Limits, Preset, Stage
from training.quick import compiled
from training.scaling import reduce
from training.watch import denoised, tiled
from unclip.diffusion.schedule import NoiseSchedule

DROP_IMAGE, DROP_TEXT = 0.1, 0.4  # section 2.1 drops half of the captions
# An embedding beside a caption is disturbed in half of the cases, by up to this share of its length: the caption has to
# be read then, and a guess of the prior's, which is a little off too, does no harm.
VAGUE = 0.6
SNR = 5.0  # min-SNR weighting: Hang et al. 2023, arXiv 2303.09556
VARIANCE_WEIGHT = 1.0  # of the variational bound beside the noise error; Nichol & Dhariwal 2021 use T/1000 too
# The first step's x0 is a noise prediction magnified 20,000 times and clamped: a picture of nothing, often of one
# colour. A network that trusts the colour of what is left of it in x_t ends on a wrong background. Hence noise that is
# a little off in whole areas, and weight on the errors of areas.
OFFSETS = {1: 0.1, 4: 0.05}  # side of a grid of areas: deviation
COARSE = {4: 0.25, 32: 0.05}  # side of an area in px: weight
GUIDANCE = 2.0  # of the sample sheets


def train(preset: Preset, clip: Clip, words: CLIPTokenizer, data: Examples, limits: Limits = UNLIMITED) -> Decoder:
    """Trains the decoder, or loads it if it is trained."""
    network = untrained(preset)
    if preset.start:
        grow_decoder(network, weights(preset.start, "text_proj"), weights(preset.start, "decoder"))
    if preset.keeps("decoder"):
        return network.eval()
    if preset.small.steps and preset.start is None and not (preset.folder / "decoder.pt").exists():
        half = replace(preset, base_size=preset.base_size // 2, decoder_channels=preset.decoder_channels[1:])
        small = untrained(half)
        learn("small", half, preset.small, small, clip, words, data, limits)
        grow_decoder(network, small.projection.state_dict(), small.unet.state_dict())
    learn("decoder", preset, preset.decoder, network, clip, words, data, limits)
    return network


def untrained(preset: Preset) -> Decoder:
    """A decoder that knows nothing."""
    torch.manual_seed(0)
    network = Decoder(preset).to(device())
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    nn.init.normal_(network.projection.learned_classifier_free_guidance_embeddings, std=0.02)
    return network


def learn(
    name: str,
    preset: Preset,
    stage: Stage,
    network: Decoder,
    clip: Clip,
    words: CLIPTokenizer,
    data: Examples,
    limits: Limits,
) -> None:
    """Trains ``network`` on pictures of the preset's base size."""
    quick = compiled(network, stage, device())
    schedule = NoiseSchedule.squaredcos_cap_v2()
    bars = torch.from_numpy(schedule.alphas_cumprod).float().to(device())
    min_snr = (SNR * (1 - bars) / bars).clamp(max=1)
    variance = Variance(schedule, device())
    empty = encode_texts(clip, words, [""])

    def loss(generator: torch.Generator) -> torch.Tensor:
        count = stage.batch
        seen = data.draw(count // preset.noises, generator).repeated(preset.noises)
        clean = reduce(seen.base, preset.base_size)
        no_image = flips(count, DROP_IMAGE, generator).to(clean.device)[:, None]
        no_text = flips(count, DROP_TEXT, generator).to(clean.device)[:, None]
        image = vague(seen.image, ~no_text, generator)
        null = network.projection.learned_classifier_free_guidance_embeddings
        t = choose(len(bars), count, generator).to(clean.device)
        signal = bars[t][:, None, None, None]
        noise = normal(clean.shape, generator)
        for side, scale in OFFSETS.items():
            offset = normal((count, 3, side, side), generator)
            noise = noise + scale * (1 - signal) * functional.interpolate(offset, clean.shape[-2:], mode="bilinear")
        predicted, raw = quick(
            signal.sqrt() * clean + (1 - signal).sqrt() * noise,
            t,
            torch.where(no_image, null, image),
            torch.where(no_text, empty[0], seen.text),
            torch.where(no_text[:, :, None], empty[1], seen.states),
            torch.where(no_text, empty[2], seen.mask),
        ).chunk(2, dim=1)
        predicted, raw = predicted.float(), raw.float()
        bound = variance.loss(t, (predicted - noise).detach(), raw)
        # The error of noise, weighed by min(SNR, 5) / SNR: steps with hardly any noise do not drown the others.
        error = (predicted - noise) * min_snr[t].sqrt()[:, None, None, None]
        coarse = torch.zeros((), device=clean.device)
        for side, weight in COARSE.items():
            side = min(side, preset.base_size)
            # The mean of an area of noise has 1 / side**2 of a pixel's variance.
            coarse = coarse + weight * side**2 * functional.avg_pool2d(error, side).square().mean()
        total: torch.Tensor = error.square().mean() + coarse + VARIANCE_WEIGHT / 1000 * bound
        return total

    shown = data.draw(24, torch.Generator(device()).manual_seed(7))
    wanted = reduce(shown.base, preset.base_size)

    def sheet() -> Image.Image:
        """Taught pictures above what the decoder makes of their embeddings and captions."""
        text, states, mask = shown.text, shown.states, shown.mask
        count = len(text)
        null = network.projection.learned_classifier_free_guidance_embeddings.expand(count, -1)
        nothing = [x.expand(count, *x.shape[1:]) for x in empty]

        def noise_of(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            given = network(x, t, shown.image, text, states, mask)[:, :3].float()
            free = network(x, t, null, *nothing)[:, :3].float()
            guided: torch.Tensor = free + GUIDANCE * (given - free)
            return guided

        made = denoised(noise_of, wanted, schedule, steps=20)
        return tiled([wanted, made], columns=12)

    fit(name, preset, network, loss, stage, limits, sheet=sheet)


def vague(image: torch.Tensor, captioned: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Embeddings ``[B, D]``, half of those with a caption (bool ``[B, 1]``) disturbed by noise of some strength."""
    count, width = image.shape
    strength = VAGUE * uniform((count, 1), generator) * flips(count, 0.5, generator)[:, None] * captioned
    length = torch.linalg.vector_norm(image, dim=1, keepdim=True) / width**0.5
    disturbed: torch.Tensor = image + strength * length * normal(image.shape, generator)
    return disturbed


if __name__ == "__main__":
    preset, limits = arguments("Trains the decoder.")
    clip, words = clip_stage.train(preset)
    train(preset, clip, words, Examples(preset, clip, words), limits)
