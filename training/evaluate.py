"""Measures an exported checkpoint on (concept, style) pairs it was never shown, by a judge that is not its own CLIP.

Each held-out pair, but for those whose drawing was taught in another package or by another name, is asked for on white
and on a coloured background, with two seeds. The judge (`training.judge`) says of the real pictures how well it can
tell them at all, which generated ones can exceed where they show more plainly what a caption says; of the generated
ones; and of these under each other's captions, which is the floor.

Settings are chosen on one half of the pairs, in the sweeps; the figures of the other half confirm or refute the choice.

Fréchet distances are told in the judge's features and in those of EfficientNet-Lite0, which never saw our pictures, but
which CLIP may have learned from: what they think alike, it flatters. The judge learned from no teacher.

Metrics are named ``measure.whose.figure``: see `retrieval`, `distances`, `halves` and `training.sweeps`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from training import judge as judging
from training import sweeps
from training.captions import plain_caption
from training.compositions import colour_choices, count_choices, preferred
from training.judges import chance, cosines, equal, frechet, hits, mean, pixel_nearness
from training.loop import device
from training.page import write_page
from training.pictures import Pair, composite
from training.pipeline import Pipeline
from training.presets import Preset, preset_of
from training.questions import Question, askable, questions
from training.teachers import PictureTeacher
from unclip.client.sheets import contact_sheet

Metrics = dict[str, float]
See = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]  # features [N, D] of pictures [N, H, H, 3]
SHOWN = 64  # captions on the contact sheet
SEEDS = (0, 1)


def retrieval(judge: judging.Judge, asked: list[Question], made: npt.NDArray[np.uint8], every: list[Pair]) -> Metrics:
    """R@1 and R@5. made: uint8 ``[len(asked), H, H, 3]``.

    prompt: the caption asked for is among the picture's nearest 1 or 5 of all captions asked; shuffled: the same,
    pictures dealt to captions at random. concept, style: among those of all pairs, which name no background.
    """
    captions = judge.read_all([question.caption for question in asked])
    known = judge.read_all([plain_caption(pair.label, pair.style) for pair in every])
    own = np.eye(len(asked), dtype=np.bool_)
    concept = equal([question.pair.label for question in asked], [pair.label for pair in every])
    style = equal([question.pair.style for question in asked], [pair.style for pair in every])
    found: Metrics = {}
    for whose, pictures in (("generated", made), ("real", np.stack([question.real for question in asked]))):
        seen = judge.see_all(pictures)
        near, far = cosines(seen, captions), cosines(seen, known)
        found |= named(f"prompt.{whose}", hits(near, own)) | named(f"concept.{whose}", hits(far, concept))
        found[f"style.{whose}.top1"] = hits(far, style)["top1"]
        found[f"cosine.{whose}.mean"] = float(near[own].mean())
        if whose == "generated":
            dealt = np.random.default_rng(0).permutation(len(asked))
            found |= named("prompt.shuffled", hits(near[dealt], own))
            found["cosine.shuffled.mean"] = float(near[dealt][own].mean())
    return found | named("prompt.chance", chance(own)) | named("concept.chance", chance(concept))


def distances(see: See, name: str, asked: list[Question], made: npt.NDArray[np.uint8]) -> Metrics:
    """Fréchet distances in ``see``'s features, to the real pictures of the same questions, and in halves.

    generated: of generated to real pictures. halves: of one half of the pairs to the other half's real pictures, mean
    of 8 divisions: generated and real alike, so that the real ones' is the floor of what drawing other pairs costs.
    name: what the figures begin with.
    """
    real = see(np.stack([question.real for question in asked]))
    seen = see(made)
    found = {f"{name}.generated.mean": frechet(seen, real)}
    keys = sorted({question.pair.key for question in asked})
    halves: dict[str, list[float]] = {"generated": [], "real": []}
    for seed in range(8):
        chosen = set(Random(seed).sample(keys, len(keys) // 2))
        inside = np.array([question.pair.key in chosen for question in asked])
        if 1 < inside.sum() < len(inside) - 1:
            halves["generated"].append(frechet(seen[inside], real[~inside]))
            halves["real"].append(frechet(real[inside], real[~inside]))
    return found | {f"{name}_halves.{whose}.mean": float(np.mean(values)) for whose, values in halves.items() if values}


def halves(judge: judging.Judge, asked: list[Question], made: npt.NDArray[np.uint8]) -> Metrics:
    """R@1, R@5 and Fréchet distance of each half of the pairs: "tuning" for choosing settings, "confirming" for not.

    The captions of both halves are candidates.
    """
    captions = judge.read_all([question.caption for question in asked])
    real = judge.see_all(np.stack([question.real for question in asked]))
    seen, own = judge.see_all(made), np.eye(len(asked), dtype=np.bool_)
    found: Metrics = {}
    for name, tuning in (("tuning", True), ("confirming", False)):
        chosen = np.array([question.tuning is tuning for question in asked])
        if chosen.sum() < 2:
            continue
        found |= named(f"prompt_{name}.generated", hits(cosines(seen, captions)[chosen], own[chosen]))
        found |= named(f"prompt_{name}.real", hits(cosines(real, captions)[chosen], own[chosen]))
        found[f"frechet_{name}.generated.mean"] = frechet(seen[chosen], real[chosen])
    return found


def pixels(asked: list[Question], made: npt.NDArray[np.uint8], every: list[Pair]) -> Metrics:
    """Whether the nearest real picture on the same background shows the right concept, by distance in pixels.

    Crude, but it has learned nothing. real: of all pictures but the pair's own, whereas no generated one has such.
    """
    rows: dict[str, list[dict[str, float]]] = {"generated": [], "real": []}
    for colour in dict.fromkeys(question.colour for question in asked):
        gallery = np.stack([composite(pair.rgba, colour) for pair in every])
        chosen = [i for i, question in enumerate(asked) if question.colour == colour]
        wanted = [asked[i].pair for i in chosen]
        right = equal([pair.label for pair in wanted], [pair.label for pair in every])
        own = equal([pair.key for pair in wanted], [pair.key for pair in every])
        near = pixel_nearness(made[chosen], gallery)
        real = np.where(own, -np.inf, pixel_nearness(np.stack([asked[i].real for i in chosen]), gallery))
        for i in range(len(chosen)):
            rows["generated"].append(hits(near[i : i + 1], right[i : i + 1]))
            if (right & ~own)[i].any():
                rows["real"].append(hits(real[i : i + 1], (right & ~own)[i : i + 1]))
    return {
        f"pixels.{whose}.{figure}": float(np.mean([row[figure] for row in found]))
        for whose, found in rows.items()
        if found
        for figure in found[0]
    }


def named(prefix: str, values: Metrics) -> Metrics:
    """The values with their names extended."""
    return {f"{prefix}.{name}": value for name, value in values.items()}


def evaluate(folder: Path, judge_folder: Path, out: Path, prompts: int | None = None, sweep: bool = True) -> Metrics:
    """Measures the checkpoint, writes JSON, pictures, plots and a page into ``out``, returns the metrics.

    prompts: captions to generate, at least 2; None for all, twice as many as pairs are held out.
    """
    model = Pipeline(folder, device())
    preset = preset_of(folder)
    judge = judging.load(judge_folder, device(), preset)
    teacher = PictureTeacher()
    taught, held_out = preset.pairs()
    every, wanted = taught + held_out, askable(taught, held_out)
    asked = questions(wanted)[:prompts]
    out.mkdir(parents=True, exist_ok=True)
    captions = [question.caption for question in asked]
    one_picture(model, captions[0])  # so that what is set up once is not measured
    metrics: Metrics = {
        "pairs": len(wanted),
        "captions": len(asked),
        "pictures": len(asked) * len(SEEDS),
        "twins": len(held_out) - len(wanted),
        "seconds.one_picture.mean": float(np.mean([one_picture(model, captions[0]) for _ in range(3)])),
    }
    print(
        f"{len(wanted)} pairs ({len(held_out)} held out), {len(asked)} captions, {len(SEEDS)} pictures each", flush=True
    )
    made = [model.generate(captions, [seed] * len(captions)) for seed in SEEDS]
    metrics |= mean(
        [
            retrieval(judge, asked, pictures, every)
            | distances(judge.see_all, "frechet", asked, pictures)
            | distances(teacher.see_all, "frechet_efficientnet", asked, pictures)
            | halves(judge, asked, pictures)
            | pixels(asked, pictures, every)
            for pictures in made
        ]
    )
    metrics |= compositions(model, judge, preset)
    sheets(asked, made[0], out)
    curves = sweeps.run(model, judge, asked, teacher.see_all) if sweep else {}
    report = {
        "machine": machine(),
        "commit": commit(),
        "checkpoint": folder.as_posix(),
        "metrics": metrics,
        "sweeps": curves,
    }
    (out / "evaluate.json").write_text(json.dumps(report, indent=1) + "\n")
    write_page(out, metrics, curves)
    return metrics


def compositions(model: Pipeline, judge: judging.Judge, preset: Preset) -> Metrics:
    """Share of things in a held-out colour, and in a held-out number, that the judge takes for it."""
    split, found = preset.hidden(), Metrics()
    for name, choices in (
        ("colour", colour_choices(preset.pairs()[0], split)),
        ("count", count_choices(preset.pairs()[0], split)),
    ):
        if choices:
            made = model.generate([choice.caption for choice in choices], [SEEDS[0]] * len(choices))
            found |= {f"{name}.held_out.preferred": preferred(judge, choices, made), f"{name}.held_out": len(choices)}
    return found


def one_picture(model: Pipeline, caption: str) -> float:
    """Seconds for one picture at default settings, alone, networks loaded."""
    started = time.monotonic()
    model.generate([caption], [0])
    return time.monotonic() - started


def sheets(asked: list[Question], made: npt.NDArray[np.uint8], out: Path) -> None:
    """The first captions' pictures alone, and beside the real ones."""
    pictures = [Image.fromarray(picture) for picture in made]
    captions = [question.caption for question in asked]
    contact_sheet(pictures[:SHOWN], captions[:SHOWN], 8).save(out / "samples.png")
    both: list[Image.Image] = []
    names: list[str] = []
    for question, picture in zip(asked[:SHOWN], pictures, strict=False):
        both += [Image.fromarray(question.real), picture]
        names += [f"{question.pair.style} {question.pair.label}", "generated"]
    contact_sheet(both, names, 12).save(out / "held_out.png")


def machine() -> str:
    """What this runs on, in a line."""
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    cpus = f"{os.cpu_count()} CPUs, {torch.get_num_threads()} threads"
    return f"{platform.system()} {platform.machine()}, {cpus}{gpu}, torch {torch.__version__}"


def commit() -> str:
    """The commit this runs from, marked where tracked files differ from it."""
    try:
        asked = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
        found = subprocess.run(asked, cwd=Path(__file__).parent, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Measures an exported checkpoint on held-out pairs.")
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/emoji"))
    parser.add_argument("--judge", type=Path, help="folder of the judge (the one beside the checkpoint)")
    parser.add_argument("--out", type=Path, default=Path("out/evaluate"))
    parser.add_argument("--prompts", type=int, help="captions to generate (two per held-out pair)")
    parser.add_argument("--no-sweeps", action="store_true", help="leave out prior, guidance and step sweeps")
    options = parser.parse_args()
    if options.prompts is not None and options.prompts < 2:
        parser.error(f"--prompts must be at least 2; got {options.prompts}")
    started = time.monotonic()
    judge = options.judge or judging.beside(options.checkpoint)
    metrics = evaluate(options.checkpoint, judge, options.out, options.prompts, not options.no_sweeps)
    print("\n".join(f"{name:<34}{value:.3f}" for name, value in metrics.items()))
    print(f"{options.out}: evaluate.json, index.html and its pictures; {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
