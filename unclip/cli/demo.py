"""``unclip demo``: the whole stack from start to stop, with pictures to show for it."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from unclip.cli.making import thetas_to
from unclip.cli.output import slug
from unclip.cli.serve import of_services, terminated_as_interrupted
from unclip.cli.terminal import line
from unclip.client import AsyncClient, GeneratedImage, Sampling
from unclip.client.sheets import animate, contact_sheet
from unclip.local.stack import LocalStack
from unclip.wire.images import encode_image
from unclip.wire.marks import pillow_options, said_in

PICTURES = 12  # of the model's own examples
# For a model that gives none.
CAPTIONS = ("a red apple", "a full moon", "a sunflower", "a birthday cake", "an umbrella", "a robot")
BEFORE, AFTER = "a red apple", "a green apple"
SEED = 1
CONCURRENCY = 4  # captions under way: enough to fill a batch, few enough for a small machine's queue
VARIATIONS = 4
FRAMES = 6


def demo(options: argparse.Namespace) -> None:
    """Starts the services, makes pictures of captions, variations and a text diff, and stops the services."""
    options.out.mkdir(parents=True, exist_ok=True)
    stack = LocalStack(
        options.checkpoint,
        threads=options.threads,
        log_dir=options.out / "logs",
        options=of_services(options),
    )
    began = time.monotonic()
    with terminated_as_interrupted():
        print("starting the services …", file=sys.stderr)
        with stack:
            line(f"gateway on {stack.address} after {time.monotonic() - began:.1f} s; process ids:")
            line("  " + "  ".join(f"{role} {pid}" for role, pid in stack.pids.items()))
            sys.stdout.flush()
            made = asyncio.run(show(stack.address, options.out, Sampling(steps=options.steps)))
    for path in made:
        line(str(path))
    line(f"services stopped; {len(made)} files in {options.out.resolve()}, {time.monotonic() - began:.1f} s in all")


async def show(address: str, out: Path, decoder: Sampling) -> list[Path]:
    """Makes everything through the gateway at ``address``; the files written, sheets last."""
    async with AsyncClient(address) as client:
        model = await client.model_info()
        captions = list(model.captions[:PICTURES] or CAPTIONS)
        before = next((caption for caption in captions if caption.endswith(BEFORE)), BEFORE)
        captions = list(dict.fromkeys([before, *captions]))
        pictures = await generate_all(client, captions, decoder)
        paths = [
            picture.save(out / f"{slug(caption)}.png") for picture, caption in zip(pictures, captions, strict=True)
        ]
        files = [*paths, sheet(pictures, captions, out / "contact-sheet.png", columns=4)]
        source = paths[0]
        if "vary" in model.capabilities:
            varied = await client.vary(source, seed=SEED, image_count=VARIATIONS, decoder=decoder)
            names = ["the source", *(f"variation {picture.image_index + 1}" for picture in varied)]
            files.append(sheet([pictures[0], *varied], names, out / "variations.png", columns=VARIATIONS + 1))
        if "text_diff" in model.capabilities:
            thetas = thetas_to(0.5, FRAMES)
            after = before.replace(BEFORE, AFTER)
            frames = await client.text_diff(source, before, after, thetas=thetas, seed=SEED, decoder=decoder)
            files.append(sheet(frames, [f"theta = {theta:.1f}" for theta in thetas], out / "text-diff.png", FRAMES))
            files.append(film(frames, out / "text-diff.webp"))
        return files


async def generate_all(client: AsyncClient, captions: Sequence[str], decoder: Sampling) -> list[GeneratedImage]:
    """One picture per caption, in the captions' order, some at a time."""
    room = asyncio.Semaphore(CONCURRENCY)
    with tqdm(total=len(captions), desc="pictures", file=sys.stderr, mininterval=1.0) as bar:

        async def one(caption: str) -> GeneratedImage:
            async with room:
                [picture] = await client.generate(caption, seed=SEED, decoder=decoder)
                bar.update()
                return picture

        return list(await asyncio.gather(*(one(caption) for caption in captions)))


def sheet(pictures: list[GeneratedImage], captions: list[str], path: Path, columns: int) -> Path:
    """Writes a contact sheet of ``pictures``."""
    opened: list[Image.Image] = [picture.to_pil() for picture in pictures]
    made = encode_image(contact_sheet(opened, captions, columns), **pillow_options("image/png", said(pictures)))
    path.write_bytes(made.data)
    return path


def film(frames: list[GeneratedImage], path: Path) -> Path:
    """Writes ``frames`` as an animation."""
    return animate([frame.to_pil() for frame in frames], path, source_type=said(frames))


def said(pictures: list[GeneratedImage]) -> str:
    """What the last of ``pictures`` says that it is; the first may be what the others began with."""
    return said_in(pictures[-1].data)
