"""What the trained CLIP says of fresh views: the data of prior and decoder, drawn while they train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from random import Random

import torch
from transformers import CLIPTokenizer

from training.clip import Clip, tokens
from training.loop import choose, device, half_precision
from training.presets import Preset
from training.quick import compiled
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

    def repeated(self, times: int) -> Encoded:
        """Each view so many times."""
        return Encoded(*(getattr(self, each.name).repeat_interleave(times, 0) for each in fields(self)))


@torch.no_grad()
def encode_texts(
    clip: Clip, words: CLIPTokenizer, captions: list[str]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(embeddings ``[B, D]``, states ``[B, L, D]``, mask bool ``[B, L]``)."""
    ids, mask = tokens(words, captions)
    out = clip.text(input_ids=ids, attention_mask=mask)
    return out.text_embeds, out.last_hidden_state, mask.bool()


class Examples:
    """Views of the taught pictures, encoded: every batch is drawn anew, so no view is learned by heart."""

    def __init__(self, preset: Preset, clip: Clip, words: CLIPTokenizer) -> None:
        self._preset, self._clip, self._words = preset, clip, words
        self._see = compiled(clip.image, preset.decoder, device())
        taught, _ = preset.pairs()
        self._views = Views(taught, preset.variety, device(), preset.hidden(), preset.clip_size)

    def draw(self, count: int, generator: torch.Generator) -> Encoded:
        """``count`` views of pictures chosen at random."""
        random = Random(int(choose(2**31, 1, generator)))
        return self.of([random.randrange(self.pictures) for _ in range(count)], random)

    @property
    def pictures(self) -> int:
        """How many pictures there are views of."""
        return len(self._views.pairs)

    @torch.no_grad()
    def of(self, rows: Sequence[int], random: Random) -> Encoded:
        """A view of each of these pictures."""
        full, captions = self._views.draw(rows, random, moved=self._preset.moved)
        with torch.autocast(device().type, torch.bfloat16, enabled=half_precision(device())):
            text, states, mask = encode_texts(self._clip, self._words, captions)
            image = self._see(pixel_values=full).image_embeds
        return Encoded(image.float(), text.float(), states.float(), mask, reduce(full, self._preset.base_size))
