"""Measures an exported checkpoint on (concept, style) pairs it was never shown, and on as many it was taught.

Two judges. The checkpoint's own CLIP: precise, but partial, since prior and decoder were trained on its embeddings.
And the nearest real picture in pixels: crude, but it has learned nothing. Each stands beside guessing and beside
what the same judge says of the real pictures.

Metrics are named ``set.measure.whose.figure``: held_out or taught; what is measured, see `Judge`; of generated or
real pictures, or by chance; share of right answers among the nearest 1 or 5 (top1, top5), or a mean.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import time
from pathlib import Path
from random import Random

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from training.judges import Bools, chance, cosines, equal, hits, pixel_nearness
from training.loop import device
from training.pictures import WHITE, Pair, composite, plain_caption
from training.pipeline import Pipeline
from training.presets import PRESETS
from unclip.pictures import contact_sheet

Metrics = dict[str, float]
COLUMNS = 14  # of a contact sheet, even: each real picture has its generated one on its right


def captions_of(pairs: list[Pair]) -> list[str]:
    """The plain caption of each pair."""
    return [plain_caption(pair.label, pair.style) for pair in pairs]


def pictures_of(pairs: list[Pair]) -> npt.NDArray[np.uint8]:
    """The real pictures on white: uint8 ``[N, 64, 64, 3]``."""
    return np.stack([composite(pair.rgba, WHITE[1]) for pair in pairs])


class Judge:
    """Measures pictures against one set of pairs.

    everything: the preset's pairs, taught and held out; gallery: their pictures.
    """

    def __init__(self, model: Pipeline, everything: list[Pair]) -> None:
        self._model = model
        self.everything = everything
        self.gallery = pictures_of(everything)
        self._captions = self._read(everything)

    def _read(self, pairs: list[Pair]) -> npt.NDArray[np.float32]:
        return np.stack([text.embedding.values for text in self._model.read(captions_of(pairs))])

    def retrieval(self, pairs: list[Pair]) -> Metrics:
        """How well CLIP finds each caption's real picture among those of the set, and the other way round."""
        nearness = cosines(self._read(pairs), self._model.see(pictures_of(pairs)))
        right = np.eye(len(pairs), dtype=np.bool_)
        return {
            **named("picture_of_caption.real", hits(nearness, right)),
            **named("picture_of_caption.chance", chance(right)),
            **named("caption_of_picture.real", hits(nearness.T, right)),
            **named("caption_of_picture.chance", chance(right)),
        }

    def clip(self, pairs: list[Pair], generated: npt.NDArray[np.uint8]) -> Metrics:
        """What CLIP says of pictures generated for the first ``len(generated)`` pairs, and of the real ones.

        prompt: the nearest caption of the set is the right one. concept, style: the nearest caption of all pairs
        has the right concept, whatever its style, and the right style, whatever its concept. cosine: of a picture
        and its caption; cosine_wrong: and each other caption of the set.
        """
        asked = pairs[: len(generated)]
        mine = np.eye(len(asked), len(pairs), dtype=np.bool_)
        concept = equal([pair.label for pair in asked], [pair.label for pair in self.everything])
        style = equal([pair.style for pair in asked], [pair.style for pair in self.everything])
        found: Metrics = {}
        for kind, pictures in (("generated", generated), ("real", pictures_of(asked))):
            seen = self._model.see(pictures)
            near = cosines(seen, self._read(pairs))
            far = cosines(seen, self._captions)
            found |= named(f"prompt.{kind}", hits(near, mine))
            found |= named(f"concept.{kind}", hits(far, concept))
            found[f"style.{kind}.top1"] = hits(far, style)["top1"]
            found[f"cosine.{kind}.mean"] = float(near[mine].mean())
            if len(pairs) > 1:
                found[f"cosine_wrong.{kind}.mean"] = float(near[~mine].mean())
        found |= named("prompt.chance", chance(mine)) | named("concept.chance", chance(concept))
        found["style.chance.top1"] = chance(style)["top1"]
        return found

    def pixels(self, pairs: list[Pair], generated: npt.NDArray[np.uint8]) -> Metrics:
        """Whether the nearest real picture shows the right concept, by distance in pixels.

        pixels: of all real pictures. pixels_other: of all but the pair's own, so that only another style's picture
        of the concept is right; that is the measure the real pictures can be put to as well.
        """
        asked = pairs[: len(generated)]
        concept = equal([pair.label for pair in asked], [pair.label for pair in self.everything])
        own = equal([pair.key for pair in asked], [pair.key for pair in self.everything])
        shared = (concept & ~own).any(axis=1)  # a concept with one picture has no other one to be found
        near = pixel_nearness(generated, self.gallery)
        real = pixel_nearness(pictures_of(asked), self.gallery)

        def other(nearness: npt.NDArray[np.float32]) -> Metrics:
            return hits(np.where(own, -np.inf, nearness)[shared], (concept & ~own)[shared])

        found = named("pixels.generated", hits(near, concept)) | named("pixels.chance", chance(concept))
        if shared.any():
            rest = without_own((concept & ~own)[shared], own[shared])
            found |= named("pixels_other.generated", other(near)) | named("pixels_other.real", other(real))
            found |= named("pixels_other.chance", chance(rest))
        return found


def without_own(right: Bools, own: Bools) -> Bools:
    """``right`` without each query's own column: ``[Q, C - 1]``."""
    return np.stack([row[~mine] for row, mine in zip(right, own, strict=True)])


def named(prefix: str, values: Metrics) -> Metrics:
    """The values with their names extended."""
    return {f"{prefix}.{name}": value for name, value in values.items()}


def sheet(pairs: list[Pair], generated: npt.NDArray[np.uint8]) -> Image.Image:
    """Each real picture with its generated one on its right."""
    pictures: list[Image.Image] = []
    captions: list[str] = []
    for pair, real, made in zip(pairs, pictures_of(pairs[: len(generated)]), generated, strict=False):
        pictures += [Image.fromarray(real), Image.fromarray(made)]
        captions += [f"{pair.style} {pair.label}", "generated"]
    return contact_sheet(pictures, captions, COLUMNS)


def evaluate(folder: Path, out: Path, prompts: int | None = None) -> Metrics:
    """Measures the checkpoint, writes evaluate.json and both contact sheets into ``out``, returns the metrics.

    prompts: pictures to generate per set, at least 1; None for one per pair.
    """
    model = Pipeline(folder, device())
    preset = PRESETS[str(model.checkpoint.manifest["preset"])]
    taught, held_out = preset.pairs()
    judge = Judge(model, taught + held_out)
    out.mkdir(parents=True, exist_ok=True)
    metrics: Metrics = {}
    for name, pairs in (("held_out", held_out), ("taught", Random(0).sample(taught, len(held_out)))):
        asked = captions_of(pairs[:prompts])
        print(f"{name}: {len(pairs)} pairs, generating {len(asked)} pictures", flush=True)
        generated = model.generate(asked, seeds=range(len(asked)))
        for part in (judge.retrieval(pairs), judge.clip(pairs, generated), judge.pixels(pairs, generated)):
            metrics |= named(name, part)
        metrics |= {f"{name}.pairs": len(pairs), f"{name}.prompts": len(asked)}
        sheet(pairs, generated).save(out / f"{name}.png")
    report = {"machine": machine(), "commit": commit(), "checkpoint": folder.as_posix(), "metrics": metrics}
    (out / "evaluate.json").write_text(json.dumps(report, indent=1) + "\n")
    return metrics


def table(metrics: Metrics) -> str:
    """The metrics, a line per measure and figure."""
    kinds = ("generated", "real", "chance")
    parts = [name.split(".") for name in metrics]
    rows = dict.fromkeys((part[1], part[3]) for part in parts if len(part) == 4)
    lines = [f"{'':<26}{'held out':<33}taught", " " * 26 + 2 * ("{:<11}" * 3).format(*kinds)]
    for measure, figure in rows:
        values = [metrics.get(f"{name}.{measure}.{kind}.{figure}") for name in ("held_out", "taught") for kind in kinds]
        cells = ["" if value is None else f"{value:.3f}" for value in values]
        lines.append(f"{measure + ' ' + figure:<26}" + "".join(f"{cell:<11}" for cell in cells))
    return "\n".join(line.rstrip() for line in lines)


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
    parser = argparse.ArgumentParser(description="Measures an exported checkpoint on held-out and taught pairs.")
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/emoji"))
    parser.add_argument("--out", type=Path, default=Path("out/evaluate"))
    parser.add_argument("--prompts", type=int, help="pictures to generate per set (one per pair)")
    options = parser.parse_args()
    if options.prompts is not None and options.prompts < 1:
        parser.error(f"--prompts must be at least 1; got {options.prompts}")
    started = time.monotonic()
    print(table(evaluate(options.checkpoint, options.out, options.prompts)))
    print(f"{options.out}: evaluate.json, held_out.png, taught.png; {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
