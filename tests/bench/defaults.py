"""defaults: ours at the checkpoint's default settings over diffusers' unCLIP classes at theirs, on the same weights.

diffusers' defaults are 25 prior, 25 decoder and 7 upsampler steps, all ancestral; it gets our guidance scales, which
suit these weights better than its own (4 and 8), and float32, eager, as published. Ours counts the whole call, caption
to PNG file, through the gateway and four processes, with the gateway's own number of prior candidates. They take
turns; the time is the median of the pairs' ratios.

Both then draw the same held-out captions, several at once, in `ROUNDS` rounds, and the recipe's judge compares
(`training.judge`): Fréchet distance to the real pictures, which no network here has seen, and how often the caption
asked for is among the picture's nearest 5. Their standard errors come from the rounds, which differ in seeds alone. The
pictures are fetched by npm. A tiny random checkpoint has no judge; for it there is the time alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tests.bench.asking import Settings, told
from tests.bench.options import Options
from tests.bench.pairs import in_turns
from tests.bench.peer import call
from tests.bench.report import Report
from tests.unit.parity_reference import Reference
from training import judge as judging
from training.evaluate import distances, retrieval
from training.judges import mean
from training.presets import Preset, preset_of
from training.questions import Question, askable, questions
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.client import Client
from unclip.local.stack import LocalStack

THEIRS = {"prior": 25, "decoder": 25, "upsampler": 7}
CAPTION = "a flat emoji of a red apple"
SLACK = 1.02  # of the Fréchet distance
ROUNDS = 4
AT_ONCE = 14  # captions
Draw = Callable[[Sequence[str], Sequence[int]], npt.NDArray[np.uint8]]  # of captions and their seeds: [N, H, W, 3]


def run(options: Options) -> Report:
    """Times both, then judges both if the checkpoint is one that the recipe made and a judge is there."""
    report, checkpoint = Report("defaults"), Checkpoint.open(options.checkpoint)
    torch.set_num_threads(options.threads)
    ours = {stage: checkpoint.defaults(stage) for stage in THEIRS}
    theirs = {
        stage: replace(settings, sampler="ddpm", steps=THEIRS[stage], eta=0.0) for stage, settings in ours.items()
    }
    pipeline = Reference(options.checkpoint, float64=False).pipeline
    with LocalStack(options.checkpoint, threads=options.threads) as stack, Client(stack.address) as client:
        found = in_turns(
            partial(served, client, CAPTION),
            lambda seed: in_batches(pipeline, theirs, [CAPTION], [seed]),
            options.precision,
        )
        report.rows.append({"way": "time of one picture", **found.row("served", "diffusers")})
        report.figure("speedup", 1 / found.ratio, ">= 2.0", found.interval.inverse())
        judge = judging.beside(options.checkpoint)
        if not (judge / "judge.json").exists():
            report.notes.append(f"{judge} holds no judge: quality was not compared")
            return report
        preset = preset_of(options.checkpoint)
        asked = held_out(preset, 4 if options.quick else 98)
        ways: dict[str, Draw] = {
            f"served, {told(ours)}": partial(together, client),
            f"diffusers, {told(theirs)}": partial(in_batches, pipeline, theirs),
        }
        rows = [judged(judge, preset, asked, draw, 2 if options.quick else ROUNDS) for draw in ways.values()]
    report.rows += [{"way": way, **row} for way, row in zip(ways, rows, strict=True)]
    mine, other = rows
    report.figure("frechet_over_diffusers", mine["frechet"] / other["frechet"], f"<= {SLACK}")
    report.figure("prompt_top5_over_diffusers", mine["top5"] / other["top5"], ">= 1.0")
    for name, key in (("frechet", "frechet"), ("prompt_top5", "top5")):
        error = mine[key] / other[key] * np.hypot(mine[f"{key}_se"] / mine[key], other[f"{key}_se"] / other[key])
        report.figure(f"{name}_standard_error", float(error))
    report.notes.append(f"{len(asked)} captions in each round; real pictures: top5 {mine['real_top5']:.3f}")
    return report


def held_out(preset: Preset, most: int) -> list[Question]:
    """Captions whose (concept, style) pair the preset does not teach."""
    return list(itertools.islice(questions(askable(*preset.pairs())), most))


def judged(judge: Path, preset: Preset, asked: list[Question], draw: Draw, rounds: int) -> dict[str, float]:
    """Fréchet distance and prompt accuracy: means over the rounds, each picture with a seed of its own, and the means'
    standard errors."""
    eyes = judging.load(judge, torch.device("cpu"), preset)
    captions, every = [question.caption for question in asked], [question.pair for question in asked]
    found = []
    for turn in range(rounds):
        made = draw(captions, range(turn * len(asked), (turn + 1) * len(asked)))
        found.append(retrieval(eyes, asked, made, every) | distances(eyes.see_all, "frechet", asked, made))
    named = {"frechet": "frechet.generated.mean", "top1": "prompt.generated.top1", "top5": "prompt.generated.top5"}
    means, row = mean(found), dict[str, float]()
    for name, metric in named.items():
        spread = np.std([values[metric] for values in found], ddof=1)
        row |= {name: round(means[metric], 4), f"{name}_se": round(float(spread / rounds**0.5), 4)}
    return {**row, "real_top5": means["prompt.real.top5"]}


def together(client: Client, captions: Sequence[str], seeds: Sequence[int]) -> npt.NDArray[np.uint8]:
    """Pictures from the services at their defaults, several calls at once."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return np.stack(list(pool.map(partial(served, client), captions, seeds)))


def served(client: Client, caption: str, seed: int) -> npt.NDArray[np.uint8]:
    """A picture from the services at their defaults, uint8 ``[H, W, 3]``."""
    [image] = client.generate(caption, seed=seed)
    return np.asarray(image.to_pil())


def in_batches(
    pipeline: Any, settings: Settings, captions: Sequence[str], seeds: Sequence[int]
) -> npt.NDArray[np.uint8]:
    """Pictures from diffusers' pipeline."""
    made: list[Any] = []
    for first in range(0, len(captions), AT_ONCE):
        made += call(pipeline, settings, captions[first : first + AT_ONCE], seeds[first : first + AT_ONCE])
    return np.stack([np.asarray(image) for image in made])
