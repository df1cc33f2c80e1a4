"""The decoder, under a CLIP image embedding and a caption (section 2.1): it predicts v in place of noise.

v is signal * noise - noisiness * x0 (arXiv 2202.00512, section 4). Where there is hardly any signal left, a prediction
of noise has to be right to a thousandth before it says anything of the picture: what is drawn then follows from the
first noise alone, in blots. Unlike the paper's it learns no variance: what one learns between neighbours of a thousand
steps is far too wide between those of twelve, and leaves grain.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from PIL import Image
from torch import nn
from transformers import CLIPTokenizer

from training import clip as clip_stage
from training.clip import Clip
from training.decoder_network import Decoder
from training.embeddings import Examples, encode_texts
from training.grow import grow_decoder, weights
from training.loop import UNLIMITED, arguments, choose, device, fit, flips, normal, uniform
from training.presets import Limits, Preset, Stage
from training.quick import compiled
from training.scaling import reduce
from training.watch import denoised, tiled
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.diffusion.process import Process
from unclip.diffusion.schedule import NoiseSchedule

SCHEDULER = {
    "_class_name": "DDPMScheduler",  # UnCLIPScheduler knows no v; timesteps are as it has them
    "beta_schedule": "squaredcos_cap_v2",
    "prediction_type": "v_prediction",
    "variance_type": "fixed_small_log",
    "timestep_spacing": "linspace",
}
DROP_IMAGE, DROP_TEXT = 0.1, 0.4  # section 2.1 drops half of the captions
# An embedding beside a caption is disturbed in half of the cases, by up to this share of its length: the caption has to
# be read then, and a guess of the prior's, which is a little off too, does no harm.
VAGUE = 0.6
# Weight of x0's error: below, the truncated SNR of Salimans & Ho 2022 (arXiv 2202.00512); above, min-SNR (Hang et al.
# 2023, arXiv 2303.09556). Where hardly any signal is left, what shall be drawn is decided: plain min-SNR skips that.
LEAST_SNR, MOST_SNR = 1.0, 5.0
GUIDANCE = 2.0  # of the sample sheets


def train(preset: Preset, clip: Clip, words: CLIPTokenizer, data: Examples, limits: Limits = UNLIMITED) -> Decoder:
    """Trains the decoder, or loads it if it is trained.

    Raises:
        RuntimeError: the decoder that it starts with predicts something else, or has another shape.
    """
    network = begun(preset)
    if preset.keeps("decoder"):
        return network.eval()
    if preset.small.steps and preset.start is None and not (preset.folder / "decoder.pt").exists():
        small = untrained(half := halved(preset))
        learn("small", half, preset.small, small, clip, words, data, limits, pooled=2)
        grow_decoder(network, small.projection.state_dict(), small.unet.state_dict())
    learn("decoder", preset, preset.decoder, network, clip, words, data, limits)
    return network


def begun(preset: Preset) -> Decoder:
    """A decoder that knows nothing, or what that of the checkpoint to begin with knows.

    Raises:
        RuntimeError: that one predicts something else, or has another shape.
    """
    network = untrained(preset)
    if preset.start is None:
        return network
    config = Checkpoint.open(preset.start).config("decoder_scheduler", "scheduler_config.json")
    if (told := Process.from_config(config).prediction) != SCHEDULER["prediction_type"]:
        raise RuntimeError(f"{preset.start}: its decoder predicts {told}, not v: it cannot go on from there")
    grow_decoder(network, weights(preset.start, "text_proj"), weights(preset.start, "decoder"))
    return network


def untrained(preset: Preset) -> Decoder:
    """A decoder that knows nothing."""
    torch.manual_seed(0)
    network = Decoder(preset).to(device())
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    nn.init.normal_(network.projection.learned_classifier_free_guidance_embeddings, std=0.02)
    return network


def halved(preset: Preset) -> Preset:
    """The preset of the decoder's first stage, which has no other before it, nor a student after it."""
    return replace(
        preset,
        small=replace(preset.small, steps=0),
        student=replace(preset.student, steps=0),
        base_size=preset.base_size // 2,
        decoder_channels=preset.decoder_channels[1:],
        decoder_kernel=(preset.decoder_kernel + 1) // 2,
    )


def learn(
    name: str,
    preset: Preset,
    stage: Stage,
    network: Decoder,
    clip: Clip,
    words: CLIPTokenizer,
    data: Examples,
    limits: Limits,
    pooled: int = 1,
) -> None:
    """Trains ``network`` on pictures of the preset's base size.

    pooled: each pixel is the mean of so many times so many of a larger picture, whose noise it has: what grows out of
    the network then sees at its core what this one saw at the same time (Hoogeboom et al. 2023, arXiv 2301.11093,
    section 3.1).
    """
    quick = compiled(network, stage, device())
    schedule, scheduler = NoiseSchedule.squaredcos_cap_v2(), DDPMScheduler.from_config(SCHEDULER)
    bars = torch.from_numpy(schedule.alphas_cumprod).float().to(device())
    snr = bars / (1 - bars)
    weight = snr.clamp(LEAST_SNR, MOST_SNR) / (1 + snr)  # v's error squared is x0's times 1 + SNR
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
        noise = normal(clean.shape, generator) / pooled
        predicted = quick(
            scheduler.add_noise(clean, noise, t),
            t,
            torch.where(no_image, null, image),
            torch.where(no_text, empty[0], seen.text),
            torch.where(no_text[:, :, None], empty[1], seen.states),
            torch.where(no_text, empty[2], seen.mask),
        )
        error = predicted.float() - scheduler.get_velocity(clean, noise, t)
        total: torch.Tensor = (weight[t] * error.square().mean((1, 2, 3))).mean()
        return total

    shown = data.draw(24, torch.Generator(device()).manual_seed(7))
    wanted = reduce(shown.base, preset.base_size)

    def sheet() -> Image.Image:
        """Taught pictures above what the decoder makes of their embeddings and captions."""
        text, states, mask = shown.text, shown.states, shown.mask
        count = len(text)
        null = network.projection.learned_classifier_free_guidance_embeddings.expand(count, -1)
        nothing = [x.expand(count, *x.shape[1:]) for x in empty]

        def v_of(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            given = network(x, t, shown.image, text, states, mask).float()
            free = network(x, t, null, *nothing).float()
            guided: torch.Tensor = free + GUIDANCE * (given - free)
            return guided

        made = denoised(v_of, wanted, schedule, steps=20, prediction="v_prediction", pooled=pooled)
        return tiled([wanted, made], columns=12)

    fit(name, preset, network, loss, stage, limits, sheet=sheet, made_from=[clip, SCHEDULER, pooled])


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
