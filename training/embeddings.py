"""What the trained CLIP says of every pair, computed once: the data of prior and decoder."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import torch
from transformers import CLIPTokenizer

from training.clip import Clip, tokens
from training.loop import device
from training.presets import Preset
from training.scaling import reduce
from training.views import Views


@dataclass(frozen=True)
class Encoded:
    """One view per row. image: ``[N, D]``; text: ``[N, D]``; states: ``[N, L, D]``; mask: bool ``[N, L]``;

    base: ``[N, 3, h, h]`` in [-1, 1], the picture at the decoder's size.
    """

    image: torch.Tensor
    text: torch.Tensor
    states: torch.Tensor
    mask: torch.Tensor
    base: torch.Tensor


@torch.no_grad()
def encode_texts(
    clip: Clip, words: CLIPTokenizer, captions: list[str]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(embeddings ``[B, D]``, states ``[B, L, D]``, mask bool ``[B, L]``)."""
    ids, mask = tokens(words, captions)
    out = clip.text(input_ids=ids, attention_mask=mask)
    return out.text_embeds, out.last_hidden_state, mask.bool()


@torch.no_grad()
def encode_views(preset: Preset, clip: Clip, words: CLIPTokenizer) -> Encoded:
    """``preset.views`` views of every taught pair: pictures in place on varied backgrounds with varied captions.

    The views are drawn here rather than in the training loop because CLIP costs more than prior or decoder.
    """
    taught, _ = preset.pairs()
    random = Random(1)
    source = Views(taught, preset.variety, device())
    rows: list[tuple[torch.Tensor, ...]] = []
    for _ in range(preset.views):
        for start in range(0, len(taught), 128):
            shown = range(start, min(start + 128, len(taught)))
            full, captions = source.draw(shown, random, moved=preset.moved)
            text, states, mask = encode_texts(clip, words, captions)
            image = clip.image(pixel_values=reduce(full, preset.clip_size)).image_embeds
            rows.append((image, text, states, mask, reduce(full, preset.base_size)))
    return Encoded(*(torch.cat(column).to(device()) for column in zip(*rows, strict=True)))
