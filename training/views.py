"""Views of pictures, made in tensors where training runs: placed, mirrored, put together, before a background.

A drawing is rendered once; a view of it costs a few tensor operations for a whole batch, on the GPU if there is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import torch
from torch.nn import functional

from training.pictures import BACKGROUNDS, WHITE, Pair, couple_caption, varied_caption

COLOURS = (WHITE, *BACKGROUNDS)
BESIDE = {"next to": ((-0.5, 0.0), (0.5, 0.0)), "above": ((0.0, -0.5), (0.0, 0.5))}  # centres, (x, y) in [-1, 1]


@dataclass(frozen=True)
class Variety:
    """How a view may differ from the drawing.

    coloured: share of views that do not stand on white; fading: share of those whose colour fades into another one.
    smallest: a moved drawing is scaled by this to 1 and put anywhere. mirrored: share of views that are, where neither
    text nor direction would turn wrong. couples: share of views that show two drawings of one style.
    """

    coloured: float = 0.33
    fading: float = 0.0
    smallest: float = 0.75
    mirrored: float = 0.0
    couples: float = 0.0


class Views:
    """Draws batches of views of ``pairs``. The drawings lie premultiplied on the device: uint8 ``[N, 4, S, S]``."""

    def __init__(self, pairs: Sequence[Pair], variety: Variety, where: torch.device) -> None:
        self.pairs, self.variety, self.device = pairs, variety, where
        rgba = torch.from_numpy(np.stack([pair.rgba for pair in pairs])).permute(0, 3, 1, 2).to(where)
        alpha = rgba[:, 3:].float() / 255
        self._bank = torch.cat([(rgba[:, :3] * alpha).round().byte(), rgba[:, 3:]], dim=1)
        self._of_style: dict[str, list[int]] = {}
        for row, pair in enumerate(pairs):
            self._of_style.setdefault(pair.style, []).append(row)

    def draw(self, rows: Sequence[int], random: Random, moved: bool = True) -> tuple[torch.Tensor, list[str]]:
        """Pictures ``[B, 3, S, S]`` in [-1, 1] and their captions. Without ``moved`` a lone drawing stays in place."""
        layers: list[tuple[int, int, float, float, float, bool]] = []  # (view, drawing, scale, x, y, mirrored)
        captions, colours = [], []
        for view, row in enumerate(rows):
            pair = self.pairs[row]
            name, first, second = self._background(random)
            colours.append((first, second))
            others = self._of_style[pair.style] if random.random() < self.variety.couples else []
            other = random.choice(others) if others else row
            if other != row:
                relation = random.choice(sorted(BESIDE))
                for drawing, (x, y) in zip((row, other), BESIDE[relation], strict=True):
                    scale = random.uniform(0.42, 0.5)
                    free = 0.5 - scale
                    shift = (random.uniform(-free, free), random.uniform(-free, free))
                    layers.append((view, drawing, scale, x + shift[0], y + shift[1], self._mirrored(drawing, random)))
                captions.append(couple_caption(pair, relation, self.pairs[other], name))
                continue
            scale = random.uniform(self.variety.smallest, 1) if moved else 1.0
            x, y = (random.uniform(scale - 1, 1 - scale) for _ in range(2))
            layers.append((view, row, scale, x, y, self._mirrored(row, random)))
            captions.append(varied_caption(pair, name, random))
        return self._composed(len(rows), layers, colours), captions

    def _mirrored(self, row: int, random: Random) -> bool:
        return random.random() < self.variety.mirrored and self.pairs[row].mirrors

    def _background(self, random: Random) -> tuple[str, tuple[int, int, int], tuple[int, int, int]]:
        """(name, colour at the top, colour at the bottom)."""
        if random.random() >= self.variety.coloured:
            return WHITE[0], WHITE[1], WHITE[1]
        (name, first), (other, second) = random.sample(BACKGROUNDS, 2)
        if random.random() < self.variety.fading:
            return f"{name} to {other}", first, second
        return name, first, first

    def _composed(
        self,
        count: int,
        layers: Sequence[tuple[int, int, float, float, float, bool]],
        colours: Sequence[tuple[tuple[int, int, int], tuple[int, int, int]]],
    ) -> torch.Tensor:
        side = self._bank.shape[-1]
        ends = torch.tensor(colours, device=self.device).float()[:, :, :, None, None]
        fade = torch.linspace(0, 1, side, device=self.device)[:, None]
        canvas = (ends[:, 0] + (ends[:, 1] - ends[:, 0]) * fade).expand(count, 3, side, side).clone()
        placed = self._placed(layers)
        where = torch.tensor([layer[0] for layer in layers], device=self.device)
        first = torch.tensor([i == 0 or layers[i - 1][0] != layer[0] for i, layer in enumerate(layers)])
        for chosen in (first, ~first):  # a view has at most two layers
            part, at = placed[chosen.to(self.device)], where[chosen.to(self.device)]
            if len(at):
                canvas[at] = part[:, :3] + canvas[at] * (1 - part[:, 3:] / 255)
        return canvas / 127.5 - 1

    def _placed(self, layers: Sequence[tuple[int, int, float, float, float, bool]]) -> torch.Tensor:
        """Each layer's drawing in its place: float ``[L, 4, S, S]``, premultiplied, 0 to 255."""
        drawings = self._bank[torch.tensor([layer[1] for layer in layers], device=self.device)].float()
        if all(layer[2:] == (1.0, 0.0, 0.0, False) for layer in layers):
            return drawings
        matrix = [
            [[(-1 if mirrored else 1) / scale, 0, (x if mirrored else -x) / scale], [0, 1 / scale, -y / scale]]
            for _, _, scale, x, y, mirrored in layers
        ]
        grid = functional.affine_grid(
            torch.tensor(matrix, device=self.device).float(), list(drawings.shape), align_corners=False
        )
        return functional.grid_sample(drawings, grid, align_corners=False)
