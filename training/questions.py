"""What a checkpoint is asked for when it is measured: the pairs it was never shown, on two backgrounds each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.captions import before, plain_caption
from training.judges import pixel_nearness
from training.pictures import BACKGROUNDS, WHITE, Pair, composite

TWINS = 15 / 255  # root mean square of the difference at 16 px: two packages' copies of a drawing are nearer
SIDE = 16


@dataclass(frozen=True)
class Question:
    """A held-out pair, the background asked for, its colour, and whether settings may be chosen by it."""

    pair: Pair
    background: str
    colour: tuple[int, int, int]
    tuning: bool = False

    @property
    def caption(self) -> str:
        """What the model is asked for."""
        return before(plain_caption(self.pair.label, self.pair.style), self.background)

    @property
    def real(self) -> npt.NDArray[np.uint8]:
        """The picture it was never shown: uint8 ``[S, S, 3]``."""
        return composite(self.pair.rgba, self.colour)


def questions(pairs: list[Pair]) -> list[Question]:
    """Every pair on white, then every pair on one of the coloured backgrounds, taken in turn."""
    tuning = set(sorted(pair.key for pair in pairs)[::2])
    white = [Question(pair, *WHITE, pair.key in tuning) for pair in pairs]
    return white + [
        Question(pair, *BACKGROUNDS[i % len(BACKGROUNDS)], pair.key in tuning) for i, pair in enumerate(pairs)
    ]


def askable(taught: list[Pair], held_out: list[Pair]) -> list[Pair]:
    """What is held out, but for what was taught all the same: in another package, or by another name, there is nearly
    the same drawing. Raises RuntimeError: nothing is left."""
    if not (found := unlike(held_out, taught)):
        raise RuntimeError(f"of {len(held_out)} held-out pairs none can be asked for that was not taught all the same")
    return found


def unlike(pairs: list[Pair], taught: list[Pair]) -> list[Pair]:
    """Those of the pairs whose drawing none of ``taught`` nearly has."""
    if not pairs or not taught:
        return pairs
    some, others = (np.stack([composite(p.rgba, WHITE[1]) for p in each]) for each in (pairs, taught))
    near = pixel_nearness(some, others, SIDE)
    far = -near.max(axis=1) / (SIDE**2 * 3) ** 0.5
    return [pair for pair, distance in zip(pairs, far, strict=True) if distance > TWINS]
