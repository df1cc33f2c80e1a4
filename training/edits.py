"""Measures Edit through a running gateway, on held-out pictures: what changes outside the mask, and how seams look.

A seam shows where neighbours on both sides of the mask's border differ more than they do in the picture as it was. Each
way to edit (sampler, resampling) paints the same pictures under the same masks, with the caption of the picture itself.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from training.changes import asked
from training.evaluate import commit, machine
from training.eyes import Pictures, at_once, pixels, png
from training.presets import preset_of
from training.questions import Question, askable
from unclip import Client, Edit, GeneratedImage, Sampling
from unclip.client.sheets import contact_sheet
from unclip.local.stack import LocalStack

SAMPLINGS = {
    "dpm++2m": Sampling(sampler="dpm++2m"),
    "ddpm": Sampling(sampler="ddpm"),
    "ddim eta 1": Sampling(sampler="ddim", eta=1.0),
    "ddpm unguided": Sampling(sampler="ddpm", guidance_scale=1.0),
}
RESAMPLINGS = (1, 2, 4)
COUNT = 100  # pictures, each under a mask of its own
COMPARED = 24  # of them, that every way paints
SHOWN = 8

Mask = npt.NDArray[np.bool_]
Row = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """A picture and what of it to repaint, bool ``[S, S]``."""

    picture: Question
    mask: Mask


def random_mask(side: int, seed: int) -> Mask:
    """One to three boxes or discs of random size and place; they cover 2 to 80 % of a square of ``side``."""
    chance = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side]
    while True:
        mask = np.zeros((side, side), np.bool_)
        for _ in range(chance.integers(1, 4)):
            top, left = chance.integers(0, side, 2)
            height, width = chance.integers(side // 8, side, 2)
            if chance.random() < 0.5:
                mask |= (abs(rows - top) < height / 2) & (abs(columns - left) < width / 2)
            else:
                mask |= np.hypot(rows - top, columns - left) < height / 2
        if 0.02 <= mask.mean() <= 0.8:
            return mask


def across(picture: Pictures, mask: Mask) -> float:
    """Mean difference of neighbours on the two sides of the mask's border, 0 to 255, of a picture ``[S, S, 3]``."""
    values, found = picture.astype(np.int16), []
    for axis in (0, 1):
        found.append(np.abs(np.diff(values, axis=axis)).mean(axis=-1)[np.diff(mask, axis=axis)])
    return float(np.concatenate(found).mean())


def edited(client: Client, way: Edit, job: Job) -> Pictures:
    """The picture ``[S, S, 3]`` repainted."""
    request = replace(
        way, image=png(job.picture.real), mask=png((job.mask * 255).astype(np.uint8)), caption=job.picture.caption
    )
    picture: Pictures = pixels([event for event in client.stream(request) if isinstance(event, GeneratedImage)])[0]
    return picture


def measure_way(client: Client, way: Edit, jobs: Sequence[Job]) -> tuple[Row, Pictures]:
    """(what was seen, the pictures ``[N, S, S, 3]``).

    changed: pixels outside the masks that are not what they were. seam: how much more neighbours differ across the
    masks' borders than they did. away: how far the repainted part is from what it was, 0 to 255.
    """
    began = time.monotonic()
    made = np.stack(at_once(partial(edited, client, way), jobs))
    seconds = time.monotonic() - began
    real, masks = np.stack([job.picture.real for job in jobs]), np.stack([job.mask for job in jobs])
    before, after = (np.mean([across(*pair) for pair in zip(some, masks, strict=True)]) for some in (real, made))
    row = {
        "pictures": len(jobs),
        "changed": int((made != real).any(axis=-1)[~masks].sum()),
        "kept": int((~masks).sum()),
        "across_before": float(before),
        "across_after": float(after),
        "seam": float(after / before),
        "away": float(np.abs(made.astype(np.int16) - real)[masks].mean()),
        "seconds": seconds / len(jobs),
    }
    return row, made


def measure(folder: Path, out: Path, count: int) -> list[Row]:
    """Runs the stack, measures, and writes edits.json and edits_sheet.png into ``out``."""
    held_out = askable(*preset_of(folder).pairs())
    jobs = [Job(picture, random_mask(len(picture.real), seed)) for seed, picture in enumerate(asked(held_out, count))]
    compared, rows, columns = jobs[:COMPARED], [], []
    out.mkdir(parents=True, exist_ok=True)
    with LocalStack(folder) as stack, Client(stack.address) as client:
        for name, sampling in SAMPLINGS.items():
            for resampling in RESAMPLINGS:
                way = Edit(None, "", seed=0, decoder=sampling, resampling=resampling)
                row, made = measure_way(client, way, compared)
                rows.append({"way": f"{name}, {resampling} x", **row})
                columns.append(made)
                print(rows[-1], flush=True)
        row, _ = measure_way(client, Edit(None, "", seed=0), jobs)
        rows.append({"way": "default", **row})
        print(rows[-1], flush=True)
    report = {"machine": machine(), "commit": commit(), "checkpoint": folder.as_posix(), "edit": rows}
    (out / "edits.json").write_text(json.dumps(report, indent=1) + "\n")
    sheet(compared, columns, [row["way"] for row in rows[:-1]]).save(out / "edits_sheet.png")
    return rows


def sheet(jobs: Sequence[Job], columns: Sequence[Pictures], names: Sequence[str]) -> Image.Image:
    """Some pictures, their masks in grey, and what each way made of them."""
    cells, captions = [], []
    for i, job in list(enumerate(jobs))[:: max(1, len(jobs) // SHOWN)][:SHOWN]:
        masked = np.where(job.mask[..., None], np.uint8(128), job.picture.real)
        cells += [Image.fromarray(picture) for picture in (job.picture.real, masked, *(made[i] for made in columns))]
        captions += [job.picture.caption, "to repaint", *names]
    return contact_sheet(cells, captions, 2 + len(columns))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Measures Edit on held-out pictures under random masks.")
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/emoji"))
    parser.add_argument("--out", type=Path, default=Path("out/evaluate"))
    parser.add_argument("--pictures", type=int, default=COUNT, help="how many (%(default)s)")
    options = parser.parse_args()
    if options.pictures < 1:
        parser.error(f"--pictures must be at least 1; got {options.pictures}")
    measure(options.checkpoint, options.out, options.pictures)
    print(f"{options.out}: edits.json, edits_sheet.png")


if __name__ == "__main__":
    main()
