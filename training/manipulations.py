"""Measures what one can do with a picture's pair (z_i, x_T), through a running gateway, on pictures never taught.

Vary: how near a variation stays in pixels and in CLIP's space as eta grows; eta 0 reconstructs. TextDiff: whether CLIP
finds the caption before at theta 0, and the caption after at the end. Arithmetic: whether it finds the caption that was
meant in what is made of a sum. All as the model's own CLIP sees it, which led the decoder there, and as the judge does,
which had no part in it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image

from training import judge as judging
from training.arithmetic import measure_arithmetic, sums_sheet
from training.changes import Change, asked, by_kind, changes
from training.evaluate import commit, machine
from training.eyes import Eyes, Floats, Pictures, Row, at_once, pixels, png
from training.presets import preset_of
from training.questions import Question, askable
from training.scaling import reduce
from unclip import Client, GeneratedImage, Sampling, Vary
from unclip.client.sheets import contact_sheet
from unclip.local.stack import LocalStack
from unclip.wire.images import psnr

matplotlib.use("Agg")

ETAS = (0.0, 0.25, 0.5, 0.75, 1.0)
STEPS = (25, 50)  # of reconstructions, besides the checkpoint's own number
THETAS = (0.0, 0.25, 0.5, 0.75, 1.0)
COUNT = 100
SUMS = 50
SHOWN = 8


def measure_vary(client: Client, eyes: Eyes, pictures: Sequence[Question], base: int) -> tuple[list[Row], Pictures]:
    """(a row per eta and for fresh noise, the variations ``[len(rows), N, H, W, 3]``)."""
    files = [png(picture.real) for picture in pictures]
    originals = np.stack([picture.real for picture in pictures])
    own, judged = eyes.see(originals)
    rows: list[Row] = []
    every: list[Pictures] = []
    for name, request in ways().items():
        made = np.stack(at_once(partial(varied, client, request), files))
        seen, seen_by_judge = eyes.see(made)
        row: Row = {"way": name, "eta": request.eta, "steps": request.decoder.steps}
        row["psnr_base"] = likeness(small(made, base), small(originals, base))
        row["psnr"] = likeness(signed(made), signed(originals))
        row["clip"] = float((own * seen).sum(axis=1).mean())
        row["judge"] = float((judged * seen_by_judge).sum(axis=1).mean())
        print(row, flush=True)
        rows.append(row)
        every.append(made)
    others = own @ own.T
    rows.append({"way": "another picture", "clip": float(others[~np.eye(len(own), dtype=np.bool_)].mean())})
    return rows, np.stack(every[: len(ETAS) + 1])


def ways() -> dict[str, Vary]:
    """How pictures are varied, by name: every eta, then fresh noise, then reconstruction in more steps."""
    found = {f"eta {eta:g}": Vary(None, seed=0, eta=eta) for eta in ETAS}
    found["fresh noise"] = Vary(None, seed=0, start="random")
    return found | {f"eta 0, {n} steps": Vary(None, seed=0, eta=0.0, decoder=Sampling(steps=n)) for n in STEPS}


def varied(client: Client, way: Vary, file: bytes) -> Pictures:
    """The variation ``[H, W, 3]`` of a picture."""
    events = client.stream(replace(way, image=file))
    picture: Pictures = pixels([event for event in events if isinstance(event, GeneratedImage)])[0]
    return picture


def measure_text_diff(client: Client, eyes: Eyes, wanted: Sequence[Change]) -> tuple[list[Row], Pictures]:
    """(a row per kind of change, the frames ``[N, len(THETAS), H, W, 3]``).

    before: share of pictures nearer to the caption before at theta 0. after_T: nearer to the caption after at theta T.
    """

    def change(one: Change) -> Pictures:
        return pixels(client.text_diff(png(one.picture.real), one.picture.caption, one.after, thetas=THETAS, seed=0))

    frames = np.stack(at_once(change, wanted))
    sides = eyes.leaning(frames, [one.picture.caption for one in wanted], [one.after for one in wanted])
    rows: list[Row] = []
    for kind, inside in by_kind(wanted):
        row: Row = {"change": kind, "pairs": int(inside.sum())}
        for whose, side in sides.items():
            row[f"{whose}.before"] = float((side[inside, 0] < 0).mean())
            row |= {f"{whose}.after_{t:g}": float((side[inside, i] > 0).mean()) for i, t in enumerate(THETAS) if t > 0}
        rows.append(row)
        print(row, flush=True)
    return rows, frames


def signed(pictures: Pictures) -> Floats:
    """Values in [-1, 1]."""
    values: Floats = (pictures / 127.5 - 1).astype(np.float32)
    return values


def small(pictures: Pictures, side: int) -> Floats:
    """Pictures ``[N, H, W, 3]`` at the decoder's size, values in [-1, 1]."""
    values: Floats = reduce(torch.from_numpy(signed(pictures)).permute(0, 3, 1, 2), side).numpy()
    return values


def likeness(some: Floats, others: Floats) -> float:
    """Mean over pictures of their PSNR in dB."""
    return float(np.mean([psnr(*pair) for pair in zip(some, others, strict=True)]))


def plot(rows: Sequence[Row], path: Path) -> None:
    """PSNR and likeness over eta."""
    from matplotlib import pyplot as plt

    drawn, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6))
    along = rows[: len(ETAS)]
    etas = [row["eta"] for row in along]
    left.plot(etas, [row["psnr_base"] for row in along], marker="o", label="base size")
    left.plot(etas, [row["psnr"] for row in along], marker="o", label="final size")
    left.set(xlabel="eta", ylabel="PSNR to the picture, dB")
    for key, label in (("clip", "the model's CLIP"), ("judge", "the judge")):
        right.plot(etas, [row[key] for row in along], marker="o", label=label)
    right.axhline(rows[-1]["clip"], linestyle=":", color="grey", label="two different pictures (CLIP)")
    right.set(xlabel="eta", ylabel="cosine to the picture", ylim=(0, 1.02))
    for axes in (left, right):
        axes.legend()
    drawn.tight_layout()
    drawn.savefig(path, dpi=110)
    plt.close(drawn)


def sheets(
    out: Path, pictures: Sequence[Question], variations: Pictures, wanted: Sequence[Change], diffs: Pictures
) -> None:
    """What was measured, to look at."""
    cells: list[Image.Image] = []
    names: list[str] = []
    for i, picture in list(enumerate(pictures))[:: max(1, len(pictures) // SHOWN)][:SHOWN]:
        cells += [Image.fromarray(picture.real), *(Image.fromarray(made[i]) for made in variations)]
        names += ["the picture", *(f"eta {eta:g}" for eta in ETAS), "fresh noise"]
    contact_sheet(cells, names, 2 + len(ETAS)).save(out / "vary_sheet.png")
    cells, names = [], []
    for i, change in list(enumerate(wanted))[:: max(1, len(wanted) // SHOWN // 2)][: 2 * SHOWN]:
        cells += [Image.fromarray(change.picture.real), *(Image.fromarray(frame) for frame in diffs[i])]
        names += [f"to: {change.after}", *(f"theta {theta:g}" for theta in THETAS)]
    contact_sheet(cells, names, 1 + len(THETAS)).save(out / "text_diff_sheet.png")


def measure(folder: Path, judge_folder: Path, out: Path, count: int) -> dict[str, list[Row]]:
    """Runs the stack, measures, and writes manipulations.json, a plot and two sheets into ``out``."""
    preset = preset_of(folder)
    taught, held_out = preset.pairs()
    held_out = askable(taught, held_out)
    out.mkdir(parents=True, exist_ok=True)
    pictures, wanted = asked(held_out, count), changes(held_out, taught, preset.styles, count)
    with LocalStack(folder) as stack, Client(stack.address) as client:
        eyes = Eyes(client, judging.load(judge_folder, torch.device("cpu"), preset))
        base = next(stage.image_size for stage in client.model_info().stages if stage.stage == "decoder")
        vary_rows, variations = measure_vary(client, eyes, pictures, base)
        diff_rows, diffs = measure_text_diff(client, eyes, wanted)
        sum_rows, sums = measure_arithmetic(client, eyes, wanted[:SUMS])
    rows = {"vary": vary_rows, "text_diff": diff_rows, "arithmetic": sum_rows}
    report = {"machine": machine(), "commit": commit(), "checkpoint": folder.as_posix(), "pictures": count, **rows}
    (out / "manipulations.json").write_text(json.dumps(report, indent=1) + "\n")
    plot(vary_rows, out / "vary.png")
    sheets(out, pictures, variations, wanted, diffs)
    sums_sheet(wanted[:SUMS], sums).save(out / "arithmetic_sheet.png")
    return rows


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Measures Vary and TextDiff on held-out pictures.")
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/emoji"))
    parser.add_argument("--judge", type=Path, help="folder of the judge (the one beside the checkpoint)")
    parser.add_argument("--out", type=Path, default=Path("out/evaluate"))
    parser.add_argument("--pictures", type=int, default=COUNT, help="how many (%(default)s)")
    options = parser.parse_args()
    if options.pictures < 4:
        parser.error(f"--pictures must be at least 4; got {options.pictures}")
    judge = options.judge or judging.beside(options.checkpoint)
    measure(options.checkpoint, judge, options.out, options.pictures)
    print(f"{options.out}: manipulations.json, vary.png, vary_sheet.png, text_diff_sheet.png, arithmetic_sheet.png")


if __name__ == "__main__":
    main()
