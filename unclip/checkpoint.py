"""A checkpoint folder in diffusers' unCLIP layout: what is in it, whether it is what it says, and its defaults.

Networks load component by component with their own ``from_pretrained(folder, subfolder=...)``; this module opens the
folder, checks digests, and reads the small files. It imports no torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from unclip.errors import CheckpointError
from unclip.options import SAMPLERS, SamplingSettings

FORMAT = 1
MANIFEST = "unclip.json"
TEXT_FOLDERS = ("tokenizer", "text_encoder")
ENCODER_FOLDERS = (*TEXT_FOLDERS, "image_encoder", "feature_extractor")
PRIOR_FOLDERS = ("prior", "prior_scheduler")
DECODER_FOLDERS = ("text_proj", "decoder", "decoder_scheduler")
UPSAMPLER_FOLDERS = ("super_res_first", "super_res_scheduler")
OPTIONAL_FOLDERS = ("super_res_last",)  # Karlo's last step; without it the first network takes every step

# Karlo as published has no unclip.json; these are its pipeline's defaults.
KARLO_DEFAULTS = {
    "prior": SamplingSettings("ddpm", 25, 4.0),
    "decoder": SamplingSettings("ddpm", 25, 8.0),
    "upsampler": SamplingSettings("ddpm", 7, 1.0),
}


def digest(path: Path) -> str:
    """sha256 of a file, in hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def combined_digest(parts: Iterable[str]) -> str:
    """sha256 over several digests or names, in hex."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint. ``manifest`` is unclip.json, or empty where the folder has none."""

    folder: Path
    manifest: Mapping[str, Any]

    @classmethod
    def open(cls, folder: str | Path) -> Checkpoint:
        """Opens a folder; nothing is verified yet, see `verify`.

        Raises:
            CheckpointError: no such folder, or its unclip.json cannot be read or is of another format.
        """
        path = Path(folder)
        if not path.is_dir():
            raise CheckpointError(f"checkpoint: no such folder: {path}")
        file = path / MANIFEST
        if not file.exists():
            return cls(path, {})
        try:
            manifest = json.loads(file.read_text())
        except (OSError, ValueError) as error:
            raise CheckpointError(f"checkpoint: {file} cannot be read: {error}") from error
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
            raise CheckpointError(f"checkpoint: {file} must be a JSON object with format {FORMAT}")
        if not isinstance(manifest.get("files"), dict):
            raise CheckpointError(f"checkpoint: {file}: files must map each file to its sha256")
        return cls(path, manifest)

    def has(self, folder: str) -> bool:
        """Whether a component's folder is there."""
        return (self.folder / folder).is_dir()

    def verify(self, folders: Iterable[str]) -> None:
        """Checks that these components are complete and unaltered.

        Raises:
            CheckpointError: a component or file is missing, a digest differs, or weights are not safetensors.
        """
        files = self.manifest.get("files")
        for name in folders:
            component = self.folder / name
            if not component.is_dir():
                raise CheckpointError(f"checkpoint: {component} is missing")
            for weights in [*component.glob("*.bin"), *component.glob("*.pt"), *component.glob("*.ckpt")]:
                raise CheckpointError(f"checkpoint: {weights}: only safetensors weights are loaded")
            if files is None:
                continue
            listed = {path for path in files if path.startswith(name + "/")}
            if not listed:
                raise CheckpointError(f"checkpoint: {MANIFEST} lists no file of {name}")
            for path in sorted(listed):
                file = self.folder / path
                if not file.is_file():
                    raise CheckpointError(f"checkpoint: {file} is missing")
                if (found := digest(file)) != files[path]:
                    raise CheckpointError(f"checkpoint: {file} is altered: sha256 {found}, expected {files[path]}")

    def config(self, folder: str, name: str) -> dict[str, Any]:
        """One JSON file of a component.

        Raises:
            CheckpointError: it is missing or no JSON object.
        """
        path = self.folder / folder / name
        try:
            value = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise CheckpointError(f"checkpoint: {path} cannot be read: {error}") from error
        if not isinstance(value, dict):
            raise CheckpointError(f"checkpoint: {path} must be a JSON object")
        return value

    def defaults(self, stage: str) -> SamplingSettings:
        """Default sampling of "prior", "decoder" or "upsampler".

        Raises:
            CheckpointError: unclip.json's defaults for it are incomplete or out of range.
        """
        if not self.manifest:
            return KARLO_DEFAULTS[stage]
        try:
            entry = self.manifest["defaults"][stage]
            settings = SamplingSettings(entry["sampler"], int(entry["steps"]), float(entry["guidance_scale"]))
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"checkpoint: {MANIFEST}: defaults of {stage} are incomplete: {error!r}") from error
        if (
            settings.sampler not in SAMPLERS
            or not 1 <= settings.steps <= 1000
            or not 0 <= settings.guidance_scale <= 30
        ):
            raise CheckpointError(f"checkpoint: {MANIFEST}: defaults of {stage} are out of range: {entry}")
        return settings

    @property
    def name(self) -> str:
        """What the checkpoint calls itself."""
        return str(self.manifest.get("name", self.folder.resolve().name))

    @property
    def license(self) -> str:
        """Licence of the weights."""
        return str(self.manifest.get("license", "unknown"))

    @property
    def caption_template(self) -> str:
        """Template around the captions of a text diff."""
        return str(self.manifest.get("caption_template", "a photo of {}"))

    @cached_property
    def clip_space(self) -> str:
        """sha256 over the weights of both CLIP encoders, in hex."""
        if "clip_space" in self.manifest:
            return str(self.manifest["clip_space"])
        return clip_space_of(self.folder)

    def version(self, folders: Iterable[str]) -> str:
        """sha256 over every file of these components, in hex."""
        files = self.manifest.get("files")
        found = []
        for name in folders:
            for path in sorted((self.folder / name).rglob("*")):
                relative = path.relative_to(self.folder).as_posix()
                if path.is_file():
                    found.append(f"{relative} {files[relative] if files and relative in files else digest(path)}")
        return combined_digest(found)


def clip_space_of(folder: Path) -> str:
    """The digest that names a CLIP: over the weight files of its text and image encoder."""
    weights = [
        path for part in ("text_encoder", "image_encoder") for path in sorted((folder / part).glob("*.safetensors"))
    ]
    if not weights:
        raise CheckpointError(f"checkpoint: {folder} has no CLIP weights and no clip_space in {MANIFEST}")
    return combined_digest(digest(path) for path in weights)


@contextmanager
def loading(component: str) -> Iterator[None]:
    """Turns what libraries raise on files they cannot read into a CheckpointError that names the component."""
    try:
        yield
    except (OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"checkpoint: {component} does not load: {reason}") from error


def write_manifest(folder: Path, **fields: Any) -> None:
    """Writes unclip.json with the digest of every file in the folder. fields: name, license, defaults, ..."""
    files = {
        path.relative_to(folder).as_posix(): digest(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.parent != folder
    }
    manifest = {"format": FORMAT, **fields, "clip_space": clip_space_of(folder), "files": files}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
