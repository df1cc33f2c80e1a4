"""What CLIP learns from when it has teachers: views with captions, and what the teachers say of both, made once."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import torch
from tqdm import tqdm
from transformers import CLIPTokenizer

from training.captions import caption_of, with_article
from training.clip import tokens
from training.loop import device
from training.presets import Preset
from training.scaling import reduce
from training.state import alone, load, origin, save
from training.teachers import SIDE, PictureTeacher, SentenceTeacher, manifest
from training.tokenizer import digest_of
from training.views import Views, batched

SAYINGS = 2  # of every word of the sentence teacher: it speaks English, and CLIP shall understand some of it


@dataclass(frozen=True)
class Lessons:
    """Views, every picture's first, then every picture's second ...; and words that no picture shows.

    pictures: taught, so view i is of picture ``i % pictures``. pixels: uint8 ``[N, 3, S, S]`` at CLIP's size;
    features: ``[N, 1280]``; ids, mask: ``[N, L]``; meanings: ``[N, 384]``; word_ids ...: of words, ``[W, ...]``.
    """

    pictures: int
    pixels: torch.Tensor
    features: torch.Tensor
    ids: torch.Tensor
    mask: torch.Tensor
    meanings: torch.Tensor
    word_ids: torch.Tensor
    word_mask: torch.Tensor
    word_meanings: torch.Tensor


def prepare(preset: Preset, words: CLIPTokenizer) -> Lessons:
    """Draws ``preset.views`` views of every taught picture and asks the teachers; kept in the preset's folder.

    Raises:
        RuntimeError: the lessons that are there are damaged, of another run, or being made by one.
    """
    path, made = preset.folder / "lessons.pt", origin(preset, digest_of(words), manifest())
    with alone(path):
        if (kept := load(path, made)) is not None:
            return Lessons(**kept)
        taught, _ = preset.known()
        source = Views(taught, preset.variety, device(), preset.hidden(), SIDE)
        eye, reader = PictureTeacher(), SentenceTeacher()
        random = Random(2)
        pixels, features, captions = [], [], list[str]()
        for _ in tqdm(range(preset.views), desc="lessons", unit="round"):
            for rows in batched(range(len(taught)), 128):
                full, said = source.draw(rows, random)
                features.append(eye.see(full).half())
                pixels.append(((reduce(full, preset.clip_size) + 1) * 127.5).round().byte())
                captions += said
        sayings = [saying for word in reader.vocabulary() for saying in said_of(word, preset.styles, random)]
        ids, mask = tokens(words, captions)
        word_ids, word_mask = tokens(words, sayings)
        lessons = Lessons(
            len(taught),
            torch.cat(pixels),
            torch.cat(features),
            ids.short(),
            mask.bool(),
            reader.read(captions).half(),
            word_ids.short(),
            word_mask.bool(),
            reader.read(sayings).half(),
        )
        save(path, made, vars(lessons))
        return lessons


def said_of(word: str, styles: tuple[str, ...], random: Random) -> list[str]:
    """Captions with a word: alone, and in a style."""
    return [with_article(word), caption_of(with_article(word), random.choice(styles))][:SAYINGS]
