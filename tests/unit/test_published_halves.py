"""Families that came in halves, on the Hub and converted: what is fetched, how halves agree, and the same pictures."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from encoder_svc.app import completed, image_checkpoint
from encoder_svc.encoder import Encoder
from tests.kandinsky import DECODER, INPAINT, PRIOR, make_tiny_kandinsky
from tests.karlo import ALPHA
from tests.karlo import LICENSE as KARLOS_LICENSE
from tests.stable_unclip import LARGE, LICENSE, SMALL, make_tiny_stable_unclip
from tests.unit.test_hub import COMMIT, cache, keep
from tests.unit.test_kandinsky import Ours as OurKandinsky
from tests.unit.test_kandinsky import task_of
from tests.unit.test_stable_unclip import Ours as OurStable
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.checkpoints.components import FETCHED, TEXT_FOLDERS
from unclip.checkpoints.convert import convert
from unclip.checkpoints.sources import sources
from unclip.cli.local_checks import weights
from unclip.errors import CheckpointError
from unclip.options import SamplingSettings
from unclip.wire.known import KnownPixels

__all__ = ["cache"]  # a fixture
CPU = torch.device("cpu")
STAGES = ("encoder", "prior", "decoder", "upsampler")
OWNERS = {PRIOR: "kandinsky-community", DECODER: "kandinsky-community", INPAINT: "kandinsky-community"}
OWNERS |= {LARGE: "stabilityai", SMALL: "stabilityai", ALPHA: "kakaobrain"}
FEW = SamplingSettings("ddpm", 4, 3.0)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All repositories side by side; do not write into them."""
    folder = tmp_path_factory.mktemp("published")
    make_tiny_kandinsky(folder)
    make_tiny_stable_unclip(folder)
    return folder


class Hub:
    """Stands in for snapshot_download: files of ``published`` that the patterns name come into a folder of a commit.

    fetched: the folders with weights that a repository was asked for."""

    def __init__(self, published: Path, folder: Path) -> None:
        self.published, self.folder = published, folder
        self.fetched: dict[str, set[str]] = {}
        self.commits = {name: f"{number:040x}" for number, name in enumerate(sorted(OWNERS))}

    def __call__(self, repository: str, **asked: Any) -> str:
        owner, _, name = repository.partition("/")
        assert OWNERS[name] == owner
        assert asked["revision"] in (None, self.commits[name])
        source, snapshot = self.published / name, self.folder / name / self.commits[name]
        paths = [path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()]
        for path in paths:
            wanted = any(fnmatch(path, pattern) for pattern in asked["allow_patterns"])
            if wanted and not any(fnmatch(path, pattern) for pattern in asked["ignore_patterns"]):
                (snapshot / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source / path, snapshot / path)
                if path.endswith((".safetensors", ".bin")):
                    self.fetched.setdefault(name, set()).add(path.partition("/")[0])
        return str(snapshot)


@pytest.fixture
def hub(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    hub = Hub(published, tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
    return hub


def by_name(name: str) -> str:
    return f"{OWNERS[name]}/{name}"


UNETS = {"decoder": {"unet", "movq"}, "upsampler": {"movq"}}
STABLE = {
    "encoder": {"text_encoder", "image_encoder"},  # the decoder's own text encoder has the name that the CLIP's has
    "decoder": {"unet", "vae", "image_normalizer"},
    "upsampler": {"vae"},
}


@pytest.mark.parametrize(
    ("name", "stage", "fetched"),
    [
        *((name, "encoder", {PRIOR: {"text_encoder", "image_encoder"}}) for name in (PRIOR, DECODER, INPAINT)),
        *((name, "prior", {PRIOR: {"prior"}}) for name in (PRIOR, DECODER, INPAINT)),
        *((name, stage, {DECODER: UNETS[stage]}) for name in (PRIOR, DECODER) for stage in UNETS),
        *((INPAINT, stage, {INPAINT: UNETS[stage]}) for stage in UNETS),
        (LARGE, "prior", {}),
        (SMALL, "prior", {ALPHA: {"prior"}}),
        *((name, stage, {name: folders}) for name in (LARGE, SMALL) for stage, folders in STABLE.items()),
        (ALPHA, "decoder", {ALPHA: {"text_proj", "decoder"}}),
        (ALPHA, "upsampler", {ALPHA: {"super_res_first", "super_res_last"}}),
    ],
)
def test_a_service_fetches_the_weights_it_runs_and_no_others(
    hub: Hub, name: str, stage: str, fetched: Mapping[str, set[str]]
) -> None:
    checkpoint = Checkpoint.open_for(stage, by_name(name), FETCHED[stage])
    assert hub.fetched == fetched
    checkpoint.verify([part for part in checkpoint.components(stage) if not checkpoint.lacks(part)])


def test_the_small_ones_captions_are_read_by_karlos_text_encoder_of_which_nothing_else_comes(hub: Hub) -> None:
    checkpoint = Checkpoint.open_for("encoder", by_name(SMALL), FETCHED["encoder"])
    texts = completed(checkpoint, "text_encoder", TEXT_FOLDERS)
    assert texts is not None
    assert hub.fetched == {SMALL: STABLE["encoder"], ALPHA: {"text_encoder"}}
    encoder = Encoder(checkpoint, CPU, texts=texts)
    assert encoder.reads_text
    assert encoder.image_size
    assert image_checkpoint(checkpoint, "") is None  # it has its own


@pytest.mark.parametrize("name", [PRIOR, DECODER, INPAINT, SMALL, LARGE])
def test_all_four_services_speak_of_one_clip_and_another_commit_is_another_version(hub: Hub, name: str) -> None:
    def told() -> tuple[set[str], dict[str, str]]:
        opened = {stage: Checkpoint.open_for(stage, by_name(name), FETCHED[stage]) for stage in STAGES}
        spaces = {each.clip_space for each in opened.values()}
        return spaces, {stage: each.version(each.components(stage)) for stage, each in opened.items()}

    spaces, versions = told()
    assert len(spaces) == 1
    assert len(set(versions.values())) == len(STAGES)
    drawing = DECODER if name == PRIOR else name
    hub.commits[drawing] = "f" * 40
    later = told()[1]
    assert all(later[stage] != versions[stage] for stage in ("decoder", "upsampler"))
    assert (later["prior"] == versions["prior"]) == (name in (PRIOR, DECODER, INPAINT, SMALL))


def test_a_revision_is_of_the_repository_named_and_the_companion_comes_by_its_default(hub: Hub) -> None:
    name = f"{by_name(DECODER)}@{hub.commits[DECODER]}"
    assert Checkpoint.open_for("decoder", name, FETCHED["decoder"]).hub == name
    hub.commits[PRIOR] = "e" * 40
    assert Checkpoint.open_for("prior", name, FETCHED["prior"]).hub == f"{by_name(PRIOR)}@{'e' * 40}"


def test_kept_halves_open_offline_and_one_that_is_not_kept_is_named(cache: Path, published: Path) -> None:
    def keep_half(name: str, *folders: str) -> None:
        keep(cache, published / name, folders, COMMIT, OWNERS[name])

    keep_half(DECODER, "unet", "scheduler", "movq")
    decoder = Checkpoint.open_for("decoder", by_name(DECODER), FETCHED["decoder"])
    decoder.verify(decoder.components("decoder"))
    with pytest.raises(CheckpointError, match=f"no folder {by_name(PRIOR)}, and no repository .*cache has nothing"):
        Checkpoint.open_for("prior", by_name(DECODER), FETCHED["prior"])
    keep_half(PRIOR, "prior", "scheduler")
    prior = Checkpoint.open_for("prior", by_name(DECODER), FETCHED["prior"])
    prior.verify(prior.components("prior"))
    assert prior.clip_space == decoder.clip_space


def pickle(repository: Path) -> None:
    """Leaves a repository's weights as pickles."""
    for path in [*repository.glob("*/*.safetensors")]:
        stem = "pytorch_model" if path.stem == "model" else path.stem
        torch.save(load_file(path), path.with_name(f"{stem}.bin"))
        path.unlink()


@pytest.fixture(scope="module")
def converted(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Each repository with what completes it, converted; those that draw out of pickles."""
    folder = tmp_path_factory.mktemp("converted")
    pickled = Path(shutil.copytree(published, folder / "pickled"))
    for name in (PRIOR, DECODER, SMALL, ALPHA):
        pickle(pickled / name)
    return {name: convert(str(pickled / name), folder / name) for name in (PRIOR, DECODER, INPAINT, LARGE, SMALL)}


@pytest.mark.parametrize(
    ("name", "license", "lacked"),
    [
        (PRIOR, "apache-2.0", set()),
        (DECODER, "apache-2.0", set()),
        (INPAINT, "apache-2.0", set()),
        (LARGE, LICENSE, {"prior", "prior_scheduler"}),
        (SMALL, f"{LICENSE} AND {KARLOS_LICENSE}", set()),
    ],
)
def test_a_converted_folder_has_everything_and_says_so(
    published: Path, converted: Mapping[str, Path], name: str, license: str, lacked: set[str]
) -> None:
    source, made = Checkpoint.open(published / name), Checkpoint.open(converted[name])
    found = sources(made)
    assert {at.folder for at in found.values()} == {made.folder}
    made.verify([*found])
    parts = {part for stage in STAGES for part in made.components(stage)}
    assert parts - {*found} == lacked
    assert {path.name for path in made.folder.iterdir() if path.is_dir()} == {*found}
    assert not [path for path in made.folder.rglob("*") if path.suffix in (".bin", ".pt")]
    assert (made.name, made.license) == (DECODER if name == PRIOR else name, license)
    assert made.sizes == source.sizes is not None
    assert all(made.defaults(stage) == source.defaults(stage) for stage in ("prior", "decoder", "upsampler"))
    assert weights(made.folder).state == "ok"


def test_the_other_half_must_be_there_to_convert(published: Path, tmp_path: Path) -> None:
    alone = shutil.copytree(published / PRIOR, tmp_path / PRIOR)
    with pytest.raises(CheckpointError, match=f"put {DECODER} beside it"):
        convert(str(alone), tmp_path / "made")
    assert not (tmp_path / "made").exists()
    found = weights(alone)
    assert (found.state, f"put {DECODER} beside it" in found.found) == ("fail", True)


def test_doctor_names_the_repositories_that_are_read_together(published: Path) -> None:
    for name, other in ((INPAINT, PRIOR), (SMALL, ALPHA)):
        found = weights(published / name)
        assert (found.state, found.found.partition(": ")[0]) == ("warn", f"{published / name} with {other}")
    assert weights(published / LARGE).found.startswith(f"{published / LARGE}: complete")


@pytest.fixture(params=[DECODER, INPAINT])
def kandinskys(
    request: pytest.FixtureRequest, published: Path, converted: Mapping[str, Path]
) -> Iterator[tuple[OurKandinsky, OurKandinsky]]:
    """The stages over the repositories, and over what they were converted to."""
    made = converted[request.param]
    both = OurKandinsky(published / PRIOR, published / request.param), OurKandinsky(made, made)
    yield both
    for stages in both:
        stages.engine.close()


def test_kandinsky_converted_draws_the_same_picture_bit_for_bit(
    kandinskys: tuple[OurKandinsky, OurKandinsky],
) -> None:
    random = np.random.default_rng(0)
    mask = np.zeros((64, 128), np.bool_)
    mask[:, 64:] = True
    known = KnownPixels(random.uniform(-1, 1, (3, 64, 128)).astype(np.float32), mask)

    def drawn(stages: OurKandinsky) -> list[torch.Tensor]:
        gist, away = stages.embeddings("a red cat", 5, FEW)
        whole = task_of(gist, away, 5, FEW, (64, 64))
        return [gist, away, *stages.pictures(whole, task_of(gist, away, 6, FEW, (128, 64), known=known))]

    ours, theirs = (drawn(stages) for stages in kandinskys)
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("name", [LARGE, SMALL])
def test_stable_unclip_converted_draws_the_same_picture_bit_for_bit(
    published: Path, converted: Mapping[str, Path], name: str
) -> None:
    def drawn(folder: Path) -> list[torch.Tensor]:
        stages = OurStable(folder)
        try:
            text = stages.read("a red cat")
            gist = torch.from_numpy(np.random.default_rng(1).standard_normal(stages.decoder.embedding_dim, np.float32))
            picture = stages.picture(gist, "a red cat", 3, FEW, (64, 64))
        finally:
            stages.engine.close()
        assert text.decoder_states is not None
        return [picture, torch.from_numpy(text.decoder_states), torch.from_numpy(text.embedding.values)]

    ours, theirs = drawn(published / name), drawn(converted[name])
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))
