"""How pictures are asked of a running gateway, and seen by its CLIP and by the judge."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from training import judge as judging
from unclip import Client, GeneratedImage

AT_ONCE = 8  # calls: enough to fill the decoder's batches
CLIP_BATCH = 16
WHOSE = ("clip", "judge")

Pictures = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Row = dict[str, Any]
Item = TypeVar("Item")
Made = TypeVar("Made")


@dataclass(frozen=True)
class Eyes:
    """Two views of captions and pictures, each a cosine in [-1, 1]: the served CLIP's, and the judge's."""

    client: Client
    judge: judging.Judge

    def see(self, pictures: Pictures) -> tuple[Floats, Floats]:
        """(CLIP's, the judge's) unit vectors ``[N, D]`` of pictures ``[N, H, W, 3]``."""
        parts = [pictures[i : i + CLIP_BATCH] for i in range(0, len(pictures), CLIP_BATCH)]
        found = [e.values for part in parts for e in self.client.embed(images=[png(p) for p in part]).images]
        return units(np.stack(found)), units(self.judge.see_all(pictures))

    def read(self, captions: Sequence[str]) -> tuple[Floats, Floats]:
        """The same of captions."""
        parts = [captions[i : i + CLIP_BATCH] for i in range(0, len(captions), CLIP_BATCH)]
        found = [e.values for part in parts for e in self.client.embed(captions=part).captions]
        return units(np.stack(found)), units(self.judge.read_all(captions))

    def leaning(self, pictures: Pictures, before: Sequence[str], after: Sequence[str]) -> dict[str, Floats]:
        """How much nearer pictures ``[N, ..., H, W, 3]`` are to a caption after than to one before, as each sees it.

        Shapes: ``[N, ...]``; above 0 the caption after is nearer.
        """
        shape = pictures.shape[:-3]
        seen = self.see(pictures.reshape(-1, *pictures.shape[-3:]))
        both = zip(WHOSE, seen, self.read(before), self.read(after), strict=True)
        return {name: np.einsum("n...d,nd->n...", see.reshape(*shape, -1), new - old) for name, see, old, new in both}


def at_once(work: Callable[[Item], Made], items: Sequence[Item]) -> list[Made]:
    """``work`` of every item, several calls at a time."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(work, items))


def png(picture: Pictures) -> bytes:
    """A picture ``[H, W, 3]`` as a file."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def pixels(images: Sequence[GeneratedImage]) -> Pictures:
    """Finished pictures as ``[N, H, W, 3]``."""
    return np.stack([np.asarray(image.to_pil().convert("RGB")) for image in images])


def units(rows: npt.NDArray[Any]) -> Floats:
    """Rows at length 1."""
    scaled: Floats = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return scaled
