"""``python -m training.held_out FOLDER``: the pictures that a preset holds out, as files, to try its checkpoint on."""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from training.pictures import WHITE, composite
from training.presets import PRESETS


def write(preset: str, folder: Path) -> list[Path]:
    """Writes them on white as ``<style>-<label>.png``, spaces as dashes; the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    _, held_out = PRESETS[preset].pairs()
    paths = []
    for pair in held_out:
        paths.append(folder / f"{pair.style}-{pair.label}.png".replace(" ", "-"))
        Image.fromarray(composite(pair.rgba, WHITE[1])).save(paths[-1])
    return paths


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--preset", choices=sorted(PRESETS), default="cpu", help="(%(default)s)")
    options = parser.parse_args()
    print(f"{options.folder}: {len(write(options.preset, options.folder))} pictures")


if __name__ == "__main__":
    main()
