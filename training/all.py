"""The whole recipe: pictures, CLIP, prior, decoder, upsampler, export. Finished stages are not trained again."""

from __future__ import annotations

import argparse
from pathlib import Path

from training import clip, decoder, prior, upsampler
from training.embeddings import encode_views
from training.export import export
from training.presets import PRESETS

VIEWS = 8  # of every picture, for prior and decoder


def run(name: str, out: Path) -> None:
    """Runs preset ``name`` and writes the checkpoint folder ``out``."""
    preset = PRESETS[name]
    encoders, words = clip.train(preset)
    data = encode_views(preset, encoders, words, VIEWS)
    export(
        out,
        preset,
        encoders,
        words,
        prior.train(preset, encoders, words, data),
        decoder.train(preset, encoders, words, data),
        upsampler.train(preset),
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Trains everything and exports it.")
    parser.add_argument("--preset", choices=PRESETS, default="cpu")
    parser.add_argument("--out", type=Path, default=Path("checkpoints/emoji"))
    options = parser.parse_args()
    run(options.preset, options.out)


if __name__ == "__main__":
    main()
