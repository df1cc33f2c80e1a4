"""Results as JSON and as lines."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unclip.cli.requests import flag_of
from unclip.cli.terminal import line
from unclip.client import GeneratedImage, Notice, Request
from unclip.client.values import KINDS
from unclip.escaping import escaped

ENDINGS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}


def print_json(result: object) -> None:
    """Prints ``result`` as JSON for a program to read, in ASCII where the output is not UTF-8."""
    unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    text = json.dumps(result, indent=2, ensure_ascii=not unicode)
    print("\n".join(escaped(part) for part in text.split("\n")))


def plain(value: object) -> Any:
    """A value of the client as JSON knows it; what is None is left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {name: plain(item) for name, item in fields.items() if item is not None}
    if isinstance(value, np.ndarray):
        return value.tolist()
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def recipe(request: Request) -> dict[str, Any]:
    """A recipe as JSON, in the shape of the contracts' StreamRequest."""
    [kind] = [name for name, kind in KINDS.items() if type(request) is kind]
    return {kind: {name: item for name, item in plain(request).items() if item != {}}}


def picture(image: GeneratedImage, path: Path) -> dict[str, Any]:
    """One picture, written to ``path``, as JSON."""
    fields = {
        "path": str(path),
        "image_index": image.image_index,
        "seed": image.seed,
        "width": image.width,
        "height": image.height,
        "model_version": image.model_version,
        "source_digests": list(image.source_digests),
        "recipe": recipe(image.recipe),
    }
    measured = {"score": image.score, "inversion_psnr": image.inversion_psnr}
    return {**fields, **{name: figure for name, figure in measured.items() if figure is not None}}


def say(notices: Sequence[Notice], command: argparse.ArgumentParser) -> None:
    """Says, beside the results, what is to be known of them, in the words of ``command``."""
    for notice in notices:
        where = f"{flag_of(notice.field, command)}: " if notice.field else ""
        line(f"note: {where}{notice.message}", sys.stderr)


def figures(image: GeneratedImage) -> str:
    """What was measured of a picture, as the end of a line."""
    score = "" if image.score is None else f"  score {image.score:.3f}"
    return score if image.inversion_psnr is None else f"{score}  inversion {image.inversion_psnr:.1f} dB"


def ending(image: GeneratedImage) -> str:
    """The ending of the picture's file."""
    return ENDINGS.get(image.media_type, "img")
