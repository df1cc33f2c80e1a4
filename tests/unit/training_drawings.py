"""Pictures for tests of the recipe, drawn without a package to draw them from."""

from __future__ import annotations

import numpy as np

from training.pictures import Pair

COLOURS = {"red apple": (200, 0, 0), "banana": (250, 220, 0), "dog face": (150, 90, 40), "red heart": (250, 90, 160)}


def drawing(label: str, style: str, size: int) -> Pair:
    """A disc of the concept's colour, smaller in the second style."""
    y, x = np.indices((size, size)) - size // 2
    rgba = np.zeros((size, size, 4), np.uint8)
    rgba[x**2 + y**2 < (size * (0.4 if style == "flat" else 0.25)) ** 2] = (*COLOURS[label], 255)
    return Pair(label, ("round",), style, rgba, 4)
