"""What a checkpoint is asked for when it is measured: the pairs it was never shown, on two backgrounds each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.captions import before, plain_caption
from training.pictures import BACKGROUNDS, WHITE, Pair, composite


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
