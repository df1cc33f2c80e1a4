"""The decoder's student: one pass for each step where the decoder needs two, and a third of its steps.

Guidance distillation (Meng et al. 2022, arXiv 2210.03142): the scale is an input. Progressive distillation (Salimans &
Ho 2022, arXiv 2202.00512), straight to the last number of steps: the decoder's guided walks are made once, and each of
the student's steps learns to lead from where such a walk is to where it is some steps later. It predicts v, since a
prediction of noise says nothing about the picture where there is nothing but noise.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn
from torch.nn import functional
from tqdm import tqdm
from transformers import CLIPTokenizer

from training import clip as clip_stage
from training import decoder as decoder_stage
from training import networks
from training.clip import Clip
from training.decoder import vague
from training.decoder_network import Decoder
from training.embeddings import Examples, encode_texts
from training.loop import UNLIMITED, arguments, choose, device, fit, flips, half_precision, uniform
from training.presets import Limits, Preset
from training.quick import compiled
from training.watch import tiled
from unclip.diffusion.guidance import guided, scale_embedding
from unclip.diffusion.noise import START, NoiseKey, Stream, gaussian
from unclip.diffusion.process import Process
from unclip.diffusion.update import Course, advance
from unclip.options import FAST_GUIDANCE, SamplingSettings

SCHEDULER = {
    "_class_name": "DDIMScheduler",
    "beta_schedule": "squaredcos_cap_v2",
    "prediction_type": "v_prediction",
    "timestep_spacing": "trailing",  # no step is spent on the last trace of noise
    "clip_sample": False,  # what it learned to say of a picture may lie outside; the last one is clamped
    "set_alpha_to_one": True,
}
SAMPLING = SamplingSettings("ddim", 4, 3.0)
TEACHING = SamplingSettings("dpm++2m", 12)  # the decoder's, at the same times and at those between
USUAL = 0.5  # share of the walks at SAMPLING's guidance; the others' is any that services take
WALKED = 64  # at a time


class Student(nn.Module):
    """The student's U-Net, under the decoder's own conditions, which stay as they are."""

    def __init__(self, preset: Preset, teacher: Decoder) -> None:
        super().__init__()
        unet: Any = networks.student(preset)
        mine, taught = unet.state_dict(), teacher.unet.state_dict()
        for name, value in mine.items():
            if name in taught:  # of noise and variance, the former: with little noise that is v
                value.copy_(taught[name][: len(value)] if value.shape != taught[name].shape else taught[name])
        nn.init.zeros_(unet.time_embedding.cond_proj.weight)
        self.unet: Any = unet

    def forward(
        self,
        noisy: torch.Tensor,
        t: torch.Tensor,
        scale: torch.Tensor,
        context: torch.Tensor,
        extra: torch.Tensor,
        mask: torch.Tensor,
    ) -> torch.Tensor:
        """v, ``[B, 3, h, h]``."""
        width = self.unet.config.time_cond_proj_dim
        told = scale_embedding(scale, width)
        out: torch.Tensor = self.unet(
            noisy, t, encoder_hidden_states=context, class_labels=extra, attention_mask=mask, timestep_cond=told
        ).sample
        return out

    @torch.no_grad()
    def walked(self, x: torch.Tensor, scale: torch.Tensor, *conditions: torch.Tensor) -> torch.Tensor:
        """What it makes of noise ``[B, 3, h, h]`` in all its steps."""
        table = Process.from_config(SCHEDULER).table(SAMPLING)
        courses = [Course.of(table, (0, Stream.DECODER, 0), x.device)] * len(x)
        predicted = torch.zeros_like(x)
        for step, t in enumerate(table.timesteps):
            said = self(x, torch.full((len(x),), int(t), device=x.device), scale, *conditions)
            x, predicted = advance(x, said.float(), predicted, courses, [step] * len(x))
        return x


@dataclass(frozen=True)
class Walks:
    """What the decoder did: x float16 ``[N, steps + 1, 3, h, h]``, from noise to picture, at the student's times.

    scale: ``[N]``, of its guidance; context, extra, mask: its conditions, as the projection gives them, ``[N, ...]``.
    """

    x: torch.Tensor
    scale: torch.Tensor
    context: torch.Tensor
    extra: torch.Tensor
    mask: torch.Tensor


def train(
    preset: Preset,
    clip: Clip,
    words: CLIPTokenizer,
    data: Examples,
    teacher: Decoder,
    limits: Limits = UNLIMITED,
) -> nn.Module:
    """Trains the student, or loads it if it is trained; the result is its U-Net."""
    torch.manual_seed(0)
    student = Student(preset, teacher).to(device())
    student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    walks = walk(preset, clip, words, data, teacher)
    quick = compiled(student, preset.student, device())
    table = Process.from_config(SCHEDULER).table(SAMPLING)
    bars = torch.tensor(Process.from_config(SCHEDULER).schedule.alphas_cumprod[table.timesteps]).float()
    kept, noisy = bars.sqrt().to(device()), (1 - bars).sqrt().to(device())
    kept_after = torch.cat([kept[1:], kept.new_ones(1)])
    noisy_after = torch.cat([noisy[1:], noisy.new_zeros(1)])
    times = torch.from_numpy(table.timesteps.copy()).long().to(device())

    def loss(generator: torch.Generator) -> torch.Tensor:
        count = preset.student.batch
        rows = choose(len(walks.x), count, generator)
        step = choose(SAMPLING.steps, count, generator)
        at = rows.cpu()
        x, after = (walks.x[at, n.cpu()].to(device()).float() for n in (step, step + 1))
        a, s, a_after, s_after = (v[step][:, None, None, None] for v in (kept, noisy, kept_after, noisy_after))
        # The picture from which DDIM leads to where the walk is then (arXiv 2202.00512, appendix G), as v.
        clean = (after - s_after / s * x) / (a_after - s_after / s * a)
        wanted = (a * x - clean) / s
        conditions = [each[at].to(device()) for each in (walks.context, walks.extra, walks.mask)]
        said = quick(
            x, times[step], walks.scale[at].to(device()), *(each.float() for each in conditions[:2]), conditions[2]
        )
        return functional.mse_loss(said.float(), wanted)

    shown = slice(0, 24)

    def sheet() -> Image.Image:
        """What the decoder painted, above what the student paints of the same noise."""
        x = walks.x[shown, 0].to(device()).float()
        context, extra, mask, scale = (
            each[shown].to(device()) for each in (walks.context, walks.extra, walks.mask, walks.scale)
        )
        x = student.walked(x, scale, context.float(), extra.float(), mask)
        return tiled([walks.x[shown, -1].float(), x], columns=12)

    fit("student", preset, student, loss, preset.student, limits, sheet=sheet)
    unet: nn.Module = student.unet
    return unet


@torch.no_grad()
def walk(preset: Preset, clip: Clip, words: CLIPTokenizer, data: Examples, teacher: Decoder) -> Walks:
    """Has the decoder walk ``preset.walks`` times, kept in the preset's folder; one cut short goes on from there."""
    path, parts = preset.folder / "walks.pt", list[Walks]()
    teacher.eval()
    if path.exists():
        parts.append(Walks(**torch.load(path, weights_only=True)))
    process = Process.from_config({**SCHEDULER, "prediction_type": "epsilon", "clip_sample": True})
    table, every = process.table(TEACHING), TEACHING.steps // SAMPLING.steps
    empty = encode_texts(clip, words, [""])
    made = sum(len(part.x) for part in parts)
    for start in tqdm(range(made, preset.walks, WALKED), desc="walks", unit="batch"):
        count = min(WALKED, preset.walks - start)
        generator = torch.Generator(device()).manual_seed(start)
        seen = data.draw(count, generator)
        image = vague(seen.image, torch.ones(count, 1, dtype=torch.bool, device=device()), generator)
        usual = flips(count, USUAL, generator)
        low, high = FAST_GUIDANCE
        scale = torch.where(usual, SAMPLING.guidance_scale, low + (high - low) * uniform((count,), generator))
        given = teacher.conditions(image, seen.text, seen.states, seen.mask)
        null = teacher.projection.learned_classifier_free_guidance_embeddings.expand(count, -1)
        free = teacher.conditions(null, *(each.expand(count, *each.shape[1:]) for each in empty))
        both = [torch.cat(pair) for pair in zip(given, free, strict=True)]
        courses = [Course.of(table, (start + row, Stream.DECODER, 0), device()) for row in range(count)]
        side = preset.base_size
        x = gaussian(
            [NoiseKey(start + row, Stream.DECODER, 0, START) for row in range(count)], (3, side, side), device()
        )
        predicted, visited = torch.zeros_like(x), [x]
        for step, t in enumerate(table.timesteps):
            with torch.autocast(device().type, torch.bfloat16, enabled=half_precision(device())):
                times = torch.full((2 * count,), int(t), device=device())
                out = teacher.painted(torch.cat([x, x]), times, *both)[:, :3].float()
            noise = guided(out[:count], out[count:], scale.to(out))
            x, predicted = advance(x, noise, predicted, courses, [step] * count)
            if (step + 1) % every == 0:
                visited.append(x)
        context, extra, mask = given
        parts.append(
            Walks(
                torch.stack(visited, 1).half().cpu(), scale.cpu(), context.half().cpu(), extra.half().cpu(), mask.cpu()
            )
        )
        if len(parts) > 16:
            parts = [save(parts, path)]
    return save(parts, path)


def save(parts: list[Walks], path: Path) -> Walks:
    """All of them as one, written to ``path`` whole or not at all."""
    whole = Walks(**{each.name: torch.cat([getattr(part, each.name) for part in parts]) for each in fields(Walks)})
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(asdict(whole), path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)
    return whole


if __name__ == "__main__":
    preset, limits = arguments("Trains the decoder's student.")
    clip, words = clip_stage.train(preset)
    data = Examples(preset, clip, words)
    train(preset, clip, words, data, decoder_stage.train(preset, clip, words, data, limits), limits)
