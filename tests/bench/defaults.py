"""defaults: ours at the checkpoint's default settings over diffusers' unCLIP classes at theirs, on the same weights.

diffusers' defaults are 25 prior, 25 decoder and 7 upsampler steps, all ancestral; it gets our guidance scales, which
suit these weights better than its own (4 and 8), and float32, eager, as published. Ours counts the whole call, caption
to PNG file, through the gateway and four processes, with the gateway's own number of prior candidates. They take
turns; the time is the median of the pairs' ratios.

Both then draw the same held-out captions, and the recipe's judge (`training.judge`) compares: Fréchet distance to the
real pictures, which no network here has seen, and how often the caption asked for is among the picture's nearest 5.
The pictures are fetched by npm. A tiny random checkpoint has no judge; for it there is the time alone.
"""

from __future__ import annotations

import itertools
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
from training.evaluate import SEEDS, distances, retrieval
from training.judges import mean
from training.presets import PRESETS
from training.questions import Question, questions
from unclip.checkpoint import Checkpoint
from unclip.client import Client
from unclip.stack import LocalStack

THEIRS = {"prior": 25, "decoder": 25, "upsampler": 7}
CAPTION = "a flat emoji of a red apple"
SLACK = 1.02  # of the Fréchet distance: its spread between two seeds of one way is larger


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
            partial(piped, pipeline, theirs, CAPTION),
            3 if options.quick else 30,
        )
        report.rows.append({"way": "time of one picture", **found.row("served", "diffusers")})
        report.figure("speedup", 1 / found.ratio, ">= 2.0")
        judge = options.checkpoint.with_name("judge")
        if not (judge / "judge.json").exists():
            report.notes.append(f"{judge} holds no judge: quality was not compared")
            return report
        asked = held_out(checkpoint, 4 if options.quick else 98)
        ways = {
            f"served, {told(ours)}": partial(served, client),
            f"diffusers, {told(theirs)}": lambda caption, seed: piped(pipeline, theirs, caption, seed),
        }
        rows = [judged(judge, asked, draw) for draw in ways.values()]
    report.rows += [{"way": way, **row} for way, row in zip(ways, rows, strict=True)]
    mine, other = rows
    report.figure("frechet_over_diffusers", mine["frechet"] / other["frechet"], f"<= {SLACK}")
    report.figure("prompt_top5_over_diffusers", mine["top5"] / other["top5"], ">= 1.0")
    report.notes.append(f"{len(asked)} captions, {len(SEEDS)} seeds; real pictures: top5 {mine['real_top5']:.3f}")
    return report


def held_out(checkpoint: Checkpoint, most: int) -> list[Question]:
    """Captions whose (concept, style) pair the checkpoint was not taught."""
    _, pairs = PRESETS[str(checkpoint.manifest["preset"])].pairs()
    return list(itertools.islice(questions(pairs), most))


def judged(judge: Path, asked: list[Question], draw: Any) -> dict[str, float]:
    """Fréchet distance and prompt accuracy of one picture per caption and seed, means over the seeds."""
    eyes = judging.load(judge, torch.device("cpu"))
    every = [question.pair for question in asked]
    drawn = [np.stack([draw(question.caption, seed) for question in asked]) for seed in SEEDS]
    found = mean([retrieval(eyes, asked, made, every) | distances(eyes, asked, made) for made in drawn])
    return {
        "frechet": round(found["frechet.generated.mean"], 4),
        "top1": found["prompt.generated.top1"],
        "top5": found["prompt.generated.top5"],
        "real_top5": found["prompt.real.top5"],
    }


def served(client: Client, caption: str, seed: int) -> npt.NDArray[np.uint8]:
    """A picture from the services at their defaults, uint8 ``[H, W, 3]``."""
    [image] = client.generate(caption, seed=seed)
    return np.asarray(image.to_pil())


def piped(pipeline: Any, settings: Settings, caption: str, seed: int) -> npt.NDArray[np.uint8]:
    """The same from diffusers' pipeline."""
    return np.asarray(call(pipeline, settings, caption, seed))
