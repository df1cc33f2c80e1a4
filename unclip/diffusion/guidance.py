"""Classifier-free guidance (Ho & Salimans 2022, arXiv 2207.12598)."""

from __future__ import annotations

import torch


def guided(conditional: torch.Tensor, unconditional: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """``u + s (c - u)``: eq. 6 with s = w + 1.

    conditional, unconditional: ``[B, ...]``; scale: ``[B]``, 1 returns the conditional output.
    """
    per_row = scale.reshape(-1, *[1] * (conditional.dim() - 1))
    return unconditional + per_row * (conditional - unconditional)
