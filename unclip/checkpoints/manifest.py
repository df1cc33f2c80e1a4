"""What describes and seals a checkpoint's folder: ``unclip.json``, digests, and small files from strangers."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from unclip.checkpoints import untrusted
from unclip.checkpoints.components import ENCODERS
from unclip.checkpoints.hub import PICKLES
from unclip.errors import CheckpointError

FORMAT = 1
MANIFEST = "unclip.json"
INDEX = "model_index.json"
NEVER_READ = (*PICKLES, ".*")  # these may lie beside what is read


def digest(path: Path) -> str:
    """sha256 of a file, in hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def combined_digest(parts: Iterable[str]) -> str:
    """sha256 over several digests or names, in hex."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def may_be_read(file: Path) -> bool:
    """Whether a library might open a file of a component: pickles and hidden files never are."""
    return not any(file.match(pattern) for pattern in NEVER_READ)


def read_manifest(folder: Path) -> dict[str, Any]:
    """A folder's unclip.json, empty where there is none.

    Raises:
        CheckpointError: it cannot be read or is of another format.
    """
    file = folder / MANIFEST
    if not os.path.lexists(file):  # a link that leads nowhere is one that is lost
        return {}
    manifest = read_json(file)
    if manifest.get("format") != FORMAT:
        raise CheckpointError(f"checkpoint: {file} must be a JSON object with format {FORMAT}")
    if not isinstance(manifest.get("files"), dict):
        raise CheckpointError(f"checkpoint: {file}: files must map each file to its sha256")
    return manifest


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        CheckpointError: it is missing, no regular file, larger than any of ours, or no JSON object.
    """
    try:
        value = untrusted.read_json(untrusted.read_small_file(path))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"checkpoint: {path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"checkpoint: {path} must be a JSON object")
    return value


def clip_space_of(folder: Path, encoders: Iterable[Path] | None = None) -> str:
    """The digest that names a CLIP: over the weight files of its ``encoders``, None for those in a checkpoint."""
    parts = [folder / name for name in ENCODERS] if encoders is None else encoders
    weights = [path for part in parts for path in sorted(part.glob("*.safetensors"))]
    if not weights:
        raise CheckpointError(f"checkpoint: {folder} has no CLIP weights and no clip_space in {MANIFEST}")
    return combined_digest(digest(path) for path in weights)


def write_manifest(folder: Path, **told: Any) -> None:
    """Writes unclip.json with the digest of every file in the folder.

    told: name, license, defaults, cleaning, vocabulary, ...; clip_space where the folder has no CLIP.
    """
    files = {
        path.relative_to(folder).as_posix(): digest(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.parent != folder
    }
    space = told.pop("clip_space", None) or clip_space_of(folder)
    manifest = {"format": FORMAT, **told, "clip_space": space, "files": files}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
