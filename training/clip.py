"""CLIP: a text and an image encoder trained to agree (Radford et al. 2021, arXiv 2103.00020, figure 3)."""

from __future__ import annotations

import math
from random import Random

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional
from transformers import CLIPTokenizer

from encoder_svc.cleaning import cleaning_of
from training import networks, tokenizer
from training.captions import COUNTS, countable, couple_caption, in_colour, plural, varied_caption
from training.colours import COLOURS
from training.grow import take_over
from training.loop import UNLIMITED, arguments, choose, device, fit
from training.pictures import BACKGROUNDS, WHITE, Pair
from training.presets import Limits, Preset
from training.scaling import reduce
from training.teachers import SentenceTeacher
from training.views import BESIDE, Views

CLEANING = "ftfy-1"  # of captions, before they are tokenised
MEAN = STD = (0.5, 0.5, 0.5)  # of the feature extractor: pixels in [-1, 1], as everywhere else


class Clip(nn.Module):
    """Both encoders and the learned temperature."""

    def __init__(self, text: nn.Module, image: nn.Module) -> None:
        super().__init__()
        self.text, self.image = text, image
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))


def learn_tokenizer(preset: Preset, pairs: list[Pair]) -> CLIPTokenizer:
    """The preset's tokenizer, learned from one caption per pair and background, and some of two things together."""
    random = Random(0)
    names = [name for name, _ in (WHITE, *BACKGROUNDS)]
    captions = [varied_caption(pair, name, random) for pair in pairs for name in names]
    if preset.variety.recoloured:
        captions += [in_colour(pair.label, colour) for pair in pairs for colour in COLOURS]
    if preset.variety.counted:
        captions += [f"{count} {plural(pair.label)}" for pair in pairs if countable(pair) for count in COUNTS]
    if preset.variety.couples:
        captions += [couple_caption(pair, word, random.choice(pairs), "white") for pair in pairs for word in BESIDE]
    if preset.variety.fading:
        captions += [f"{first} to {second}" for first in names for second in names]
    if preset.teachers:
        captions += SentenceTeacher().vocabulary()
    return tokenizer.train(captions, preset.vocabulary, preset.context, preset.folder / "tokenizer")


def tokens(words: CLIPTokenizer, captions: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids int64, mask int64), both ``[B, context]``, of captions cleaned as they will be for what is exported."""
    clean = cleaning_of(CLEANING)
    batch = words(
        [clean(caption) for caption in captions],
        padding="max_length",
        truncation=True,
        max_length=words.model_max_length,
        return_tensors="pt",
    )
    return batch.input_ids.to(device()), batch.attention_mask.to(device())


def pixels(pictures: list[npt.NDArray[np.uint8]]) -> torch.Tensor:
    """uint8 pictures ``[H, W, 3]`` as float32 ``[B, 3, H, W]`` in [-1, 1]."""
    return torch.from_numpy(np.stack(pictures)).to(device()).permute(0, 3, 1, 2).float() / 127.5 - 1


def begun(preset: Preset) -> tuple[Clip, CLIPTokenizer]:
    """Both encoders, untrained or those of the checkpoint to start from, and the tokenizer that they read by."""
    words = (
        CLIPTokenizer.from_pretrained(preset.start / "tokenizer", split_special_tokens=True)
        if preset.start
        else learn_tokenizer(preset, preset.known()[0])
    )
    torch.manual_seed(0)
    clip = Clip(networks.text_encoder(preset, words), networks.image_encoder(preset)).to(device())
    if preset.start:
        take_over(clip.text, preset.start, "text_encoder")
        take_over(clip.image, preset.start, "image_encoder")
    return clip, words


def train(preset: Preset, limits: Limits = UNLIMITED) -> tuple[Clip, CLIPTokenizer]:
    """Trains both encoders, or loads them if they are trained. Of a checkpoint to start from the tokenizer is
    always kept, and the encoders if the preset says so."""
    clip, words = begun(preset)
    if preset.keeps("clip"):
        return clip.eval().requires_grad_(False), words
    if preset.teachers:
        from training import distillation

        distillation.train(preset, clip, words, limits)
    else:
        contrast_views(preset, clip, words, limits)
    return clip, words


def contrast_views(preset: Preset, clip: Clip, words: CLIPTokenizer, limits: Limits) -> None:
    """Trains both encoders on fresh views and nothing else."""
    taught, _ = preset.known()
    views = Views(taught, preset.variety, device(), preset.hidden())

    def loss(generator: torch.Generator) -> torch.Tensor:
        random = Random(int(choose(2**31, 1, generator)))
        full, captions = views.draw(random.sample(range(len(taught)), min(preset.clip.batch, len(taught))), random)
        ids, mask = tokens(words, captions)
        longest = int(mask.sum(dim=1).max())  # what follows is padding in all of them
        text = functional.normalize(clip.text(input_ids=ids[:, :longest], attention_mask=mask[:, :longest]).text_embeds)
        seen = reduce(full, preset.clip_size)
        image = functional.normalize(clip.image(pixel_values=seen).image_embeds)
        return contrast(text, image, clip.log_scale, most=100)

    fit("clip", preset, clip, loss, preset.clip, limits, made_from=[tokenizer.digest_of(words)])


def contrast(some: torch.Tensor, others: torch.Tensor, log_scale: torch.Tensor, most: float = 60) -> torch.Tensor:
    """How badly unit vectors ``[B, D]`` find each other, row by row; ``most``: the largest temperature's inverse."""
    with torch.autocast(some.device.type, enabled=False):  # half of their digits would be lost times the temperature
        logits = log_scale.exp().clamp(max=most) * some.float() @ others.float().T
    target = torch.arange(len(some), device=logits.device)
    return (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2


if __name__ == "__main__":
    train(*arguments("Trains CLIP."))
