"""Pictures at the sizes the networks see."""

from __future__ import annotations

import torch
from torch.nn import functional


def enlarge(base: torch.Tensor, side: int) -> torch.Tensor:
    """``[B, 3, h, h]`` to ``[B, 3, side, side]``, as at inference: bicubic, antialiased."""
    return functional.interpolate(base, size=(side, side), mode="bicubic", align_corners=False, antialias=True)


def reduce(full: torch.Tensor, side: int) -> torch.Tensor:
    """``[B, 3, H, H]`` to ``[B, 3, side, side]`` in [-1, 1]: bicubic, antialiased, like the feature extractor."""
    if full.shape[-1] == side:
        return full
    return functional.interpolate(full, size=(side, side), mode="bicubic", antialias=True).clamp(-1, 1)
