"""A checkpoint folder in diffusers' unCLIP layout: what is in it, whether it is what it says, and its defaults.

Networks load component by component, see `unclip.networks.loading`; this module opens the folder, checks digests, and
reads the small files. It imports no torch.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from unclip.checkpoints.components import (
    AUTOENCODER,
    DECODER_TEXT_FOLDERS,
    ENCODER_FOLDERS,
    ENCODERS,
    EVERY_FOLDER,
    NOISING_FOLDERS,
    OPTIONAL_FOLDERS,
    STAGE_FOLDERS,
    STUDENT_FOLDERS,
)
from unclip.checkpoints.hub import PICKLES, HubId
from unclip.checkpoints.manifest import (
    INDEX,
    MANIFEST,
    clip_space_of,
    combined_digest,
    digest,
    may_be_read,
    read_json,
    read_manifest,
)
from unclip.checkpoints.settings import fast_settings, quality_of, settings_of, sizes_of
from unclip.checkpoints.vocabulary import Vocabulary
from unclip.errors import CheckpointError
from unclip.families import Family, family_of
from unclip.options import Quality, SamplingSettings, Sizes


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint.

    manifest: unclip.json, or empty where the folder has none. index: likewise model_index.json, as diffusers'
    pipelines write it. hub: ``owner/name@commit`` where it lies on the Hub.
    """

    folder: Path
    manifest: Mapping[str, Any]
    index: Mapping[str, Any] = field(default_factory=dict)
    hub: str = ""

    @classmethod
    def open(cls, source: str | Path, folders: Iterable[str] = EVERY_FOLDER, *, pickles: bool = False) -> Checkpoint:
        """Opens a folder, or a repository of the Hub; nothing is verified yet, see `verify`.

        folders: the components that will be read; of a repository only these are fetched, with weights that are
        pickles if ``pickles``.

        Raises:
            CheckpointError: no such folder or repository, its unclip.json cannot be read or is of another format, or
                its model_index.json is of no family that is supported.
        """
        path, hub, found = Path(source), "", None
        if not path.is_dir():
            if path.exists() or (found := HubId.parse(str(source))) is None:
                raise CheckpointError(f"checkpoint: no such folder: {path}")
            path = found.fetch(())  # the small files first: they tell what its folders are called
            hub = f"{found.repository}@{path.name}"
        index = read_json(path / INDEX) if os.path.lexists(path / INDEX) else {}
        checkpoint = cls(path, read_manifest(path), index, hub)
        if found and (places := [checkpoint.place(name).name for name in folders if checkpoint._may_have(name)]):
            HubId(found.repository, path.name).fetch(places, pickles=pickles)
        _ = checkpoint.family
        return checkpoint

    @classmethod
    def open_for(cls, stage: str, source: str | Path, folders: Iterable[str]) -> Checkpoint:
        """The checkpoint that ``stage`` loads from, as `for_stage` says. Raises as `open`."""
        return cls.open(source, folders).for_stage(stage, folders)

    def place(self, component: str) -> Path:
        """The folder of a component."""
        return self.folder / (self._layout or {}).get(component, component)

    @cached_property
    def _layout(self) -> Mapping[str, str] | None:
        """The components that a repository of this kind has, and their folders; None where they are called as here."""
        return None if self.manifest else self.family.layouts.get(str(self.index.get("_class_name")))

    def _may_have(self, component: str) -> bool:
        return self._layout is None or component in self._layout

    def has(self, component: str) -> bool:
        """Whether a component's folder is there."""
        return self._may_have(component) and self.place(component).is_dir()

    @cached_property
    def listed(self) -> frozenset[str]:
        """The components that it says it has; empty where it says nothing."""
        if self.manifest:
            return frozenset(path.partition("/")[0] for path in self.manifest["files"])
        return frozenset(self.index if self._layout is None else self._layout)

    def lacks(self, component: str) -> bool:
        """Whether the checkpoint is whole without a component: neither there nor listed. One that is lost is not."""
        return not self.has(component) and bool(self.listed) and component not in self.listed

    @property
    def latent(self) -> bool:
        """Whether its decoder walks latents, of which an autoencoder makes pictures."""
        return AUTOENCODER in self.listed

    def components(self, stage: str) -> tuple[str, ...]:
        """What "encoder", "prior", "decoder" or "upsampler" loads of it.

        A student is part of the decoder only where `fast`, which see for errors, says how it samples: else replicas of
        one version could paint the fast way or not.
        """
        if stage == "decoder":
            student = STUDENT_FOLDERS if self.fast(stage) else ()
            if not self.latent:
                return (*STAGE_FOLDERS[stage], *student)
            noising = tuple(name for name in NOISING_FOLDERS if name in self.listed)
            return ("decoder", "decoder_scheduler", *student, *noising, AUTOENCODER)
        if stage == "upsampler" and self.latent:
            return (AUTOENCODER,)
        if stage == "encoder":
            own = tuple(name for name in DECODER_TEXT_FOLDERS if name in self.listed)
            return (*(name for name in ENCODER_FOLDERS if not (own and self.lacks(name))), *own)
        optional = tuple(name for name in OPTIONAL_FOLDERS if self.has(name)) if stage == "upsampler" else ()
        return (*STAGE_FOLDERS[stage], *optional)

    @cached_property
    def family(self) -> Family:
        """The kind of checkpoint it is."""
        return family_of(self.index, bool(self.manifest))

    @cached_property
    def sizes(self) -> Sizes | None:
        """Of pictures that may be asked for besides its own, None for none.

        Raises:
            CheckpointError: unclip.json's sizes are none.
        """
        return sizes_of(self.manifest) if self.manifest else self.family.sizes

    @property
    def companion(self) -> str | None:
        """The repository or folder that is known to have what this one lacks, None where there is none."""
        if self.hub:
            return self.family.companions.get(self.hub.partition("@")[0])
        name = self.family.companions.get(self.folder.resolve().name)
        beside = self.folder.resolve().parent / name if name else None
        return str(beside) if beside and beside.is_dir() else None

    def for_stage(self, stage: str, folders: Iterable[str] = EVERY_FOLDER, *, pickles: bool = False) -> Checkpoint:
        """The checkpoint that a stage loads from: this one, or where a family lies in halves the one that has it.

        folders, pickles: what will be read of the other, see `open`. A checkpoint that is whole without the stage is
        given back.

        Raises:
            CheckpointError: the other half is not there.
        """
        needed = self.components(stage)
        if self._layout is None or not all(self.lacks(component) for component in needed):
            return self
        if self.companion is not None:
            other = Checkpoint.open(self.companion, folders, pickles=pickles)
            if not all(other.lacks(component) for component in other.components(stage)):
                return other
        if not any(component in layout for layout in self.family.layouts.values() for component in needed):
            return self
        here = self.hub.partition("@")[0] or self.folder.resolve().name
        known = self.family.companions.get(here)
        remedy = f"put {known} beside it, called so" if known else "call both halves' folders as they were published"
        raise CheckpointError(
            f"checkpoint: {self.folder} has no {stage}: it is one half of {self.family.name}; {remedy}"
        )

    def files(self, folder: str) -> list[Path]:
        """The files of a component, sorted: those that unclip.json lists, or where there is none, all that are there.

        Nothing else of it is loaded, checked, or part of its version.
        """
        if self.manifest:
            return sorted(self.folder / path for path in self.manifest["files"] if path.startswith(folder + "/"))
        return sorted(path for path in self.place(folder).rglob("*") if path.is_file() and may_be_read(path))

    def verify(self, folders: Iterable[str]) -> None:
        """Checks that these components are complete and unaltered.

        Raises:
            CheckpointError: a component or file is missing, a digest differs, weights are not safetensors, or there is
                a file that unclip.json does not list: libraries would take it for weights, an index or a tokenizer.
        """
        files = self.manifest.get("files")
        for name in folders:
            component = self.place(name)
            if not component.is_dir():
                raise CheckpointError(f"checkpoint: {component} is missing")
            if not any(component.glob("*.safetensors")):
                for weights in (path for pattern in PICKLES for path in component.glob(pattern)):
                    raise CheckpointError(
                        f"checkpoint: {weights}: only safetensors are loaded; convert it with unclip convert"
                    )
            if files is None:
                continue
            listed = self.files(name)
            if not listed:
                raise CheckpointError(f"checkpoint: {MANIFEST} lists no file of {name}")
            for file in sorted(component.rglob("*")):
                if not file.is_dir() and may_be_read(file) and file not in listed:
                    raise CheckpointError(f"checkpoint: {file} is not listed in {MANIFEST}: remove it, or list it")
            for file in listed:
                if not file.is_file():
                    raise CheckpointError(f"checkpoint: {file} is missing")
                expected = files[file.relative_to(self.folder).as_posix()]
                if (found := digest(file)) != expected:
                    raise CheckpointError(f"checkpoint: {file} is altered: sha256 {found}, expected {expected}")

    def config(self, folder: str, name: str) -> dict[str, Any]:
        """One JSON file of a component.

        Raises:
            CheckpointError: it is missing or no JSON object.
        """
        return read_json(self.place(folder) / name)

    def defaults(self, stage: str) -> SamplingSettings:
        """Default sampling of "prior", "decoder" or "upsampler".

        Raises:
            CheckpointError: unclip.json's defaults for it are incomplete or out of range.
        """
        return settings_of(self.manifest, "defaults", stage) if self.manifest else self.family.defaults[stage]

    def fast(self, stage: str) -> SamplingSettings | None:
        """Default sampling of "decoder", by its student, or "upsampler" where the quality is fast; None where that is
        no other.

        Raises:
            CheckpointError: unclip.json's entry for it is incomplete or out of range, or the student is missing.
        """
        return fast_settings(self.manifest, self.listed, stage)

    @property
    def quality(self) -> Quality:
        """That of pictures where nobody asks for another.

        Raises:
            CheckpointError: unclip.json names none, or one that the checkpoint cannot make.
        """
        return quality_of(self.manifest, self.listed)

    @property
    def name(self) -> str:
        """What the checkpoint calls itself, or is called."""
        return str(self.manifest.get("name", self.hub.partition("@")[0] or self.folder.resolve().name))

    @cached_property
    def license(self) -> str:
        """Licence of the weights: what unclip.json says, else the head of the repository's README, else its family."""
        if self.manifest:
            return str(self.manifest.get("license", "unknown"))
        readme = self.folder / "README.md"
        head = readme.read_text(errors="replace").partition("\n---")[0] if readme.is_file() else ""
        match = re.search(r"^license:\s*(\S+)\s*$", head, re.MULTILINE) if head.startswith("---") else None
        if match:
            return match[1]
        return self.family.license if self.index else "unknown"

    @cached_property
    def digest(self) -> str:
        """Names the whole of it, in hex: sha256 of its unclip.json, or over the commit of the Hub; else empty."""
        if self.manifest:
            return digest(self.folder / MANIFEST)
        return combined_digest([self.hub]) if self.hub else ""

    @property
    def caption_template(self) -> str:
        """Template around the captions of a text diff."""
        return str(self.manifest.get("caption_template", self.family.caption_template))

    @property
    def cleaning(self) -> str:
        """Names what captions go through before the tokenizer; empty for nothing."""
        return str(self.manifest.get("cleaning", ""))

    @cached_property
    def vocabulary(self) -> Vocabulary | None:
        """What it was taught to draw, None where it does not say. It makes no other picture, so it is part of
        `digest` and of no `version`. Raises CheckpointError where it is none."""
        return Vocabulary.from_json(self.manifest["vocabulary"]) if "vocabulary" in self.manifest else None

    @cached_property
    def clip_space(self) -> str:
        """Names the CLIP: sha256 over the weights of its encoders, in hex.

        Of a repository without unclip.json it is sha256 over the repository's name and commit: services that read
        other folders than the encoders' have not fetched these. Of one without a CLIP that reads captions it is that of
        the repository that completes it.
        """
        if "clip_space" in self.manifest:
            return str(self.manifest["clip_space"])
        if self._layout is not None and self.lacks("text_encoder") and self.companion is not None:
            return Checkpoint.open(self.companion, ()).clip_space
        if self.hub:
            return combined_digest([self.hub])
        encoders = [self.place(name) for name in ENCODERS if self.has(name)]
        if not encoders:
            self.for_stage("encoder", ())  # says which half is lacking
        return clip_space_of(self.folder, encoders)

    def version(self, folders: Iterable[str]) -> str:
        """sha256 over every file of these components, in hex; over the names where a commit of the Hub holds them.

        With a tokenizer it is over the name of the cleaning too, where there is one: it decides what captions mean.
        """
        if self.hub and not self.manifest:
            return combined_digest([self.hub, *(name for name in folders if self.has(name))])
        listed = self.manifest.get("files", {})
        found = []
        for file in (file for name in folders for file in self.files(name)):
            relative = file.relative_to(self.folder).as_posix()
            found.append(f"{relative} {listed[relative] if relative in listed else digest(file)}")
        if self.cleaning and any("tokenizer/" in path for path in found):
            found.append(f"cleaning {self.cleaning}")
        return combined_digest(found)


@contextmanager
def loading(component: str) -> Iterator[None]:
    """Turns what libraries raise on files they cannot read into a CheckpointError that names the component."""
    try:
        yield
    except (OSError, ValueError, TypeError, LookupError, ArithmeticError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        reason = f"{reason} is missing" if isinstance(error, KeyError) else reason
        raise CheckpointError(f"checkpoint: {component} does not load: {reason}") from error
