"""How well things find each other: ranks, hit rates, what guessing would reach, and distances between pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import comb

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
TOP = (1, 5)


def hits(nearness: Floats, right: Bools) -> dict[str, float]:
    """Share of queries with a right answer among their nearest 1 and 5: ``{"top1": ..., "top5": ...}``.

    nearness: ``[Q, C]``, larger is nearer. right: ``[Q, C]``, which candidates answer which query; at least one each.
    A wrong candidate as near as the best right one goes first, so a model that says the same of everything scores 0,
    and so does one that says what is no number.
    """
    best = np.where(right, nearness, -np.inf).max(axis=1, keepdims=True)
    rank = (~right & ~(nearness < best)).sum(axis=1)
    return {f"top{k}": float((rank < k).mean()) for k in TOP}


def chance(right: Bools) -> dict[str, float]:
    """What `hits` would be on average if the candidates came in random order."""
    candidates = right.shape[1]
    found = {}
    for k in TOP:
        drawn = min(k, candidates)
        missed = [comb(candidates - int(n), drawn) / comb(candidates, drawn) for n in right.sum(axis=1)]
        found[f"top{k}"] = 1 - sum(missed) / len(missed)
    return found


def cosines(queries: Floats, candidates: Floats) -> Floats:
    """Cosine of the angle between every two rows: ``[Q, D]`` and ``[C, D]`` to ``[Q, C]``."""

    def unit(rows: Floats) -> Floats:
        scaled: Floats = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return scaled

    nearness: Floats = unit(queries) @ unit(candidates).T
    return nearness


def pixel_nearness(queries: npt.NDArray[np.uint8], candidates: npt.NDArray[np.uint8], side: int = 16) -> Floats:
    """Negative L2 distance between every two pictures at ``side`` px: uint8 ``[Q, H, H, 3]`` and ``[C, H, H, 3]``.

    It knows nothing of what a CLIP has learned, and little of anything: position and colours are all it compares.
    """

    def small(pictures: npt.NDArray[np.uint8]) -> Floats:
        count, height = pictures.shape[:2]
        cell = height // side
        cells = pictures.reshape(count, side, cell, side, cell, 3).astype(np.float32) / 255
        means: Floats = cells.mean(axis=(2, 4)).reshape(count, -1)
        return means

    near = small(candidates)
    return np.stack([-np.linalg.norm(near - query, axis=1) for query in small(queries)])


def frechet(some: Floats, others: Floats) -> float:
    """Fréchet distance of the Gaussians fitted to two sets of features ``[N, D]`` and ``[M, D]``.

    Heusel et al. 2017 (arXiv 1706.08500, eq. 6); the features there are Inception's, and there are 50,000 of them.
    The distance of small sets is biased upwards: compare only sets of the same sizes.
    """
    shift = some.mean(axis=0) - others.mean(axis=0)
    first, second = (np.cov(features.astype(np.float64), rowvar=False) for features in (some, others))
    # The product of two covariances has real eigenvalues of at least 0; what rounding adds to that is dropped.
    roots = np.sqrt(np.clip(np.linalg.eigvals(first @ second).real, 0, None))
    return float(shift @ shift + np.trace(first) + np.trace(second) - 2 * roots.sum())


def equal(queries: list[str], candidates: list[str]) -> Bools:
    """``[Q, C]``: which names are the same."""
    same: Bools = np.array(queries)[:, None] == np.array(candidates)[None, :]
    return same


def mean(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each figure."""
    return {name: float(np.mean([part[name] for part in parts])) for name in parts[0]}
