"""``python -m unclip.checkpoints.convert SOURCE TARGET``: a checkpoint of pickles as one of safetensors.

Pickles can hold programs. They are read by torch's restricted unpickler (``weights_only=True``), which knows tensors
and plain values and refuses anything else, here and nowhere else: services read safetensors only. What is converted
gets an unclip.json with the digest of every file.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from unclip.checkpoints.checkpoint import Checkpoint
from unclip.checkpoints.components import EVERY_FOLDER, IMAGE_FOLDERS
from unclip.checkpoints.hub import PICKLES
from unclip.checkpoints.manifest import INDEX, write_manifest
from unclip.checkpoints.settings import FAST_STAGES
from unclip.checkpoints.sources import sources
from unclip.errors import CheckpointError, ConfigurationError, UnclipError
from unclip.escaping import escaped

STEMS = {"pytorch_model": "model"}  # where transformers names the two formats' files differently
STAGES = ("prior", "decoder", "upsampler")
MOST_UNFOLDED = 2  # bytes of tensors for each of their file: tied ones are written twice
# How a file of torch.save begins that is from before 1.6, or was written with _use_new_zipfile_serialization=False: a
# pickle of its own before the one with the tensors, whose bytes follow it without their places being known.
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
GLOBAL = re.compile(r"[Uu]nsupported (?:global: )?(?:GLOBAL|class) ([\w.]{1,100})")


def convert(source: str, target: Path, image_encoder: str = "") -> Path:
    """Writes a checkpoint into ``target``, which is made, whole or not at all, and returns it.

    What services take from other repositories that belong to it is written too, each component under this project's
    name for it. source: a folder or the id of a repository on the Hub. image_encoder: of another one, instead.

    Raises:
        CheckpointError: there is no such checkpoint, or not the other half of it; a file of weights holds more than
            tensors, or a file is a link that leads out of it or nowhere; or its unclip.json's vocabulary is none.
        ConfigurationError: ``target`` is there already and not empty, or cannot be made.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigurationError(f"{target} is there already: convert into a new folder")
    checkpoint = Checkpoint.open(source, EVERY_FOLDER, pickles=True)
    found = sources(checkpoint, pickles=True)
    if image_encoder:
        found |= dict.fromkeys(IMAGE_FOLDERS, Checkpoint.open(image_encoder, IMAGE_FOLDERS, pickles=True))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as scratch:
            made = Path(scratch) / "made"
            made.mkdir()
            _write(checkpoint, found, made)
            made.replace(target)
    except OSError as error:
        raise ConfigurationError(f"{target} cannot be made: {error}") from error
    return target


def _write(checkpoint: Checkpoint, found: Mapping[str, Checkpoint], target: Path) -> None:
    for name, at in found.items():
        copy_component(at, name, target)
    drawing = found.get("decoder", checkpoint)
    halves = list({at.folder: at for at in (drawing, *found.values())}.values())
    for number, at in enumerate(halves):
        copy_file(at, "README.md", target / (f"README-{short(at)}.md" if number else "README.md"))
    if len(halves) == 1 and all(drawing.place(name).name == name for name in found):
        copy_file(drawing, INDEX, target / INDEX)
    write_manifest(
        target,
        name=short(drawing),
        license=" AND ".join(dict.fromkeys(at.license for at in halves)),
        caption_template=checkpoint.caption_template,
        defaults={stage: asdict(checkpoint.defaults(stage)) for stage in STAGES},
        **({"fast": fast, "quality": drawing.quality} if (fast := fast_of(drawing)) else {}),
        **({"sizes": asdict(checkpoint.sizes)} if checkpoint.sizes else {}),
        **({"cleaning": checkpoint.cleaning} if checkpoint.cleaning else {}),
        **({"vocabulary": checkpoint.vocabulary.to_json()} if checkpoint.vocabulary else {}),
    )


def fast_of(checkpoint: Checkpoint) -> dict[str, dict[str, object]]:
    """What unclip.json says of the fast way; empty where there is none."""
    told = {stage: checkpoint.fast(stage) for stage in FAST_STAGES}
    return {stage: asdict(settings) for stage, settings in told.items() if settings is not None}


def short(checkpoint: Checkpoint) -> str:
    """A checkpoint's name without its owner's."""
    return checkpoint.name.rpartition("/")[2]


def copy_file(checkpoint: Checkpoint, name: str, target: Path) -> None:
    """Copies one file, where it is there. Raises CheckpointError as `inside`."""
    if os.path.lexists(checkpoint.folder / name):
        shutil.copy(inside(checkpoint, checkpoint.folder / name), target)


def copy_component(checkpoint: Checkpoint, name: str, target: Path) -> None:
    """Copies a component, its weights as safetensors; one that is neither there nor listed is left out.

    Raises:
        CheckpointError: as `convert`; or a component is lost or no folder, or a file in it cannot be read.
    """
    component = checkpoint.place(name)
    if not os.path.lexists(component):
        if name in checkpoint.listed:
            raise CheckpointError(f"checkpoint: {component} is missing")
        return
    if not component.is_dir():
        raise CheckpointError(f"checkpoint: {component} is no folder")
    (target / name).mkdir(parents=True)
    pickles = {path for pattern in PICKLES for path in component.glob(pattern)}
    safe = any(path.is_file() for path in component.glob("*.safetensors"))
    for path in sorted(component.iterdir()):
        if path in pickles:
            if not safe:
                convert_file(inside(checkpoint, path), target / name, path)
        elif not path.is_dir() and not path.name.endswith(".index.json"):
            shutil.copy(inside(checkpoint, path), target / name / path.name)


def inside(checkpoint: Checkpoint, path: Path) -> Path:
    """The file that ``path`` leads to, which is the checkpoint's own.

    A link may lead to another file of the checkpoint, and in the Hub's cache to what was fetched of its repository;
    anywhere else it would put a file of whoever converts into what they pass on.

    Raises:
        CheckpointError: it leads elsewhere, nowhere, in a circle, or to a folder, pipe or device.
    """
    try:
        found = Path(os.path.realpath(path, strict=True))
    except OSError as error:
        raise CheckpointError(f"checkpoint: {path} cannot be read: {error.strerror}") from None
    folder = checkpoint.folder.resolve()
    cached = folder.parent.name == "snapshots" and folder.parent.parent.name.startswith("models--")
    if not any(found.is_relative_to(root) for root in (folder, *([folder.parent.parent / "blobs"] if cached else []))):
        raise CheckpointError(f"checkpoint: {path} is a link that leads out of the checkpoint")
    if not found.is_file():
        raise CheckpointError(f"checkpoint: {path} is no regular file")
    return found


def convert_file(path: Path, folder: Path, named: Path | None = None) -> Path:
    """Writes the tensors of a pickle as safetensors into ``folder``. named: the path it is known by, where a link.

    Raises:
        CheckpointError: it cannot be read, is in torch's legacy format, holds anything but named tensors, tensors that
            safetensors has no place for (sparse, quantised, without values), or shapes far larger than what it holds.
    """
    named = named or path
    weights = _tensors(path, named)
    if sum(value.numel() * value.element_size() for value in weights.values()) > MOST_UNFOLDED * path.stat().st_size:
        raise CheckpointError(f"checkpoint: {named} has tensors far larger than what it holds")
    stem, dash, shard = named.stem.partition("-")
    written = folder / f"{STEMS.get(stem, stem)}{dash}{shard}.safetensors"
    try:
        save_file({name: value.clone().contiguous() for name, value in weights.items()}, written, {"format": "pt"})
        with safe_open(written, framework="pt"):  # a tensor called __metadata__ is written, but never read
            pass
    except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"checkpoint: {named} cannot be written as safetensors: {reason}") from error
    return written


def _tensors(path: Path, named: Path) -> dict[str, torch.Tensor]:
    with path.open("rb") as file:
        legacy = file.read(len(LEGACY)) == LEGACY
    if legacy:  # read whole into memory, of whatever size the file says its tensors are
        raise CheckpointError(
            f"checkpoint: {named} is in torch's format from before version 1.6, which cannot be read piece by piece: "
            "if you know where it comes from, write it anew first, "
            "with torch.save(torch.load(path, weights_only=True), path)"
        )
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # an unpickler raises whatever a damaged file leads it to
        # Torch's own words advise to read it with weights_only=False, which would run what is in it.
        needed = GLOBAL.search(str(error))
        reason = f"it wants {needed[1]}" if needed else "it is damaged, or of another format"
        raise CheckpointError(f"checkpoint: {named} is no file of tensors and nothing else: {reason}") from None
    if not isinstance(weights, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in weights.items()
    ):
        raise CheckpointError(f"checkpoint: {named} must hold tensors by name")
    for value in weights.values():
        if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
            raise CheckpointError(
                f"checkpoint: {named} must hold plain tensors: none sparse, quantised or without values"
            )
    return weights


def main() -> int:
    """Converts what the command line names; 2 and one line on standard error when that cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m unclip.checkpoints.convert", description="weights to safetensors")
    parser.add_argument("source", help="checkpoint folder, or owner/name on the Hugging Face Hub")
    parser.add_argument("target", type=Path, help="folder to make")
    parser.add_argument("--image-encoder", default="", help="checkpoint whose image encoder completes it")
    chosen = parser.parse_args()
    try:
        print(convert(chosen.source, chosen.target, chosen.image_encoder))
    except UnclipError as error:
        print(f"unclip: {escaped(str(error))}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
