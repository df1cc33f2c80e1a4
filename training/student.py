"""The decoder's student: one pass for each step where the decoder needs two, and a third of its steps.

Guidance distillation (Meng et al. 2022, arXiv 2210.03142): the scale is an input. Progressive distillation (Salimans &
Ho 2022, arXiv 2202.00512), straight to the last number of steps: the decoder's guided walks are made once, and each of
the student's steps learns to lead from where such a walk is to where it is some steps later. It predicts v, since a
prediction of noise says nothing about the picture where there is nothing but noise.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, fields
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
from training.decoder import SCHEDULER as TEACHER
from training.decoder import vague
from training.decoder_network import Decoder
from training.embeddings import Examples, encode_texts
from training.grow import Weights, weights
from training.loop import (
    OUT_OF_TIME,
    SAVE_EVERY,
    UNLIMITED,
    arguments,
    asked_to_end,
    choose,
    device,
    fit,
    flips,
    half_precision,
    uniform,
)
from training.presets import Limits, Preset
from training.quick import compiled
from training.state import alone, load, origin, save
from training.watch import tiled
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.checkpoints.components import STUDENT, STUDENT_FOLDERS
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
SAMPLING = SamplingSettings("ddim", 4, 2.0)
TEACHING = SamplingSettings("dpm++2m", 12)  # the decoder's, at the same times and at those between
USUAL = 0.5  # share of the walks at SAMPLING's guidance; the others' is any that services take
SILENT = 0.1  # share of the walks without a caption, as where a Generate has an embedding instead
WALKED = 64  # at a time


class Student(nn.Module):
    """The student's U-Net, under the decoder's own conditions, which stay as they are.

    It begins with the student of the checkpoint that the run begins with, where that has the same shape, or else with
    what it can take from its decoder.
    """

    def __init__(self, preset: Preset, teacher: Decoder) -> None:
        super().__init__()
        unet: Any = networks.student(preset)
        mine, taught = unet.state_dict(), teacher.unet.state_dict()
        for name, value in mine.items():
            if name in taught and taught[name].dim() == value.dim():
                begin_with(value, taught[name])
        nn.init.zeros_(unet.time_embedding.cond_proj.weight)
        if (former := former_of(preset)) is not None:
            unet.load_state_dict(former)
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


def former_of(preset: Preset) -> Weights | None:
    """The weights of the student that a run begins with; None where there is none that predicts v in the same shape.

    Raises:
        RuntimeError: some of them are no numbers, or a file does not load.
    """
    if preset.start is None or not (start := Checkpoint.open(preset.start)).has(STUDENT):
        return None
    scheduler = start.config(STUDENT_FOLDERS[1], "scheduler_config.json")
    found, own = weights(preset.start, STUDENT), networks.student(preset).state_dict()
    alike = {name: value.shape for name, value in found.items()} == {name: value.shape for name, value in own.items()}
    return found if alike and scheduler.get("prediction_type") == SCHEDULER["prediction_type"] else None


@torch.no_grad()
def begin_with(mine: torch.Tensor, taught: torch.Tensor) -> None:
    """Gives a layer what the decoder's has, or its first channels where that is wider: with as much less to sum up,
    each counts for more. Where it is wider in any way it stays as it is."""
    if any(some > whole for some, whole in zip(mine.shape, taught.shape, strict=True)):
        return
    fewer = taught.shape[1:].numel() / mine.shape[1:].numel()
    mine.copy_(taught[tuple(slice(size) for size in mine.shape)] * fewer**0.5)


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
    walks = walk(preset, clip, words, data, teacher, limits)
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

    fit("student", preset, student, loss, preset.student, limits, sheet=sheet, made_from=[teacher])
    unet: nn.Module = student.unet
    return unet


@torch.no_grad()
def walk(
    preset: Preset, clip: Clip, words: CLIPTokenizer, data: Examples, teacher: Decoder, limits: Limits = UNLIMITED
) -> Walks:
    """Has the decoder walk ``preset.walks`` times, kept in the preset's folder; one cut short goes on from there.

    Raises:
        SystemExit: SIGTERM came or the limit was reached; the walks are saved.
        RuntimeError: the walks that are there are damaged, of another run, or being made by one.
    """
    teacher.eval()
    path, parts, made_from = preset.folder / "walks.pt", list[Walks](), origin(preset, teacher)
    with alone(path):
        if (kept := load(path, made_from)) is not None:
            parts.append(Walks(**kept))
        empty = encode_texts(clip, words, [""])
        made, saved = sum(len(part.x) for part in parts), time.monotonic()
        with asked_to_end() as ended:
            for start in tqdm(range(made, preset.walks, WALKED), desc="walks", unit="batch"):
                seeds = range(start, min(start + WALKED, preset.walks))
                parts.append(walk_together(seeds, preset, data, teacher, empty))
                now = time.monotonic()
                late = ended() or now > limits.until
                if late or now - saved > SAVE_EVERY:
                    parts, saved = [together(parts)], now
                    save(path, made_from, vars(parts[0]))
                if late:
                    raise SystemExit(143 if ended() else OUT_OF_TIME)
        if len(parts) > 1 or not path.exists():
            parts = [together(parts)]
            save(path, made_from, vars(parts[0]))
    return parts[0]


def walk_together(
    seeds: range, preset: Preset, data: Examples, teacher: Decoder, empty: tuple[torch.Tensor, ...]
) -> Walks:
    """A walk of each seed, under the conditions of some view. empty: what the text encoder says of no caption."""
    count, side, where = len(seeds), preset.base_size, device()
    generator = torch.Generator(where).manual_seed(seeds[0])
    seen = data.draw(count, generator)
    no_text = flips(count, SILENT, generator).to(where)
    said = (seen.text, seen.states, seen.mask)
    text, states, mask = (
        torch.where(no_text.reshape(-1, *[1] * (one.dim() - 1)), none, one)
        for one, none in zip(said, empty, strict=True)
    )
    (low, high), usual = FAST_GUIDANCE, flips(count, USUAL, generator)
    scale = torch.where(usual, SAMPLING.guidance_scale, low + (high - low) * uniform((count,), generator))
    given = teacher.conditions(vague(seen.image, ~no_text[:, None], generator), text, states, mask)
    null = teacher.projection.learned_classifier_free_guidance_embeddings.expand(count, -1)
    free = teacher.conditions(null, *(none.expand(count, *none.shape[1:]) for none in empty))
    both = [torch.cat(pair) for pair in zip(given, free, strict=True)]
    table = Process.from_config({**TEACHER, "timestep_spacing": SCHEDULER["timestep_spacing"]}).table(TEACHING)
    courses = [Course.of(table, (seed, Stream.DECODER, 0), where) for seed in seeds]
    x = gaussian([NoiseKey(seed, Stream.DECODER, 0, START) for seed in seeds], (3, side, side), where)
    predicted, visited = torch.zeros_like(x), [x]
    for step, t in enumerate(table.timesteps):
        with torch.autocast(where.type, torch.bfloat16, enabled=half_precision(where)):
            times = torch.full((2 * count,), int(t), device=where)
            out = teacher.painted(torch.cat([x, x]), times, *both).float()
        x, predicted = advance(x, guided(out[:count], out[count:], scale), predicted, courses, [step] * count)
        if (step + 1) % (TEACHING.steps // SAMPLING.steps) == 0:
            visited.append(x)
    context, extra, mask = given
    path, context, extra = (one.half().cpu() for one in (torch.stack(visited, 1), context, extra))
    return Walks(path, scale.cpu(), context, extra, mask.cpu())


def together(parts: list[Walks]) -> Walks:
    """All of them as one."""
    return Walks(**{each.name: torch.cat([getattr(part, each.name) for part in parts]) for each in fields(Walks)})


def main() -> None:
    """Command line: what comes before the student is trained to its end."""
    preset, limits = arguments("Trains the decoder's student.")
    clip, words = clip_stage.train(preset)
    data = Examples(preset, clip, words)
    train(preset, clip, words, data, decoder_stage.train(preset, clip, words, data), limits)


if __name__ == "__main__":
    main()
