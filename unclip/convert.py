"""``python -m unclip.convert SOURCE TARGET``: a checkpoint whose weights are pickles, as one of safetensors.

Pickles can hold programs. They are read by torch's restricted unpickler (``weights_only=True``), which knows tensors
and plain values and refuses anything else, here and nowhere else: services read safetensors only. What is converted
gets an unclip.json with the digest of every file.
"""

from __future__ import annotations

import argparse
import pickle
import shutil
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file

from unclip.checkpoint import EVERY_FOLDER, IMAGE_FOLDERS, INDEX, PICKLES, Checkpoint, write_manifest
from unclip.errors import CheckpointError, ConfigurationError, UnclipError

STEMS = {"pytorch_model": "model"}  # where transformers names the two formats' files differently
STAGES = ("prior", "decoder", "upsampler")


def convert(source: str, target: Path, image_encoder: str = "") -> Path:
    """Writes a checkpoint into ``target``, which is made, and returns it.

    source: a folder or the id of a repository on the Hub. image_encoder: of another one, that completes it.

    Raises:
        CheckpointError: there is no such checkpoint, or a file of weights holds more than tensors.
        ConfigurationError: ``target`` is there already and not empty.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigurationError(f"{target} is there already: convert into a new folder")
    checkpoint = Checkpoint.open(source, EVERY_FOLDER, pickles=True)
    copy_components(checkpoint, EVERY_FOLDER, target)
    if image_encoder:
        copy_components(Checkpoint.open(image_encoder, IMAGE_FOLDERS, pickles=True), IMAGE_FOLDERS, target)
    for name in ("README.md", *([] if image_encoder else [INDEX])):  # an index would deny the image encoder
        if (checkpoint.folder / name).is_file():
            shutil.copy(checkpoint.folder / name, target / name)
    write_manifest(
        target,
        name=checkpoint.name.rpartition("/")[2],
        license=checkpoint.license,
        caption_template=checkpoint.caption_template,
        defaults={stage: asdict(checkpoint.defaults(stage)) for stage in STAGES},
    )
    return target


def copy_components(checkpoint: Checkpoint, folders: Iterable[str], target: Path) -> None:
    """Copies components, their weights as safetensors; what is not there is left out."""
    for name in folders:
        if not checkpoint.has(name):
            continue
        component = checkpoint.folder / name
        shutil.rmtree(target / name, ignore_errors=True)
        (target / name).mkdir(parents=True)
        pickles = sorted({path for pattern in PICKLES for path in component.glob(pattern)})
        safe = any(component.glob("*.safetensors"))
        for path in sorted(component.iterdir()):
            if path in pickles:
                if not safe:
                    convert_file(path, target / name)
            elif path.is_file() and not path.name.endswith(".index.json"):
                shutil.copy(path, target / name / path.name)


def convert_file(path: Path, folder: Path) -> Path:
    """Writes the tensors of a pickle as safetensors into ``folder``.

    Raises:
        CheckpointError: it cannot be read, or holds anything but named tensors.
    """
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"checkpoint: {path} is no file of tensors and nothing else: {reason}") from error
    if not isinstance(weights, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in weights.items()
    ):
        raise CheckpointError(f"checkpoint: {path} must hold tensors by name")
    stem, dash, shard = path.stem.partition("-")
    written = folder / f"{STEMS.get(stem, stem)}{dash}{shard}.safetensors"
    save_file({name: value.clone().contiguous() for name, value in weights.items()}, written, {"format": "pt"})
    return written


def main() -> int:
    """Converts what the command line names; 2 and one line on standard error when that cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m unclip.convert", description="weights to safetensors")
    parser.add_argument("source", help="checkpoint folder, or owner/name on the Hugging Face Hub")
    parser.add_argument("target", type=Path, help="folder to make")
    parser.add_argument("--image-encoder", default="", help="checkpoint whose image encoder completes it")
    chosen = parser.parse_args()
    try:
        print(convert(chosen.source, chosen.target, chosen.image_encoder))
    except UnclipError as error:
        print(f"unclip: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
