"""``unclip replay``: a picture made again from the recipe inside its file."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from unclip.cli import report
from unclip.cli.connection import connect
from unclip.cli.progress import Bar
from unclip.client import GeneratedImage, ImageFile, read_recipe
from unclip.client.recipes import complete, find_sources, require_maker, require_model


def replay(options: argparse.Namespace) -> None:
    """Makes the picture again, writes it, and says whether it is the same, byte for byte."""
    path: Path = options.picture
    recipe = read_recipe(path)
    request = complete(recipe, find_sources(recipe.source_digests, [*options.source, path.parent]))
    with connect(options) as client:
        if not options.any_model:
            require_model(recipe, client.model_info())
        options.out.mkdir(parents=True, exist_ok=True)
        with Bar(request, "replay") as bar:
            [image] = bar.watch(client.stream(request))
        if not options.any_model:
            require_maker(recipe, image)
    [written] = report.save([image], options.out, [f"replay-{path.stem}"])
    before = path.read_bytes()
    identical = image.data == before
    gap = 0 if identical else largest_difference(image, before)
    if options.json:
        comparison = {"identical": identical, "largest_difference": gap, "recipe_model_version": recipe.model_version}
        told = {"images": [report.picture(image, written)], **comparison}
        report.print_json({**told, "notices": report.plain(image.notices)})
        return
    report.say(image.notices)
    print(f"{written}  seed {image.seed}")
    if identical:
        print(f"identical to {path}, byte for byte")
    elif gap is None:
        print(f"differs from {path}: another size")
    else:
        print(f"differs from {path}: its pixels by at most {gap} of 255")
    if image.model_version != recipe.model_version:
        print(f"made by model version {image.model_version}, not {recipe.model_version}")


def largest_difference(image: GeneratedImage, before: bytes) -> int | None:
    """How far the two pictures' channels are apart at most, 0 to 255; None where the sizes differ."""
    one, other = (
        np.asarray(ImageFile(data, "", 0, 0).to_pil().convert("RGB"), np.int16) for data in (image.data, before)
    )
    return int(np.abs(one - other).max()) if one.shape == other.shape else None
