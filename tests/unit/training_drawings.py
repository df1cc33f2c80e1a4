"""Pictures for tests of the recipe, drawn without a package to draw them from."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from training import judge as judging
from training.pictures import BACKGROUNDS, WHITE, Pair, composite

COLOURS = {"red apple": (200, 0, 0), "banana": (250, 220, 0), "dog face": (150, 90, 40), "red heart": (250, 90, 160)}


def drawing(label: str, style: str, size: int) -> Pair:
    """A disc of the concept's colour, smaller in the second style."""
    y, x = np.indices((size, size)) - size // 2
    rgba = np.zeros((size, size, 4), np.uint8)
    rgba[x**2 + y**2 < (size * (0.4 if style == "flat" else 0.25)) ** 2] = (*COLOURS[label], 255)
    return Pair(label, ("round",), style, rgba, 4)


class Eyes(judging.Judge):
    """A judge that sees the mean colour and reads the colour a caption means: it is never wrong about discs."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)

    def read_all(self, captions: object) -> npt.NDArray[np.float32]:
        assert isinstance(captions, list)
        return np.stack([self.mean_colour(caption) for caption in captions])

    def mean_colour(self, caption: str) -> npt.NDArray[np.float32]:
        label = next(label for label in COLOURS if label in caption)
        ground = next((colour for name, colour in BACKGROUNDS if f" {name} background" in caption), WHITE[1])
        style = "flat" if "flat" in caption else "noto"
        seen: npt.NDArray[np.float32] = self.see_all(composite(drawing(label, style, 64).rgba, ground)[None])[0]
        return seen

    def see_all(self, pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        means = pictures.reshape(len(pictures), -1, 3).astype(np.float64).mean(axis=1) / 255 - 0.5
        scaled = np.concatenate([means, (means**2).sum(axis=1, keepdims=True)], axis=1)
        unit: npt.NDArray[np.float32] = (scaled / np.linalg.norm(scaled, axis=1, keepdims=True)).astype(np.float32)
        return unit
