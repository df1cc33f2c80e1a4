"""``unclip replay``: a picture made again from the recipe inside its file."""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path

import numpy as np

from unclip.cli import report, sources
from unclip.cli.connection import connect
from unclip.cli.output import Folder, file_name
from unclip.cli.progress import Bar
from unclip.cli.sources import STDIN
from unclip.cli.terminal import line
from unclip.client import GeneratedImage, ImageFile, read_recipe
from unclip.client.recipes import complete, find_sources, require_maker, require_model


def replay(options: argparse.Namespace) -> None:
    """Makes the picture again, writes it, and says whether it is the same: byte for byte, or at least its pixels, where
    the files differ in marks, as signed ones always do."""
    path: Path = options.picture
    before = sources.read(path, "picture")
    recipe = read_recipe(before.data)
    beside = [] if path == STDIN else [path.parent]
    request = complete(recipe, find_sources(recipe.source_digests, [*options.sources, *beside]))
    folder = Folder(options.out, options.force)
    with connect(options) as client:
        if not options.any_model:
            require_model(recipe, client.model_info())
        folder.require()
        with Bar(request, "replay") as bar, closing(client.stream(request)) as events:
            [image] = bar.watch(events)
        if not options.any_model:
            require_maker(recipe, image)
    written = folder.write(file_name("replay", before.stem), report.ending(image), image.data)
    identical = image.data == before.data
    gap = 0 if identical else largest_difference(image, before.data)
    if options.json:
        comparison = {"identical": identical, "same_pixels": gap == 0, "largest_difference": gap}
        told = {"images": [report.picture(image, written)], **comparison, "recipe_model_version": recipe.model_version}
        report.print_json({**told, "notices": report.plain(image.notices)})
        return
    report.say(image.notices, options.command)
    line(f"{written}  seed {image.seed}")
    if identical:
        line(f"identical to {path}, byte for byte")
    elif gap == 0:
        line(f"same pixels as {path}; the files differ in their marks")
    elif gap is None:
        line(f"differs from {path}: another size")
    else:
        line(f"differs from {path}: its pixels by at most {gap} of 255")
    if image.model_version != recipe.model_version:
        line(f"made by model version {image.model_version}, not {recipe.model_version}")


def largest_difference(image: GeneratedImage, before: bytes) -> int | None:
    """How far the two pictures' channels are apart at most, 0 to 255; None where the sizes differ."""
    one, other = (
        np.asarray(ImageFile(data, "", 0, 0).to_pil().convert("RGB"), np.int16) for data in (image.data, before)
    )
    return int(np.abs(one - other).max()) if one.shape == other.shape else None
