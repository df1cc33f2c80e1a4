"""What a preset teaches, in words: what unclip.json says of it, and what captions are compared with."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from training.captions import (
    COUNTS,
    before,
    caption_of,
    countable,
    in_colour,
    plain_caption,
    plural,
    with_article,
)
from training.colours import COLOURS, main_colour
from training.pictures import BACKGROUNDS, WHITE, Pair
from training.presets import Preset, preset_of
from unclip.checkpoints.manifest import MANIFEST
from unclip.checkpoints.vocabulary import Vocabulary
from unclip.checkpoints.words import EVERYBODYS, words_of

AROUND = ("emoji", "style", "picture", "drawing", "background")  # what captions have around the names of things
# Examples, the first twelve of which are the demo's: things that are told apart at a glance, with a style to draw them
# in where the preset has it and taught the picture.
EXAMPLES = (
    ("red apple", "flat"),
    ("sunflower", "flat"),
    ("birthday cake", "flat"),
    ("red heart", "flat"),
    ("umbrella", "flat"),
    ("rainbow", "noto"),
    ("cactus", "flat"),
    ("trophy", "3d"),
    ("automobile", "noto"),
    ("robot", "3d"),
    ("house", "3d"),
    ("avocado", "flat"),
    ("watermelon", "flat"),
    ("ghost", "3d"),
    ("rose", "noto"),
    ("strawberry", "3d"),
    ("tiger face", "3d"),
    ("mushroom", "noto"),
)
BEHIND, COLOURED, COUNTED = "red apple", "green apple", "red heart"  # of which the composed examples are
AT = 9  # where the composed examples begin


def vocabulary_of(preset: Preset, taught: Sequence[Pair]) -> Vocabulary:
    """What ``preset`` says of the pictures that it taught."""
    concepts = tuple(sorted({pair.label for pair in taught}, key=str.casefold))
    synonyms = {name: pair.label for pair in taught for name in pair.synonyms}
    made = Vocabulary(
        concepts,
        {name: synonyms[name] for name in sorted(synonyms)},
        tuple(style for style in preset.styles if any(pair.style == style for pair in taught)),
        tuple(COLOURS) if preset.variety.recoloured else (),
        tuple(name for name, _ in (WHITE, *BACKGROUNDS)),
        tuple(COUNTS) if preset.variety.counted else (),
        captions=tuple(examples(preset, taught)),
    )
    named = {word for text in made.names() for word in words_of(text)} | EVERYBODYS
    said = {word for text in [*AROUND, *(tag for pair in taught for tag in pair.tags)] for word in words_of(text)}
    return replace(made, words=tuple(sorted(word for word in said - named if not word.isdigit())))


def examples(preset: Preset, taught: Sequence[Pair]) -> Iterator[str]:
    """Captions to begin with, all of things that were taught and of combinations that were not held out."""
    found = [pair for label, style in EXAMPLES if (pair := one_of(taught, label, style)) is not None]
    for pair in found[:AT]:
        yield plain_caption(pair.label, pair.style)
    yield from composed(preset, taught)
    for pair in found[AT:]:
        yield plain_caption(pair.label, pair.style)


def composed(preset: Preset, taught: Sequence[Pair]) -> Iterator[str]:
    """One example each of a background, a colour and a number, as far as the preset teaches them."""
    hidden, labels = preset.hidden(), {pair.label for pair in taught}
    if (pair := one_of(taught, BEHIND, "3d")) is not None and preset.variety.coloured:
        yield before(plain_caption(pair.label, pair.style), BACKGROUNDS[0][0])
    if (pair := one_of(taught, COLOURED, "flat")) is not None and preset.variety.recoloured and main_colour(pair.rgba):
        things = [in_colour(pair.label, colour) for colour in ("blue", *COLOURS)]
        yield caption_of(with_article(next(t for t in things if t not in hidden.colours | labels)), pair.style)
    if (pair := one_of(taught, COUNTED, "noto")) is not None and preset.variety.counted and countable(pair):
        for count in COUNTS:
            if (thing := f"{count} {plural(pair.label)}") not in hidden.counts:
                yield caption_of(thing, pair.style)
                return


def one_of(taught: Sequence[Pair], label: str, style: str) -> Pair | None:
    """A picture of a thing, in a style rather than in others."""
    drawn = {pair.style: pair for pair in taught if pair.label == label}
    return drawn.get(style) or next(iter(drawn.values()), None)


def main() -> None:
    """Command line: what weights that are there were taught; the rest of their manifest stays."""
    parser = argparse.ArgumentParser(description="Writes a preset's vocabulary into a checkpoint's unclip.json.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--without-synonyms", action="store_true", help="of weights from before captions had any")
    folder, without = (options := parser.parse_args()).folder, options.without_synonyms
    manifest, preset = json.loads((folder / MANIFEST).read_text()), preset_of(folder)
    taught, _ = preset.pairs()
    if without:
        taught = [replace(pair, synonyms=()) for pair in taught]
    vocabulary = vocabulary_of(preset, taught)
    files = manifest.pop("files")
    manifest |= {"vocabulary": vocabulary.to_json(), "files": files}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
    print(f"{folder / MANIFEST}: {len(vocabulary.concepts)} concepts, {len(vocabulary.captions)} examples")


if __name__ == "__main__":
    main()
