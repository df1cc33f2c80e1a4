"""What a run keeps on disk: written whole or not at all, and taken up only by a run that it is a part of."""

from __future__ import annotations

import fcntl
import hashlib
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from training.presets import Preset, Stage, require_sound
from training.sources import manifest
from unclip.checkpoints.checkpoint import Checkpoint

NAMING = ("name", "data", "start", "kept")  # of a preset's fields: how it is called, and what is told below


def origin(preset: Preset, *parts: object) -> str:
    """Digest of what a stage's weights follow from: pictures, split, every setting but how stages train, the
    checkpoint that is begun with; and ``parts``, networks that it learns from or whatever else has a plain ``repr``."""
    told = [each.name for each in fields(preset) if each.name not in NAMING]
    values = {name: value for name in told if not isinstance(value := getattr(preset, name), Stage)}
    settings = {name: sorted(value) if isinstance(value, frozenset) else value for name, value in values.items()}
    require_sound(preset)
    begun = [] if preset.start is None else [Checkpoint.open(preset.start).digest, *sorted(preset.kept)]
    found = hashlib.sha256(repr([settings, manifest(), preset.hidden().to_json(), begun]).encode())
    for part in parts:
        found.update(digest_of(part).encode() if isinstance(part, nn.Module) else repr(part).encode())
    return found.hexdigest()


def digest_of(network: nn.Module) -> str:
    """Digest of a network's weights."""
    found = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        found.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def save(path: Path, made_from: str, parts: Mapping[str, Any]) -> None:
    """Writes ``parts`` whole, or leaves what was there. made_from: their `origin`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".tmp")
    with aside.open("wb") as file:
        torch.save({**parts, "origin": made_from}, file)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def load(path: Path, made_from: str) -> dict[str, Any] | None:
    """What `save` wrote, None where that is nothing.

    Raises:
        RuntimeError: the file is damaged, or of a run with another `origin`.
    """
    if not path.exists():
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            if (part := archive.testzip()) is not None:  # torch does not look
                raise zipfile.BadZipFile(f"{part} does not have its checksum")
        parts = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever zipfile, pickle and torch raise on bytes that are not what they were
        raise RuntimeError(f"{path} is damaged; without it its stage begins anew: {error}") from error
    if not isinstance(parts, dict) or parts.pop("origin", None) != made_from:
        raise RuntimeError(
            f"{path} is of another run: of other pictures, settings or networks before it; move it away to begin anew"
        )
    return parts


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """While one run trains what is kept in ``path``, no other does.

    Raises:
        RuntimeError: another does.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RuntimeError(f"{path}: another run is training that") from error
        yield
