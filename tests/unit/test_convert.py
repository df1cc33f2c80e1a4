"""Pickled weights become safetensors, once and on request; what is no plain file of tensors is refused unexecuted."""

from __future__ import annotations

import os
import pickle
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from prior_svc.prior import Prior
from tests.karlo import make_tiny_karlo
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.checkpoints.components import IMAGE_FOLDERS, OPTIONAL_FOLDERS, PRIOR_FOLDERS, STAGE_FOLDERS
from unclip.checkpoints.convert import convert
from unclip.checkpoints.convert import main as convert_main
from unclip.checkpoints.sources import sources
from unclip.cli import main
from unclip.errors import CheckpointError, ConfigurationError
from unclip.options import SamplingSettings

CPU = torch.device("cpu")
KARLOS = [*(name for folders in STAGE_FOLDERS.values() for name in folders), *OPTIONAL_FOLDERS]


@pytest.fixture(scope="module")
def karlo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Both repositories with their weights as pickles, as many were published."""
    repositories = make_tiny_karlo(tmp_path_factory.mktemp("karlo"))
    for repository in repositories:
        for path in [*repository.glob("*/*.safetensors")]:
            stem = "pytorch_model" if path.stem == "model" else path.stem
            torch.save(load_file(path), path.with_name(f"{stem}.bin"))
            path.rename(repository / f"{path.parent.name}.kept")
    return repositories


def test_every_weight_is_the_same_and_the_result_loads(karlo: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="convert it with unclip convert"):
        Prior(Checkpoint.open(karlo[0]), CPU)
    made = convert(str(karlo[0]), tmp_path / "made")
    for kept in karlo[0].glob("*.kept"):
        [written] = (made / kept.stem).glob("*.safetensors")
        before, after = load_file(kept), load_file(written)
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)
    checkpoint = Checkpoint.open(made)
    checkpoint.verify(list(sources(checkpoint)))
    assert Prior(checkpoint, CPU).parameters > 0
    assert not list(made.rglob("*.bin"))


def test_the_result_says_what_the_source_was_known_for(karlo: tuple[Path, Path], tmp_path: Path) -> None:
    source, made = Checkpoint.open(karlo[0]), Checkpoint.open(convert(str(karlo[0]), tmp_path / "made"))
    assert (made.name, made.license) == (source.name, source.license)
    assert made.defaults("decoder") == source.defaults("decoder") == SamplingSettings("ddpm", 25, 8.0)
    assert not any(made.lacks(name) for name in KARLOS)


def test_another_repositorys_image_encoder_completes_it(karlo: tuple[Path, Path], tmp_path: Path) -> None:
    alone = shutil.copytree(karlo[0], tmp_path / "alone")  # under a name that has no companion
    without = Checkpoint.open(convert(str(alone), tmp_path / "without"))
    assert [name for name in KARLOS if without.lacks(name)] == [*IMAGE_FOLDERS]
    made = Checkpoint.open(convert(str(alone), tmp_path / "made", str(karlo[1])))
    made.verify(KARLOS)


def test_a_student_is_converted_with_what_says_how_it_samples(taught_checkpoint: Path, tmp_path: Path) -> None:
    source, made = (
        Checkpoint.open(taught_checkpoint),
        Checkpoint.open(convert(str(taught_checkpoint), tmp_path / "made")),
    )
    made.verify(made.components("decoder"))
    assert made.components("decoder") == source.components("decoder")
    assert [made.fast(stage) for stage in ("decoder", "upsampler")] == [
        source.fast(stage) for stage in ("decoder", "upsampler")
    ]
    assert made.quality == "fast"
    assert made.version(made.components("decoder")) == source.version(source.components("decoder"))


class Program:
    """What a pickle can do when it is opened by Python's own unpickler."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self._path),)


def test_a_pickle_that_holds_a_program_is_refused_and_the_program_not_run(
    karlo: tuple[Path, Path], tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(karlo[0], tmp_path / "copy"))
    harm = tmp_path / "harm"
    torch.save({"weight": torch.ones(1), "more": Program(harm)}, copy / "prior" / "diffusion_pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"prior/diffusion_pytorch_model\.bin is no file of tensors"):
        convert(str(copy), tmp_path / "made")
    assert not harm.exists()
    with (copy / "prior" / "diffusion_pytorch_model.bin").open("rb") as handle:  # the trap was a real one
        assert b"mkdir" in handle.read()


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps([1, 2])])
def test_a_file_of_anything_else_is_refused(karlo: tuple[Path, Path], tmp_path: Path, content: bytes) -> None:
    copy = Path(shutil.copytree(karlo[0], tmp_path / "copy"))
    (copy / "prior" / "diffusion_pytorch_model.bin").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"diffusion_pytorch_model\.bin"):
        convert(str(copy), tmp_path / "made")


def test_nothing_is_written_over(karlo: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "precious").touch()
    with pytest.raises(ConfigurationError, match="is there already"):
        convert(str(karlo[0]), tmp_path / "made")


def test_the_command_line_converts_and_ends_as_the_conversion_did(
    karlo: tuple[Path, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert", str(karlo[0]), str(tmp_path / "made")]) == 0
    Checkpoint.open(tmp_path / "made").verify(PRIOR_FOLDERS)
    with pytest.raises(SystemExit, match="2"):
        main(["convert", str(karlo[0]), str(tmp_path / "made")])
    assert "is there already" in capfd.readouterr().err


def test_what_a_pickle_wants_is_told_and_no_advice_given_to_let_it(karlo: tuple[Path, Path], tmp_path: Path) -> None:
    copy = Path(shutil.copytree(karlo[0], tmp_path / "copy"))
    torch.save({"more": Program(tmp_path / "harm")}, copy / "prior" / "diffusion_pytorch_model.bin")
    with pytest.raises(CheckpointError) as refused:
        convert(str(copy), tmp_path / "made")
    assert "weights_only" not in str(refused.value)
    assert str(refused.value).endswith(f"it wants {os.mkdir.__module__}.mkdir")


def test_a_legacy_file_is_told_apart_from_a_damaged_one_and_what_is_told_to_do_helps(
    karlo: tuple[Path, Path], tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(karlo[0], tmp_path / "copy"))
    path = copy / "prior" / "diffusion_pytorch_model.bin"
    torch.save(torch.load(path, weights_only=True), path, _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match=r"is in torch's format from before version 1\.6") as refused:
        convert(str(copy), tmp_path / "made")
    exec(str(refused.value).partition("first, with ")[2], {"torch": torch, "path": path})
    Checkpoint.open(convert(str(copy), tmp_path / "made")).verify(PRIOR_FOLDERS)


@pytest.mark.parametrize("name", ["README.md", "prior/config.json", "prior/diffusion_pytorch_model.bin", "prior"])
def test_a_link_that_leads_out_of_the_checkpoint_is_not_followed(
    karlo: tuple[Path, Path], tmp_path: Path, name: str
) -> None:
    copy = Path(shutil.copytree(karlo[0], tmp_path / "copy"))
    private = (copy / name).rename(tmp_path / "private") if (copy / name).exists() else tmp_path / "private"
    private.exists() or private.write_text("a key")
    (copy / name).symlink_to(private)
    with pytest.raises(CheckpointError, match="is a link that leads out of the checkpoint"):
        convert(str(copy), tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_links_of_the_hubs_cache_are_followed_into_it(karlo: tuple[Path, Path], tmp_path: Path) -> None:
    cache = tmp_path / "models--someone--karlo"
    copy = Path(shutil.copytree(karlo[0], cache / "snapshots" / ("0" * 40)))
    (cache / "blobs").mkdir()
    for number, path in enumerate(path for path in copy.rglob("*") if path.is_file()):
        path.rename(cache / "blobs" / str(number))
        path.symlink_to(cache / "blobs" / str(number))
    made = convert(str(copy), tmp_path / "made")
    Checkpoint.open(made).verify(PRIOR_FOLDERS)
    assert not any(path.is_symlink() for path in made.rglob("*"))


def test_a_conversion_that_fails_leaves_nothing(karlo: tuple[Path, Path], tmp_path: Path) -> None:
    copy = Path(shutil.copytree(karlo[0], tmp_path / "copy"))
    last = sorted(copy.glob("super_res_*/*.bin"))[-1]
    last.write_bytes(b"no pickle")
    with pytest.raises(CheckpointError, match="it is damaged, or of another format"):
        convert(str(copy), tmp_path / "made")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy"]


PICKLE = "prior/diffusion_pytorch_model.bin"


@pytest.mark.parametrize(
    "weights",
    [
        pytest.param({"a": torch.zeros(1).expand(10**13)}, id="40 TB of one number"),
        pytest.param({"a": torch.eye(3).to_sparse()}, id="sparse"),
        pytest.param({"a": torch.ones(3, device="meta")}, id="without values"),
        pytest.param({"\ud800": torch.ones(3)}, id="a name that is no text"),
        pytest.param({"__metadata__": torch.ones(3)}, id="a name that means something else"),
    ],
)
def test_tensors_that_safetensors_cannot_hold_are_refused_in_one_line_and_leave_nothing(
    karlo: tuple[Path, Path], tmp_path: Path, weights: dict[str, torch.Tensor]
) -> None:
    copy = Path(shutil.copytree(karlo[0], tmp_path / "copy"))
    torch.save(weights, copy / PICKLE)
    with pytest.raises(CheckpointError, match=r"diffusion_pytorch_model\.bin") as refused:
        convert(str(copy), tmp_path / "made")
    assert "\n" not in str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


@pytest.mark.parametrize("target", ["itself", "nowhere"])
@pytest.mark.parametrize(
    "name",
    ["README.md", "model_index.json", "unclip.json", "prior", "prior/config.json", PICKLE, "prior/x.safetensors"],
)
def test_a_link_that_leads_nowhere_is_no_file_that_is_not_there(
    karlo: tuple[Path, Path], tmp_path: Path, name: str, target: str
) -> None:
    copy = Path(shutil.copytree(karlo[0], tmp_path / "copy"))
    link = copy / name
    if link.exists():
        link.rename(tmp_path / "copy" / "away")
    link.symlink_to(link.name if target == "itself" else "nowhere")
    with pytest.raises(CheckpointError, match=re.escape(str(link))):
        convert(str(copy), tmp_path / "made")
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def test_a_folder_that_is_named_like_weights_does_not_stand_for_them(karlo: tuple[Path, Path], tmp_path: Path) -> None:
    copy = Path(shutil.copytree(karlo[0], tmp_path / "copy"))
    (copy / "prior" / "x.safetensors").mkdir()
    assert (convert(str(copy), tmp_path / "made") / PICKLE).with_suffix(".safetensors").is_file()


def test_a_name_does_not_steer_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["convert", "no/\x1b[2J\nsuch", "target"])
    assert convert_main() == 2
    assert capsys.readouterr().err.rstrip("\n").isprintable()
