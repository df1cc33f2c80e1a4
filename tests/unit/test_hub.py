"""Checkpoints on the Hub: offline, out of the Hub's own cache, and no more of them than a service needs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch

from encoder_svc.app import image_checkpoint
from encoder_svc.encoder import Encoder
from prior_svc.prior import Prior
from tests.karlo import ALPHA, LICENSE, VARIATIONS, make_tiny_karlo
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.checkpoints.components import DECODER_FOLDERS, ENCODER_FOLDERS, IMAGE_FOLDERS, PRIOR_FOLDERS, TEXT_FOLDERS
from unclip.checkpoints.hub import HubId
from unclip.errors import CheckpointError

CPU = torch.device("cpu")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
KARLO = f"kakaobrain/{ALPHA}"


def keep(
    cache: Path, repository: Path, folders: Sequence[str], commit: str = COMMIT, owner: str = "kakaobrain"
) -> Path:
    """Puts ``folders`` of a repository into a Hub cache as a download would: blobs, and links under the commit."""
    home = cache / f"models--{owner}--{repository.name}"
    snapshot, blobs = home / "snapshots" / commit, home / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    (home / "refs").mkdir(exist_ok=True)
    (home / "refs" / "main").write_text(commit)
    files = [path for name in folders for path in (repository / name).iterdir()]
    for path in [*files, repository / "model_index.json", repository / "README.md"]:
        link, blob = snapshot / path.relative_to(repository), blobs / f"{len(list(blobs.iterdir())):040x}"
        link.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, blob)
        link.symlink_to(os.path.relpath(blob, link.parent))
    return snapshot


@pytest.fixture(scope="module")
def karlo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_tiny_karlo(tmp_path_factory.mktemp("karlo"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hub cache, and no network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kakaobrain/karlo-v1-alpha", HubId("kakaobrain/karlo-v1-alpha")),
        ("a/b@main", HubId("a/b", "main")),
        ("a/b@refs/pr/5", HubId("a/b", "refs/pr/5")),
        ("karlo", None),
        ("/kakaobrain/karlo", None),
        ("a/b/c", None),
        ("https://huggingface.co/a/b", None),
    ],
)
def test_an_id_is_an_owner_and_a_name_and_perhaps_a_revision(text: str, expected: HubId | None) -> None:
    assert HubId.parse(text) == expected


def test_a_kept_repository_opens_offline_under_its_own_name(cache: Path, karlo: tuple[Path, Path]) -> None:
    snapshot = keep(cache, karlo[0], PRIOR_FOLDERS)
    checkpoint = Checkpoint.open(KARLO, PRIOR_FOLDERS)
    assert (checkpoint.folder, checkpoint.name, checkpoint.license) == (snapshot, KARLO, LICENSE)
    assert checkpoint.family.name == "Karlo"
    assert Prior(checkpoint, CPU).parameters > 0


def test_services_with_other_folders_of_a_commit_speak_of_one_clip(
    cache: Path, karlo: tuple[Path, Path], tmp_path: Path
) -> None:
    keep(cache, karlo[0], PRIOR_FOLDERS)
    prior = Checkpoint.open(KARLO, PRIOR_FOLDERS)
    shutil.rmtree(cache)
    keep(cache, karlo[0], TEXT_FOLDERS)
    encoder = Checkpoint.open(KARLO, ENCODER_FOLDERS)
    shutil.rmtree(cache)
    keep(cache, karlo[0], PRIOR_FOLDERS, commit="f" * 40)
    later = Checkpoint.open(KARLO, PRIOR_FOLDERS)
    assert prior.clip_space == encoder.clip_space != later.clip_space
    assert prior.version(PRIOR_FOLDERS) != later.version(PRIOR_FOLDERS)
    assert len(prior.clip_space) == len(prior.version(PRIOR_FOLDERS)) == 64


def test_the_image_encoder_comes_from_the_companion_on_the_hub(cache: Path, karlo: tuple[Path, Path]) -> None:
    keep(cache, karlo[0], TEXT_FOLDERS)
    checkpoint = Checkpoint.open(KARLO, ENCODER_FOLDERS)
    assert image_checkpoint(checkpoint, "") is None  # not kept: captions only
    keep(cache, karlo[1], IMAGE_FOLDERS)
    images = image_checkpoint(checkpoint, "")
    assert images is not None
    assert images.name == f"kakaobrain/{VARIATIONS}"
    assert Encoder(checkpoint, CPU, images=images).image_size > 0


def test_an_image_encoder_asked_for_by_name_must_be_there(cache: Path, karlo: tuple[Path, Path]) -> None:
    checkpoint = Checkpoint.open(karlo[0])
    with pytest.raises(CheckpointError, match="no repository to be had"):
        image_checkpoint(checkpoint, "someone/elses")
    with pytest.raises(CheckpointError, match="image_encoder is missing"):
        image_checkpoint(checkpoint, str(karlo[0]))


@pytest.mark.parametrize("source", [KARLO, "checkpoints/nowhere"])
def test_what_is_neither_folder_nor_repository_is_told(cache: Path, source: str) -> None:
    with pytest.raises(CheckpointError, match=f"no folder {source}, and no repository to be had: .*cache has nothing"):
        Checkpoint.open(source)


@pytest.mark.parametrize("folders", [PRIOR_FOLDERS, DECODER_FOLDERS])
def test_a_service_fetches_its_own_folders_and_no_pickles(
    monkeypatch: pytest.MonkeyPatch, karlo: tuple[Path, Path], folders: Sequence[str], tmp_path: Path
) -> None:
    asked: dict[str, Any] = {}
    snapshot = shutil.copytree(karlo[0], tmp_path / COMMIT)

    def snapshot_download(repository: str, **options: Any) -> str:
        asked.update(options, repository=repository)
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    Checkpoint.open(f"{KARLO}@{COMMIT}", folders)
    assert (asked["repository"], asked["revision"]) == (KARLO, COMMIT)
    assert {pattern for pattern in asked["allow_patterns"] if pattern.endswith("/*")} == {
        f"{name}/*" for name in folders
    }
    kept = huggingface_hub.utils.filter_repo_objects(
        [
            "prior/a.safetensors",
            "prior/a.bin",
            "prior/a.fp16.safetensors",
            "decoder/a.safetensors",
            "README.md",
            "x.ckpt",
        ],
        allow_patterns=asked["allow_patterns"],
        ignore_patterns=asked["ignore_patterns"],
    )
    assert set(kept) == {f"{folders[0].replace('text_proj', 'decoder')}/a.safetensors", "README.md"}
