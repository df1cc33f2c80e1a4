"""Views of pictures, made in tensors: placed, mirrored, recoloured, put together, before a background.

A drawing is rendered once; a view of it costs a few tensor operations for a whole batch, on the GPU if there is one.
What a view shows beyond the drawing its caption names, and nothing that is held out is ever shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

import numpy as np
import torch
from torch.nn import functional

from training.captions import COUNTS, PEOPLE, countable, couple_caption, in_colour, plural, varied_caption
from training.colours import COLOURS, main_colour, recoloured
from training.pictures import BACKGROUNDS, WHITE, Pair
from training.split import Split

BACKDROPS = (WHITE, *BACKGROUNDS)
BESIDE = {"next to": ((-0.5, 0.0), (0.5, 0.0)), "above": ((0.0, -0.5), (0.0, 0.5))}  # centres, (x, y) in [-1, 1]
PLACES = {  # of so many equal things, (x, y) of their centres
    "two": (((-0.5, 0.0), (0.5, 0.0)), ((-0.48, -0.48), (0.48, 0.48)), ((0.48, -0.48), (-0.48, 0.48))),
    "three": (((0.0, -0.5), (-0.5, 0.48), (0.5, 0.48)), ((-0.5, -0.48), (0.5, -0.48), (0.0, 0.5))),
}
Item = TypeVar("Item")
HALF = 0.55  # a drawing scaled below this is taken from the bank of half the size, or its edges would be jagged


@dataclass(frozen=True)
class Variety:
    """How a view may differ from the drawing.

    coloured: share of views that do not stand on white; fading: share of those whose colour fades into another one.
    smallest: a moved drawing is scaled by this to 1 and put anywhere. mirrored: share of views that are, where neither
    text nor direction would turn wrong. couples: share of views that show two drawings of one style. counted: share
    that show a drawing several times. recoloured: share of the drawings with one main colour that get another one.
    """

    coloured: float = 0.33
    fading: float = 0.0
    smallest: float = 0.75
    mirrored: float = 0.0
    couples: float = 0.0
    counted: float = 0.0
    recoloured: float = 0.0


@dataclass(frozen=True)
class Layer:
    """A drawing in a view. view, row: which of each; scale, x, y: in [-1, 1]; colour: of COLOURS, or its own."""

    view: int
    row: int
    scale: float = 1.0
    x: float = 0.0
    y: float = 0.0
    mirrored: bool = False
    colour: str | None = None

    @property
    def in_place(self) -> bool:
        """Whether the drawing stands as it was drawn."""
        return (self.scale, self.x, self.y, self.mirrored) == (1.0, 0.0, 0.0, False)


class Views:
    """Draws batches of views of ``pairs``. The drawings lie premultiplied on the device: uint8 ``[N, 4, S, S]``.

    side: of the views in px, the drawings' own unless given; hidden: what is never shown.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        variety: Variety,
        where: torch.device,
        hidden: Split | None = None,
        side: int | None = None,
    ) -> None:
        self.pairs, self.variety, self.device, self.hidden = pairs, variety, where, hidden or Split()
        bank = torch.cat([premultiplied(part, side) for part in batched(pairs)])
        self._bank = bank.to(where)
        self._small = torch.cat(
            [functional.avg_pool2d(part.float(), 2).round().byte() for part in torch.split(self._bank, 256)]
        )
        self._of_style: dict[str, list[int]] = {}
        for row, pair in enumerate(pairs):
            self._of_style.setdefault(pair.style, []).append(row)
        mains = [main_colour(pair.rgba) if variety.recoloured and pair.group != PEOPLE else None for pair in pairs]
        self._mains = torch.tensor([main or (0.0, 0.0, 0.0) for main in mains], device=where)
        self._turns = [self._colours_for(pair) if main else () for pair, main in zip(pairs, mains, strict=True)]
        self._numbers = [self._counts_for(pair) if variety.counted else () for pair in pairs]

    def draw(self, rows: Sequence[int], random: Random, moved: bool = True) -> tuple[torch.Tensor, list[str]]:
        """Pictures ``[B, 3, S, S]`` in [-1, 1] and their captions. Not ``moved``, a lone drawing is as it was drawn."""
        layers: list[Layer] = []
        captions, colours = [], []
        for view, row in enumerate(rows):
            name, first, second = self._background(random)
            colours.append((first, second))
            placed, caption = self._arranged(view, row, name, random, moved)
            layers += placed
            captions.append(caption)
        return self._composed(len(rows), layers, colours), captions

    def _arranged(self, view: int, row: int, background: str, random: Random, moved: bool) -> tuple[list[Layer], str]:
        """What stands in one view, and what is said of it."""
        pair = self.pairs[row]
        others = self._of_style[pair.style] if random.random() < self.variety.couples else []
        other = random.choice(others) if others else row
        if other != row:
            relation = random.choice(sorted(BESIDE))
            places = BESIDE[relation]
            layers = [self._placed_at(view, r, place, random) for r, place in zip((row, other), places, strict=True)]
            return layers, couple_caption(pair, relation, self.pairs[other], background)
        colour = None
        if self._turns[row] and random.random() < self.variety.recoloured:
            colour = random.choice(self._turns[row])
        numbers = self._numbers[row]
        if colour is not None:  # it is another thing then
            numbers = tuple(count for count in numbers if self._shows(count, in_colour(pair.label, colour)))
        if numbers and random.random() < self.variety.counted:
            count = random.choice(numbers)
            layers = [self._placed_at(view, row, place, random, colour) for place in random.choice(PLACES[count])]
            return layers, varied_caption(pair, background, random, colour, count)
        scale = random.uniform(self.variety.smallest, 1) if moved else 1.0
        x, y = (random.uniform(scale - 1, 1 - scale) for _ in range(2))
        layer = Layer(view, row, scale, x, y, moved and self._mirrored(row, random), colour)
        return [layer], varied_caption(pair, background, random, colour)

    def _placed_at(
        self, view: int, row: int, place: tuple[float, float], random: Random, colour: str | None = None
    ) -> Layer:
        """A drawing of about half the size near a place."""
        scale = random.uniform(0.42, 0.5)
        free = 0.5 - scale
        x, y = (middle + random.uniform(-free, free) for middle in place)
        return Layer(view, row, scale, x, y, self._mirrored(row, random), colour)

    def _colours_for(self, pair: Pair) -> tuple[str, ...]:
        """The colours that a drawing may get: none that is held out of it, or makes it a thing that its style is not
        to show."""
        names = (pair.label, *pair.synonyms)

        def hides(thing: str) -> bool:
            return thing in self.hidden.colours or f"{pair.style}/{thing}" in self.hidden.pairs

        return tuple(c for c in COLOURS if not any(hides(in_colour(name, c)) for name in names))

    def _counts_for(self, pair: Pair) -> tuple[str, ...]:
        """The numbers in which it may be shown."""
        return tuple(count for count in COUNTS if countable(pair) and self._shows(count, pair.label))

    def _shows(self, count: str, label: str) -> bool:
        """Whether so many of a thing are not held out."""
        return f"{count} {plural(label)}" not in self.hidden.counts

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
        layers: Sequence[Layer],
        colours: Sequence[tuple[tuple[int, int, int], tuple[int, int, int]]],
    ) -> torch.Tensor:
        side = self._bank.shape[-1]
        ends = torch.tensor(colours, device=self.device).float()[:, :, :, None, None]
        fade = torch.linspace(0, 1, side, device=self.device)[:, None]
        canvas = (ends[:, 0] + (ends[:, 1] - ends[:, 0]) * fade).expand(count, 3, side, side).clone()
        placed = self._placed(layers)
        # The first drawings of all views at once, then the second ones ...
        turns: list[list[int]] = []
        nth = 0
        for i, layer in enumerate(layers):
            nth = nth + 1 if i and layers[i - 1].view == layer.view else 0
            if nth == len(turns):
                turns.append([])
            turns[nth].append(i)
        for turn in turns:
            at = torch.tensor([layers[i].view for i in turn], device=self.device)
            part = placed[torch.tensor(turn, device=self.device)]
            canvas[at] = part[:, :3] + canvas[at] * (1 - part[:, 3:] / 255)
        return canvas / 127.5 - 1

    def _placed(self, layers: Sequence[Layer]) -> torch.Tensor:
        """Each layer's drawing in its place: float ``[L, 4, S, S]``, premultiplied, 0 to 255."""
        side = self._bank.shape[-1]
        found = torch.empty(len(layers), 4, side, side, device=self.device)
        small = [layer.scale < HALF for layer in layers]
        for bank, is_small in ((self._bank, False), (self._small, True)):
            at = [i for i, s in enumerate(small) if s == is_small]
            if at:
                found[torch.tensor(at, device=self.device)] = self._moved(bank, [layers[i] for i in at])
        return found

    def _moved(self, bank: torch.Tensor, layers: Sequence[Layer]) -> torch.Tensor:
        rows = torch.tensor([layer.row for layer in layers], device=self.device)
        drawings = bank[rows].float()
        if turned := [i for i, layer in enumerate(layers) if layer.colour]:
            at = torch.tensor(turned, device=self.device)
            becomes = torch.tensor([COLOURS[str(layers[i].colour)] for i in turned], device=self.device)
            drawings[at] = recoloured(drawings[at], self._mains[rows[at]], becomes)
        if all(layer.in_place for layer in layers):
            return drawings
        matrix = [
            [
                [(-1 if one.mirrored else 1) / one.scale, 0, (one.x if one.mirrored else -one.x) / one.scale],
                [0, 1 / one.scale, -one.y / one.scale],
            ]
            for one in layers
        ]
        size = [len(layers), 4, self._bank.shape[-1], self._bank.shape[-1]]
        grid = functional.affine_grid(torch.tensor(matrix, device=self.device).float(), size, align_corners=False)
        return functional.grid_sample(drawings, grid, align_corners=False)


def batched(items: Sequence[Item], size: int = 256) -> list[Sequence[Item]]:
    """Items, so many at a time."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def premultiplied(pairs: Sequence[Pair], side: int | None) -> torch.Tensor:
    """uint8 ``[N, 4, side, side]`` of drawings whose size is a multiple of ``side``."""
    rgba = torch.from_numpy(np.stack([pair.rgba for pair in pairs])).permute(0, 3, 1, 2)
    colours = torch.cat([rgba[:, :3] * (rgba[:, 3:].float() / 255), rgba[:, 3:].float()], dim=1)
    if side is not None and side != colours.shape[-1]:
        colours = functional.avg_pool2d(colours, colours.shape[-1] // side)
    return colours.round().byte()
