"""Measures arithmetic with embeddings: of a held-out picture's, and of two captions': picture + after - before.

What is made of the sum, with no caption to help the decoder, is shown to the judge, and to the model's own CLIP: is it
nearer to the caption that was meant than to that of the picture it began with?
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from training.changes import Change, by_kind
from training.eyes import Eyes, Pictures, Row, at_once, pixels, png
from unclip import Client
from unclip.client.sheets import contact_sheet


def measure_arithmetic(client: Client, eyes: Eyes, wanted: Sequence[Change]) -> tuple[list[Row], Pictures]:
    """(a row per kind of change and one for all, the pictures ``[N, H, W, 3]``).

    intended: share of pictures nearer to the caption that was meant than to that of the picture they began with.
    """

    def make(change: Change) -> Pictures:
        source = client.embed(images=[png(change.picture.real)]).images[0]
        was, becomes = client.embed(captions=[change.picture.caption, change.after]).captions
        total = (source + becomes - was).with_length(source.length)
        picture: Pictures = pixels(client.generate(embedding=total, seed=0))[0]
        return picture

    made = np.stack(at_once(make, wanted))
    sides = eyes.leaning(made, [change.picture.caption for change in wanted], [change.after for change in wanted])
    rows: list[Row] = []
    for kind, inside in by_kind(wanted):
        rows.append({"change": kind, "triples": int(inside.sum())})
        rows[-1] |= {f"{whose}.intended": float((side[inside] > 0).mean()) for whose, side in sides.items()}
        print(rows[-1], flush=True)
    return rows, made


def sums_sheet(wanted: Sequence[Change], made: Pictures) -> Image.Image:
    """Every picture beside what was made of its sum."""
    cells: list[Image.Image] = []
    names: list[str] = []
    for change, picture in zip(wanted, made, strict=True):
        cells += [Image.fromarray(change.picture.real), Image.fromarray(picture)]
        names += [change.picture.caption, f"to: {change.after}"]
    return contact_sheet(cells, names, 10)
