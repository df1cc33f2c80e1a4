"""What each part and each setting is worth: prior on and off, guidance, samplers and steps, quality against time.

Sweeps of prior and decoder are judged on base-size pictures, enlarged without a network, so that they measure those
alone. Settings are to be chosen by them, so they ask for one half of the held-out pairs only; the prior's table, which
chooses nothing, asks for all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch

from training.grow import weights
from training.judge import Judge
from training.judges import cosines, frechet, hits, mean
from training.pipeline import Pipeline, as_pictures
from training.questions import Question
from training.scaling import enlarge, reduce
from unclip.options import SAMPLERS, SamplingSettings
from unclip.wire.embeddings import TextEncoding

Row = dict[str, float | str]
Pictures = npt.NDArray[np.uint8]
See = Callable[[Pictures], npt.NDArray[np.float32]]

GUIDANCE = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
STEPS = (4, 6, 8, 12, 18, 25)
PRIOR_GUIDANCE = (1.0, 1.5, 2.0, 3.0)
PRIOR_STEPS = (1, 5, 25)
UPSAMPLER_STEPS = (1, 2, 3, 5, 7)
MOST = 64  # pictures of one setting
PRIOR_SEEDS = (0, 1, 2, 3)  # of the prior's table: with one of them R@5 is off by 0.05 either way
ENLARGED = 16  # of the upsampler: each costs the most, and pixels tell more than a judge's rank


class Sweeps:
    """The questions, what CLIP read in them, and the judge's view of the real pictures."""

    def __init__(self, model: Pipeline, judge: Judge, asked: Sequence[Question], teacher: See) -> None:
        self._teacher = teacher
        self._model, self._judge, self._asked = model, judge, asked
        captions = [question.caption for question in asked]
        empty, *texts = model.read(["", *captions])
        self._empty: TextEncoding = empty
        self._texts = texts
        self._seeds = [0] * len(asked)
        self._captions = judge.read_all(captions)
        self._real = np.stack([question.real for question in asked])
        self._features = judge.see_all(self._real)
        self._guesses = model.guess(texts, empty, self._seeds)

    def _judged(self, pictures: Pictures) -> dict[str, float]:
        """The judge's figures of pictures, one per question."""
        seen = self._judge.see_all(pictures)
        near = cosines(seen, self._captions)
        own = np.eye(len(self._asked), dtype=np.bool_)
        figures = {"frechet": frechet(seen, self._features), "cosine": float(near[own].mean())} | hits(near, own)
        for name, tuning in (("tuning", True), ("confirming", False)):
            chosen = np.array([question.tuning is tuning for question in self._asked])
            if 0 < chosen.sum() < len(chosen):
                figures[f"top5 {name}"] = hits(near[chosen], own[chosen])["top5"]
        return figures

    def _decoded(
        self, embeddings: torch.Tensor, settings: SamplingSettings, seed: int = 0
    ) -> tuple[list[torch.Tensor], float]:
        """(base pictures, seconds for each)."""
        started = time.monotonic()
        small = self._model.decode(embeddings, self._texts, self._empty, [seed] * len(self._texts), settings)
        return small, (time.monotonic() - started) / len(small)

    def _judged_small(self, small: Sequence[torch.Tensor]) -> dict[str, float]:
        """`_judged` of base pictures."""
        return self._judged(self._enlarged(small))

    def _enlarged(self, small: Sequence[torch.Tensor]) -> Pictures:
        """Base pictures at the final size, without a network."""
        return as_pictures(list(enlarge(torch.stack(list(small)), self._real.shape[1]).clamp(-1, 1)))

    def _setting(self, settings: SamplingSettings) -> Row:
        small, seconds = self._decoded(self._guesses, settings)
        return {**told(settings), "seconds": seconds, **self._judged_small(small)}

    def _prior_setting(self, settings: SamplingSettings) -> Row:
        started = time.monotonic()
        guesses = self._model.guess(self._texts, self._empty, self._seeds, settings)
        seconds = (time.monotonic() - started) / len(guesses)
        small, _ = self._decoded(guesses, self._model.checkpoint.defaults("decoder"))
        return {**told(settings), "seconds": seconds, **self._judged_small(small)}

    def prior(self) -> list[Row]:
        """The image embedding left out, replaced by the text embedding, and from the prior (the paper's figure 8).

        Means over `PRIOR_SEEDS`. The text embedding is tried as it is, and at the length that image embeddings have
        here. The real picture's own embedding tells what a perfect prior would reach.
        """
        where = self._guesses.device
        text = torch.from_numpy(np.stack([text.embedding.values for text in self._texts])).to(where)
        length = self._guesses.norm(dim=1).mean()
        null = weights(self._model.checkpoint.folder, "text_proj")["learned_classifier_free_guidance_embeddings"]
        ways = {
            "caption only": null.to(where).expand(len(text), -1),
            "text embedding": text,
            "text embedding, scaled": text * length / text.norm(dim=1, keepdim=True),
            "real picture": torch.from_numpy(self._model.see(self._real)).to(where),
        }
        settings = self._model.checkpoint.defaults("decoder")
        real = self._teacher(self._real)
        found: dict[str, list[dict[str, float]]] = {}
        for seed in PRIOR_SEEDS:
            guesses = self._model.guess(self._texts, self._empty, [seed] * len(text))
            for name, embeddings in {**ways, "prior": guesses}.items():
                small, _ = self._decoded(embeddings, settings, seed)
                pictures = self._enlarged(small)
                other = {"frechet efficientnet": frechet(self._teacher(pictures), real)}
                found.setdefault(name, []).append(self._judged(pictures) | other)
        return [{"condition": name, **mean(parts)} for name, parts in found.items()]

    def prior_guidance(self) -> list[Row]:
        """The prior's guidance scale, everything else at its default."""
        default = self._model.checkpoint.defaults("prior")
        return [
            self._prior_setting(SamplingSettings(default.sampler, default.steps, scale)) for scale in PRIOR_GUIDANCE
        ]

    def prior_samplers(self) -> list[Row]:
        """Every sampler of the prior at more and more steps; one step alone is the mean of what it could say."""
        scale = self._model.checkpoint.defaults("prior").guidance_scale
        return [self._prior_setting(SamplingSettings(name, steps, scale)) for name in SAMPLERS for steps in PRIOR_STEPS]

    def guidance(self) -> list[Row]:
        """The decoder's guidance scale, everything else at its default."""
        default = self._model.checkpoint.defaults("decoder")
        return [self._setting(SamplingSettings(default.sampler, default.steps, scale)) for scale in GUIDANCE]

    def samplers(self) -> list[Row]:
        """Every sampler of the decoder at more and more steps."""
        scale = self._model.checkpoint.defaults("decoder").guidance_scale
        return [self._setting(SamplingSettings(name, steps, scale)) for name in SAMPLERS for steps in STEPS]

    def upsampler(self) -> list[Row]:
        """The upsampler on real pictures made small: likeness to the original (PSNR), sharpness (1: like it)."""
        originals = self._real[:: -(-len(self._real) // ENLARGED)]
        small = list(reduce(torch.from_numpy(originals).permute(0, 3, 1, 2) / 127.5 - 1, self._base()))
        rows: list[Row] = []
        for name in SAMPLERS:
            for steps in UPSAMPLER_STEPS:
                started = time.monotonic()
                made = self._model.enlarge(small, self._seeds[: len(small)], SamplingSettings(name, steps))
                seconds = (time.monotonic() - started) / len(made)
                likeness = {"psnr": psnr(made, originals), "sharpness": edges(made) / edges(originals)}
                rows.append({"sampler": name, "steps": steps, "seconds": seconds, **likeness})
        return rows

    def _base(self) -> int:
        return int(self._model.checkpoint.config("decoder", "config.json")["sample_size"])


def told(settings: SamplingSettings) -> Row:
    """The settings as columns."""
    return {"sampler": settings.sampler, "steps": settings.steps, "guidance": settings.guidance_scale}


def psnr(made: Pictures, real: Pictures) -> float:
    """Peak signal-to-noise ratio in dB over all pictures."""
    error = ((made.astype(np.float64) - real) ** 2).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def edges(pictures: Pictures) -> float:
    """Root mean square difference of neighbouring pixels: a blurred edge has the same sum, but not the same squares."""
    values = pictures.astype(np.float64)
    return float(np.sqrt((np.diff(values, axis=1) ** 2).mean() + (np.diff(values, axis=2) ** 2).mean()))


def run(model: Pipeline, judge: Judge, asked: Sequence[Question], teacher: See) -> dict[str, list[Row]]:
    """All sweeps. teacher: what EfficientNet sees in pictures ``[N, H, H, 3]``.

    At most `MOST` questions of the half for choosing; the prior's table takes every question.
    """
    tuning = [question for question in asked if question.tuning]
    if len(tuning) < 2:
        tuning = list(asked)
    few = Sweeps(model, judge, tuning[:: -(-len(tuning) // MOST)], teacher)
    parts: dict[str, Callable[[], list[Row]]] = {
        "prior": Sweeps(model, judge, asked, teacher).prior,
        "prior_guidance": few.prior_guidance,
        "prior_samplers": few.prior_samplers,
        "guidance": few.guidance,
        "samplers": few.samplers,
        "upsampler": few.upsampler,
    }
    found: dict[str, list[Row]] = {}
    for name, part in parts.items():
        print(f"sweep: {name}", flush=True)
        found[name] = part()
    return found
