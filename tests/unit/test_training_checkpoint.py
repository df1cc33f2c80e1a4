"""What the recipe exports: a checkpoint that the services accept, and that says what was trained."""

from __future__ import annotations

import json
import shutil
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from training import decoder_network as decoder
from training import networks, presets, tokenizer
from training.captions import plain_caption, varied_caption
from training.clip import CLEANING, Clip, pixels
from training.embeddings import Examples, encode_texts
from training.export import LARGEST, data_of, export
from training.loop import device
from training.pictures import Pair
from training.pipeline import Pipeline
from training.presets import PRESETS
from training.sources import manifest
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.checkpoints.components import DECODER_FOLDERS, ENCODER_FOLDERS, PRIOR_FOLDERS, UPSAMPLER_FOLDERS
from unclip.errors import CheckpointError
from unclip.local.stack import find_checkpoint
from unclip.options import SamplingSettings

PRESET = PRESETS["smoke"]
SIZE = PRESET.size
FOLDERS = (*ENCODER_FOLDERS, *PRIOR_FOLDERS, *DECODER_FOLDERS, *UPSAMPLER_FOLDERS)


def blob(label: str, style: str, colour: tuple[int, int, int]) -> Pair:
    """A disc on nothing, a little larger in the first style."""
    y, x = np.indices((SIZE, SIZE)) - SIZE // 2
    inside = x**2 + y**2 < (24 if style == "flat" else 23) ** 2
    rgba = np.zeros((SIZE, SIZE, 4), np.uint8)
    rgba[inside] = (*colour, 255)
    return Pair(label, ("round",), style, rgba)


COLOURS = {"red apple": (200, 0, 0), "banana": (250, 220, 0), "dog face": (150, 90, 40), "red heart": (250, 90, 160)}
PAIRS = [blob(label, style, colour) for style in PRESET.styles for label, colour in COLOURS.items()]
CAPTIONS = [plain_caption(pair.label, pair.style) for pair in PAIRS]


@dataclass(frozen=True)
class Exported:
    """A checkpoint of the smoke preset's networks, untrained, and the CLIP it was made from in full precision."""

    folder: Path
    clip: Clip
    words: Any


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("exported")
    (folder / "README.md").write_text("a model card")
    (folder / "thesis").mkdir()
    (folder / "thesis" / "chapter.txt").write_text("mine")
    (folder / "decoder").mkdir()
    (folder / "decoder" / "left_over.bin").write_bytes(b"of an earlier run")
    (folder / "unclip.json").write_text("{}")
    captions = [varied_caption(pair, "blue", Random(seed)) for seed, pair in enumerate(PAIRS)]
    words = tokenizer.train(captions, PRESET.vocabulary, PRESET.context, tmp_path_factory.mktemp("learned"))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        clip = Clip(networks.text_encoder(PRESET, words), networks.image_encoder(PRESET)).eval()
        parts = networks.prior(PRESET), decoder.Decoder(PRESET), networks.upsampler(PRESET)
    before = deepcopy(clip).to(device())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(presets, "pairs", lambda concepts, styles, size, cache: PAIRS)
        export(folder, PRESET, clip, words, *parts)
    return Exported(folder, before, words)


@pytest.fixture
def pipeline(exported: Exported) -> Pipeline:
    return Pipeline(exported.folder, device())


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The preset's pictures without a package to draw them from."""
    monkeypatch.setattr(presets, "pairs", lambda concepts, styles, size, cache: PAIRS)


# The folder.


def test_every_component_is_accepted(exported: Exported) -> None:
    checkpoint = Checkpoint.open(exported.folder)

    checkpoint.verify(FOLDERS)

    assert {path.name for path in exported.folder.iterdir() if path.is_dir()} == {*FOLDERS, "thesis"}
    assert not list(exported.folder.rglob("*.bin"))


def test_weights_are_safetensors_in_half_precision(exported: Exported) -> None:
    weights = sorted(exported.folder.rglob("*.safetensors"))

    assert [file.parent.name for file in weights] == [
        "decoder",
        "image_encoder",
        "prior",
        "super_res_first",
        "text_encoder",
        "text_proj",
    ]
    for file in weights:
        assert {tensor.dtype for tensor in load_file(file).values()} == {torch.float16}, file


def test_an_altered_file_is_noticed(exported: Exported) -> None:
    config = exported.folder / "prior" / "config.json"
    before = config.read_text()
    try:
        config.write_text(before + "\n")
        with pytest.raises(CheckpointError, match="is altered"):
            Checkpoint.open(exported.folder).verify(PRIOR_FOLDERS)
    finally:
        config.write_text(before)


def test_the_manifest_names_licences_preset_and_defaults(exported: Exported) -> None:
    checkpoint = Checkpoint.open(exported.folder)

    assert checkpoint.license == "Apache-2.0 AND MIT"
    assert checkpoint.manifest["preset"] == "smoke"
    assert checkpoint.caption_template == "{}"
    assert checkpoint.cleaning == CLEANING
    assert checkpoint.defaults("prior") == SamplingSettings("ddpm", 2, 1.0)
    assert checkpoint.defaults("upsampler") == SamplingSettings("ddpm", 2, 1.0)


@pytest.mark.usefixtures("drawn")
def test_what_the_weights_have_seen_is_written_beside_them(exported: Exported) -> None:
    taught, held_out = PRESET.pairs()

    data = json.loads((exported.folder / "data.json").read_text())

    assert data["preset"] == "smoke"
    assert data["held_out"] == [pair.key for pair in sorted(held_out, key=lambda pair: pair.key)]
    packages = {package["style"]: package for package in data["packages"]}
    assert set(packages) == {"", *PRESET.styles}
    assert sum(package["taught"] for package in packages.values()) == len(taught)
    assert sum(package["held_out"] for package in packages.values()) == len(held_out)
    assert sum(package["drawn"] for package in packages.values()) == len(taught)
    assert (data["concepts"], data["drawn"], data["teachers"]) == (len(COLOURS), len(COLOURS), [])
    for source in manifest():
        if source.style in packages:
            found = packages[source.style]
            assert (found["version"], found["integrity"]) == (source.version, source.integrity)
            assert (found["license"], found["attribution"]) == (source.license, source.attribution)


def test_the_digest_of_the_data_follows_a_single_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    altered = deepcopy(PAIRS)
    digests = []
    for pairs in (PAIRS, list(reversed(PAIRS)), altered):
        monkeypatch.setattr(presets, "pairs", lambda concepts, styles, size, cache, pairs=pairs: pairs)
        digests.append(data_of(PRESET)["pictures_sha256"])
        taught, _ = PRESET.pairs()
        next(pair for pair in altered if pair.key == taught[0].key).rgba[0, 0, 0] ^= 1

    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_fits_into_a_checkpoint_that_can_be_embedded(name: str, exported: Exported) -> None:
    preset = PRESETS[name]
    words = exported.words
    with torch.device("meta"):
        parts = (
            networks.image_encoder(preset),
            networks.text_encoder(preset, words),
            networks.prior(preset),
            decoder.Decoder(preset),
            networks.upsampler(preset),
            *([networks.student(preset)] if preset.student.steps else []),
        )
    numbers = sum(value.numel() for part in parts for value in part.state_dict().values())
    tokens = (preset.vocabulary + 256 - len(words)) * preset.width  # the smoke preset's tokenizer knows fewer

    files = [path for path in find_checkpoint().rglob("*") if path.is_file()]
    values = [value for path in files if path.suffix == ".safetensors" for value in load_file(path).values()]
    beside = sum(path.stat().st_size for path in files) - sum(value.nbytes for value in values)
    assert 2 * (numbers + tokens) + beside < LARGEST  # beside: what is no weight, of the one that is embedded


def test_a_checkpoint_too_large_to_embed_is_refused(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.export.LARGEST", 1000)
    monkeypatch.setattr(presets, "pairs", lambda concepts, styles, size, cache: PAIRS)
    parts = networks.prior(PRESET), decoder.Decoder(PRESET), networks.upsampler(PRESET)

    shutil.copytree(exported.folder, tmp_path / "before")
    with pytest.raises(RuntimeError, match="has at most"):
        export(tmp_path / "before", PRESET, deepcopy(exported.clip), exported.words, *parts)
    Checkpoint.open(tmp_path / "before").verify(FOLDERS)  # what was there stays
    assert {path.name for path in (tmp_path / "before").iterdir()} == {path.name for path in exported.folder.iterdir()}


def test_what_is_no_part_of_a_checkpoint_survives_the_export(exported: Exported) -> None:
    assert (exported.folder / "README.md").read_text() == "a model card"
    assert (exported.folder / "thesis" / "chapter.txt").read_text() == "mine"


# What was trained is what is loaded.


def test_captions_read_the_same_as_in_training(exported: Exported, pipeline: Pipeline) -> None:
    values, states, mask = encode_texts(exported.clip, exported.words, CAPTIONS)

    found = pipeline.read(CAPTIONS)

    assert np.stack([text.embedding.values for text in found]) == pytest.approx(values.cpu().numpy(), abs=2e-2)
    seen = mask.cpu().numpy()  # what lies behind the mask differs, and nobody looks there
    assert np.stack([text.token_states for text in found])[seen] == pytest.approx(states.cpu().numpy()[seen], abs=2e-2)
    assert (np.stack([text.token_mask for text in found]) == mask.cpu().numpy()).all()
    assert {text.embedding.clip_space for text in found} == {pipeline.checkpoint.clip_space}


@torch.no_grad()
def test_pictures_look_the_same_as_in_training(exported: Exported, pipeline: Pipeline) -> None:
    views = [np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), np.uint8) for seed in range(3)]
    expected = exported.clip.image(pixel_values=pixels(views)).image_embeds.cpu().numpy()

    assert pipeline.see(np.stack(views)) == pytest.approx(expected, abs=2e-2)


@pytest.mark.usefixtures("drawn")
def test_views_for_prior_and_decoder_are_of_taught_pairs_alone(exported: Exported) -> None:
    taught, held_out = PRESET.pairs()

    examples = Examples(PRESET, exported.clip, exported.words)
    data = examples.draw(5, torch.Generator().manual_seed(0))

    assert held_out
    assert examples.pictures == len(taught)
    assert data.image.shape == data.text.shape == (5, PRESET.width)
    assert data.states.shape == (5, PRESET.context, PRESET.width)
    assert data.base.shape == (5, 3, PRESET.base_size, PRESET.base_size)
    assert data.base.abs().max() <= 1
    assert not data.image.requires_grad


# Generating and measuring.


def test_the_same_seed_makes_the_same_picture_and_another_seed_another(pipeline: Pipeline) -> None:
    first = pipeline.generate([CAPTIONS[0]] * 2, seeds=[3, 4])
    again = pipeline.generate([CAPTIONS[0]] * 2, seeds=[3, 4])

    assert first.shape == (2, SIZE, SIZE, 3)
    assert (first == again).all()
    assert (first[0] != first[1]).any()
