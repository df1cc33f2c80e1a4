"""Drawings in other colours: the hue of what is of a drawing's main colour is turned, the rest stays.

All in premultiplied tensors: scaling by transparency changes neither hue nor saturation, only value.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

# Hue in turns, saturation, value of what a colour word means.
COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.0, 0.85, 0.9),
    "orange": (0.08, 0.9, 0.97),
    "yellow": (0.145, 0.8, 0.98),
    "green": (0.34, 0.7, 0.72),
    "blue": (0.6, 0.8, 0.88),
    "purple": (0.76, 0.65, 0.75),
    "pink": (0.92, 0.45, 0.97),
}
WITHIN = 40 / 360  # turns: hues as near as this to the main one are of the main colour
FADING = 25 / 360  # beyond that a hue is turned less and less
LEAST_COLOURED, LEAST_MAIN = 0.45, 0.75  # share of what is opaque that is coloured; share of that in the main colour


def main_colour(rgba: npt.NDArray[np.uint8]) -> tuple[float, float, float] | None:
    """Hue in turns, saturation and value, both medians, of a drawing ``[S, S, 4]`` with one main colour, else None."""
    values = rgba[rgba[..., 3] > 127][:, :3].astype(np.float32).T / 255
    if not values.size:
        return None
    hue, saturation, value = (part.numpy() for part in to_hsv(torch.from_numpy(values)[None])[0])
    coloured = (saturation > 0.3) & (value > 0.25)
    if coloured.mean() < LEAST_COLOURED:
        return None
    counts, edges = np.histogram(hue[coloured], bins=36, range=(0, 1))
    window = sum(np.roll(counts, shift) for shift in range(-3, 4))
    middle = float(edges[int(np.argmax(window))] + 1 / 72)
    main = coloured & (distance(torch.from_numpy(hue), torch.tensor(middle)).numpy() < WITHIN)
    if main.sum() < LEAST_MAIN * coloured.sum():
        return None
    angle = np.angle(np.exp(2j * np.pi * hue[main]).mean()) / (2 * np.pi) % 1
    return float(angle), float(np.median(saturation[main])), float(np.median(value[main]))


def recoloured(drawings: torch.Tensor, was: torch.Tensor, becomes: torch.Tensor) -> torch.Tensor:
    """Drawings ``[B, 4, S, S]``, premultiplied, 0 to 255, in other colours.

    was, becomes: ``[B, 3]``, hue, saturation, value of each drawing's main colour, and of the one it gets.
    """
    colours, alpha = drawings[:, :3] / 255, drawings[:, 3:] / 255
    hue, saturation, value = to_hsv(colours).unbind(1)
    away = distance(hue, was[:, 0, None, None])
    share = ((WITHIN + FADING - away) / FADING).clamp(0, 1) * ((saturation - 0.08) / 0.15).clamp(0, 1)
    turned = (hue + (becomes[:, 0] - was[:, 0])[:, None, None]) % 1
    stronger, lighter = ((becomes[:, i] / was[:, i].clamp(min=0.05))[:, None, None] for i in (1, 2))
    changed = to_rgb(
        torch.stack([turned, (saturation * stronger.clamp(0.4, 1.6)).clamp(0, 1), value * lighter.clamp(0.6, 1.8)], 1)
    )
    mixed = torch.minimum(torch.lerp(colours, changed, share[:, None]), alpha)
    return torch.cat([mixed * 255, drawings[:, 3:]], dim=1)


def distance(hue: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Between hues in turns, the short way round: at most a half."""
    return 0.5 - ((hue - other) % 1 - 0.5).abs()


def to_hsv(rgb: torch.Tensor) -> torch.Tensor:
    """``[B, 3, ...]`` of red, green, blue in [0, 1] as hue in turns, saturation and value (Smith 1978)."""
    red, green, blue = rgb.unbind(1)
    value = rgb.amax(1)
    chroma = value - rgb.amin(1)
    safe = chroma.clamp(min=1e-6)
    hue = torch.where(
        value == red,
        (green - blue) / safe % 6,
        torch.where(value == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    return torch.stack([hue / 6 % 1, chroma / value.clamp(min=1e-6), value], dim=1)


def to_rgb(hsv: torch.Tensor) -> torch.Tensor:
    """The inverse of `to_hsv`."""
    hue, saturation, value = hsv.unbind(1)
    parts = []
    for n in (5, 3, 1):
        k = (n + hue * 6) % 6
        parts.append(value - value * saturation * torch.minimum(k, 4 - k).clamp(0, 1))
    return torch.stack(parts, dim=1)
