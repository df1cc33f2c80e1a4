"""student: pictures of quality "fast", by the decoder's student, over those of quality "standard", by the decoder.

Of one checkpoint, through the gateway and four processes: the time of one picture, in turns; how many a second come
where `AT_ONCE` callers ask for one after another; and what the recipe's judge says of both, as in `defaults`. And a
picture of quality "fast" over one of diffusers' unCLIP classes at its 25, 25 and 7 steps. out/bench/student.png shows
captions with what the decoder painted above what the student did.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from tests.bench.defaults import CAPTION, ROUNDS, SLACK, THEIRS, held_out, in_batches, judged
from tests.bench.options import Options
from tests.bench.pairs import in_turns
from tests.bench.report import Report
from tests.unit.parity_reference import Reference
from training import judge as judging
from training.presets import preset_of
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.client import Client
from unclip.client.sheets import contact_sheet
from unclip.enum_names import Quality
from unclip.local.stack import LocalStack

AT_ONCE = 8
PICTURES = 24  # of each quality, where many ask; a multiple of that
SHOWN = 32
QUALITIES: tuple[Quality, ...] = ("fast", "standard")


def run(options: Options) -> Report:
    """Measures a checkpoint that has a student; of another it says so."""
    report, checkpoint = Report("student"), Checkpoint.open(options.checkpoint)
    if checkpoint.fast("decoder") is None:
        report.notes.append(f"{options.checkpoint} has no student")
        return report
    torch.set_num_threads(options.threads)
    settings = {
        stage: replace(checkpoint.defaults(stage), sampler="ddpm", steps=steps, eta=0.0)
        for stage, steps in THEIRS.items()
    }
    pipeline = Reference(options.checkpoint, float64=False).pipeline
    with LocalStack(options.checkpoint, threads=options.threads) as stack, Client(stack.address) as client:
        fast, standard = partial(painted, client, "fast", CAPTION), partial(painted, client, "standard", CAPTION)
        found = in_turns(fast, standard, options.precision)
        report.rows.append({"way": "time of one picture", **found.row("fast", "standard")})
        report.figure("fast_over_standard", found.ratio, "<= 0.45", found.interval)
        theirs = in_turns(fast, lambda seed: in_batches(pipeline, settings, [CAPTION], [seed]), options.precision)
        report.rows.append({"way": "time of one picture", **theirs.row("fast", "diffusers")})
        report.figure("fast_over_diffusers", theirs.ratio, "<= 0.17", theirs.interval)
        count = AT_ONCE if options.quick else PICTURES
        ways = [partial(together, client, quality, count) for quality in reversed(QUALITIES)]
        many = in_turns(ways[0], ways[1], options.precision)
        report.rows.append({"way": f"{count} pictures, {AT_ONCE} at once", **many.row("standard", "fast")})
        report.figure("pictures_a_second_over_standard", many.ratio, ">= 2.2", many.interval)
        judge = judging.beside(options.checkpoint)
        if not (judge / "judge.json").exists():
            report.notes.append(f"{judge} holds no judge: quality was not compared")
            return report
        preset = preset_of(options.checkpoint)
        asked = held_out(preset, 4 if options.quick else 98)
        rounds = 2 if options.quick else ROUNDS
        rows = [judged(judge, preset, asked, partial(drawn, client, quality), rounds) for quality in QUALITIES]
        shown = [question.caption for question in asked[:SHOWN]]
        pairs = np.concatenate([drawn(client, way, shown, [0] * len(shown)) for way in ("standard", "fast")], axis=1)
    options.out.mkdir(parents=True, exist_ok=True)
    contact_sheet([Image.fromarray(pair) for pair in pairs], shown, 8).save(options.out / "student.png")
    report.rows += [{"way": way, **row} for way, row in zip(QUALITIES, rows, strict=True)]
    mine, other = rows
    report.figure("frechet_over_standard", mine["frechet"] / other["frechet"], f"<= {SLACK}")
    report.figure("prompt_top5_over_standard", mine["top5"] / other["top5"], ">= 0.99")
    return report


def painted(client: Client, quality: Quality, caption: str, seed: int) -> npt.NDArray[np.uint8]:
    """A picture, uint8 ``[H, W, 3]``."""
    [image] = client.generate(caption, seed=seed, quality=quality)
    return np.asarray(image.to_pil())


def drawn(client: Client, quality: Quality, captions: Sequence[str], seeds: Sequence[int]) -> npt.NDArray[np.uint8]:
    """A picture of each caption, several calls at once."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return np.stack(list(pool.map(partial(painted, client, quality), captions, seeds)))


def together(client: Client, quality: Quality, count: int, turn: int) -> None:
    """So many pictures, as many callers as `AT_ONCE`."""
    drawn(client, quality, [CAPTION] * count, range(turn * count, (turn + 1) * count))
