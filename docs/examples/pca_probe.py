"""What a CLIP embedding holds, part by part: pictures painted from their first k principal components.

Section 6 and figure 7 of the unCLIP paper (arXiv 2204.06125). All pictures of a folder are embedded; the mean and the
principal axes of their embeddings come from one singular value decomposition. Some of the pictures are then painted
again from the mean plus their share of the first k axes, by the decoder alone: no prior, no caption, one seed, DDIM
without fresh noise, so that nothing differs within a row but k. Needs a running gateway (``make serve``), numpy and the
client, no torch:

    python docs/examples/pca_probe.py FOLDER --out out/pca-probe.png

With N pictures there are at most N - 1 components: the last column, with all of them, paints the embedding itself, up
to rounding.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from unclip import Client, Sampling
from unclip.client import Embedding
from unclip.client.sheets import contact_sheet, on_paper

ENDINGS = {".png", ".jpg", ".jpeg", ".webp"}
EMBED_AT_ONCE = 16  # the gateway's limit
PAINT_AT_ONCE = 8  # they share the decoder's batches
DETERMINISTIC = Sampling(sampler="ddim", eta=0.0)

FloatArray = npt.NDArray[np.float64]


def main(arguments: Sequence[str] | None = None) -> None:
    """Embeds, decomposes, paints, and writes one sheet: a row per picture, a column per k."""
    options = parser().parse_args(arguments)
    paths = sorted(path for path in options.folder.iterdir() if path.suffix.lower() in ENDINGS)
    if len(paths) < 3:
        raise SystemExit(f"{options.folder} must hold at least 3 pictures; it holds {len(paths)}")
    with Client(options.server) as client:
        embeddings = embed(client, paths)
        mean, axes, share = principal_axes(np.stack([embedding.values for embedding in embeddings]))
        counts = [*(count for count in options.components if count < len(axes)), len(axes)]
        shown = np.linspace(0, len(paths) - 1, min(options.rows, len(paths))).round().astype(int)
        gists = [from_first(embeddings[row], mean, axes, count) for row in shown for count in counts]
        painted = iter(paint(client, gists, options.seed))
    cells, captions = [], []
    for row in shown:
        cells.append(square(paths[row]))
        captions.append(paths[row].stem)
        for count in counts:
            cells.append(next(painted))
            captions.append(f"k = {count} ({share[count - 1]:.0%})")
    side = max(cell.width for cell in cells)
    cells = [cell.resize((side, side), Image.Resampling.BICUBIC) for cell in cells]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(cells, captions, columns=len(counts) + 1).save(options.out)
    print(f"{options.out}  {len(shown)} pictures, {len(axes)} components of {len(paths)} embeddings")


def parser() -> argparse.ArgumentParser:
    """What can be said on the command line."""
    command = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    command.add_argument("folder", type=Path, help="pictures: PNG, JPEG or WebP, at least 3")
    command.add_argument("--server", default="127.0.0.1:50050", help="host:port of the gateway (%(default)s)")
    counts = [1, 2, 4, 8, 16, 32]
    command.add_argument("--components", type=int, nargs="+", default=counts, metavar="K", help="(%(default)s)")
    command.add_argument("--rows", type=int, default=6, help="pictures to paint, spread over the folder (%(default)s)")
    command.add_argument("--seed", type=int, default=0, help="of every picture (%(default)s)")
    command.add_argument("--out", type=Path, default=Path("out/pca-probe.png"), help="the sheet (%(default)s)")
    return command


def embed(client: Client, paths: Sequence[Path]) -> list[Embedding]:
    """The CLIP embedding of each picture."""
    found: list[Embedding] = []
    for first in range(0, len(paths), EMBED_AT_ONCE):
        found += client.embed(images=paths[first : first + EMBED_AT_ONCE]).images
    return found


def principal_axes(values: npt.NDArray[np.float32]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Mean ``[D]``, principal axes ``[K, D]`` and the share of the variance ``[K]`` that the first k explain together.

    values: ``[N, D]``. K is N - 1 or D, whichever is smaller: centred, N points span no more.
    """
    points = values.astype(np.float64)
    mean = points.mean(axis=0)
    _, sizes, axes = np.linalg.svd(points - mean, full_matrices=False)
    count = min(len(points) - 1, points.shape[1])
    variance = np.square(sizes[:count])
    return mean, axes[:count], np.cumsum(variance) / variance.sum()


def from_first(embedding: Embedding, mean: FloatArray, axes: FloatArray, count: int) -> Embedding:
    """The embedding as its first ``count`` principal components have it."""
    kept = axes[:count]
    values = mean + (embedding.values - mean) @ kept.T @ kept
    return replace(embedding, values=values.astype(np.float32))


def paint(client: Client, gists: Sequence[Embedding], seed: int) -> list[Image.Image]:
    """The picture of each embedding, all from the same noise."""

    def one(gist: Embedding) -> Image.Image:
        [image] = client.generate(embedding=gist, seed=seed, decoder=DETERMINISTIC)
        return image.to_pil()

    with ThreadPoolExecutor(PAINT_AT_ONCE) as pool:
        return list(pool.map(one, gists))


def square(path: Path) -> Image.Image:
    """The picture as the encoder sees it: cropped to its middle square."""
    with Image.open(path) as picture:
        whole = on_paper(picture)
    side = min(whole.size)
    left, top = (whole.width - side) // 2, (whole.height - side) // 2
    return whole.crop((left, top, left + side, top + side))


if __name__ == "__main__":
    main()
