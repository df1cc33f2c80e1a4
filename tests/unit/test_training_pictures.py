"""Training pictures: their words, their pixels, and which of them are held out."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from training import pictures, presets
from training.concepts import CONCEPTS as LEARNED
from training.concepts import STYLES
from training.pictures import Artist, Pair, composite, shrink
from training.presets import PRESETS
from training.sources import Source
from training.split import committed, pairs_of
from unclip.checkpoints.manifest import digest

CONCEPTS = LEARNED.read_text().splitlines()
SIZE = 64
SPLIT = committed("cpu")
assert SPLIT is not None
COMMITTED = sorted(SPLIT.pairs)


def pair(label: str, style: str = "flat") -> Pair:
    return Pair(label, (), style, np.zeros((SIZE, SIZE, 4), np.uint8))


EVERY_PAIR = [pair(label, style) for style in STYLES for label in CONCEPTS]


# Pixels.


def test_a_picture_stands_before_its_background() -> None:
    rgba = np.zeros((SIZE, SIZE, 4), np.uint8)
    rgba[0, 0] = (10, 20, 30, 255)
    rgba[0, 1] = (100, 100, 100, 128)
    rgba[0, 2] = (255, 0, 0, 0)

    shown = composite(rgba, (200, 0, 40))

    assert shown.dtype == np.uint8
    assert shown.shape == (SIZE, SIZE, 3)
    assert shown[0, 0].tolist() == [10, 20, 30]
    assert shown[0, 1].tolist() == [150, 50, 70]
    assert shown[0, 2].tolist() == [200, 0, 40]


def test_shrinking_does_not_darken_the_edge_of_what_is_transparent() -> None:
    large = np.zeros((256, 256, 4), np.uint8)
    large[64:190, 64:190] = 255
    file = io.BytesIO()
    Image.fromarray(large).save(file, "PNG")

    small = shrink(file.getvalue(), SIZE)

    edge = (small[..., 3] > 8) & (small[..., 3] < 248)
    assert small.shape == (SIZE, SIZE, 4)
    assert edge.any()
    assert small[edge][:, :3].min() > 240


def archive(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return path


def source(style: str) -> Source:
    return Source(style or "words", "1.0.0", "", "MIT", "Somebody", style)


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three small packages in the shapes of the real ones: words, drawings, photographs."""
    entries: list[dict[str, Any]] = [
        {"label": "red heart", "hexcode": "2764-FE0F", "group": 0, "tags": ["love"]},
        {"label": "black square", "hexcode": "2B1B", "group": 8},
        {"label": "light skin tone", "hexcode": "1F3FB", "group": 2},
        {"label": "flag: Peru", "hexcode": "1F1F5-1F1EA", "group": 9},
        {"label": "ghost", "hexcode": "1F47B", "group": 0},
    ]
    icons = {
        "width": 32,
        "height": 32,
        "icons": {
            "heart": {"body": '<rect width="16" height="32" fill="#f00"/>'},
            "black-square": {"body": '<rect width="8" height="8" fill="currentColor"/>', "width": 8, "height": 8},
        },
    }
    photograph = io.BytesIO()
    Image.new("RGBA", (256, 256), (0, 0, 255, 255)).save(photograph, "WEBP", lossless=True)
    found = {
        "": archive(tmp_path / "words.tgz", {"en/data.json": json.dumps(entries).encode()}),
        "drawn": archive(
            tmp_path / "drawn.tgz",
            {"icons.json": json.dumps(icons).encode(), "chars.json": json.dumps({"2764": "heart"}).encode()},
        ),
        "seen": archive(tmp_path / "seen.tgz", {"assets/1f47b.webp": photograph.getvalue()}),
    }
    for module in ("training.pictures", "training.sources"):
        monkeypatch.setattr(f"{module}.fetch", lambda wanted: found[wanted.style])
    monkeypatch.setattr(pictures, "manifest", lambda: [source(style) for style in found])


@pytest.mark.usefixtures("packages")
def test_drawings_fill_the_picture_and_keep_their_transparency() -> None:
    draw = Artist(source("drawn"), SIZE)

    heart = draw({"label": "red heart", "hexcode": "2764-FE0F"})
    square = draw({"label": "black square", "hexcode": "2B1B"})

    assert heart is not None
    assert heart[32, 8].tolist() == [255, 0, 0, 255]
    assert heart[32, 56, 3] == 0
    assert square is not None
    assert (square == (0, 0, 0, 255)).all()
    assert draw({"label": "ghost", "hexcode": "1F47B"}) is None


@pytest.mark.usefixtures("packages")
def test_pictures_are_rendered_once_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "data" / "all.npy"

    first = pictures.pairs(None, ("drawn", "seen"), SIZE, cache)
    monkeypatch.setattr(pictures, "render", None)
    again = pictures.pairs(None, ("drawn", "seen"), SIZE, cache)

    assert [item.key for item in first] == ["drawn/red heart", "drawn/black square", "seen/ghost"]
    assert first[0].tags == ("love",)
    assert [item.mirrors for item in first] == [True, False, True]
    assert first[2].rgba[5, 5].tolist() == [0, 0, 255, 255]
    assert [item.key for item in again] == [item.key for item in first]
    assert all((a.rgba == b.rgba).all() for a, b in zip(first, again, strict=True))


@pytest.mark.usefixtures("packages")
def test_pictures_of_other_concepts_or_cut_short_are_rendered_again(tmp_path: Path) -> None:
    cache = tmp_path / "all.npy"
    every = pictures.pairs(None, ("drawn", "seen"), SIZE, cache)
    [heart] = pictures.pairs({"red heart"}, ("drawn", "seen"), SIZE, cache)
    assert heart.key == "drawn/red heart"
    cache.with_suffix(".json").unlink()
    cache.write_bytes(cache.read_bytes()[:100])
    assert [item.key for item in pictures.pairs(None, ("drawn", "seen"), SIZE, cache)] == [item.key for item in every]


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize(
    "harm", ["another", "short", "gone", "words", "other words", "no words", "empty words", "bytes"]
)
def test_pictures_that_are_not_those_that_were_rendered_are_named(harm: str, tmp_path: Path) -> None:
    cache = tmp_path / "all.npy"
    pictures.pairs(None, ("drawn", "seen"), SIZE, cache)
    if harm == "another":
        np.save(cache, 255 - np.load(cache))
    elif harm == "short":
        cache.write_bytes(cache.read_bytes()[:-1])
    elif harm == "gone":
        cache.unlink()
    else:
        told = cache.with_suffix(".json")
        kept = json.loads(whole := told.read_text())
        changed = {
            "words": whole[:-9],
            "other words": whole.replace("love", "hate"),
            "no words": json.dumps({name: value for name, value in kept.items() if name != "words"}),
            "empty words": json.dumps(kept | {"words": []}),
            "bytes": "\udcff" + whole,
        }
        told.write_text(changed[harm], errors="surrogateescape")
    with pytest.raises(RuntimeError, match=r"all\.npy is damaged or was changed; without all\.json beside it"):
        pictures.pairs(None, ("drawn", "seen"), SIZE, cache)


@pytest.mark.usefixtures("packages")
def test_pictures_that_were_kept_without_a_digest_of_their_words_are_rendered_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "all.npy"
    with monkeypatch.context() as former:
        former.setattr(pictures, "KEPT", 1)
        former.setattr(pictures, "sealed", lambda words, file: digest(file))
        first = pictures.pairs(None, ("drawn", "seen"), SIZE, cache)
    told = cache.with_suffix(".json")
    told.write_text(told.read_text().replace("love", "hate"))
    assert pictures.pairs(None, ("drawn", "seen"), SIZE, cache)[0].tags == first[0].tags == ("love",)


@pytest.mark.usefixtures("packages")
def test_only_the_named_concepts_are_rendered(tmp_path: Path) -> None:
    found = pictures.pairs({"red heart"}, ("drawn", "seen"), SIZE, tmp_path / "some.npy")

    assert [item.key for item in found] == ["drawn/red heart"]


# The split.


@pytest.fixture
def every_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    """All concepts of the cpu preset in all its styles, without a pixel drawn."""
    monkeypatch.setattr(presets, "pairs", lambda concepts, styles, size, cache: EVERY_PAIR)


@pytest.mark.usefixtures("every_pair")
def test_held_out_are_the_committed_pairs_and_none_of_them_is_taught() -> None:
    taught, held_out = PRESETS["cpu"].known()

    assert sorted(item.key for item in held_out) == COMMITTED
    assert not {(item.label, item.style) for item in taught} & {(item.label, item.style) for item in held_out}
    assert len(taught) + len(held_out) == len(EVERY_PAIR)


@pytest.mark.usefixtures("every_pair")
def test_a_held_out_concept_is_taught_in_its_other_styles() -> None:
    taught, held_out = PRESETS["cpu"].known()
    labels = [item.label for item in held_out]

    assert len(set(labels)) == len(labels)
    assert set(labels) <= {item.label for item in taught}
    assert {item.style for item in held_out} == set(STYLES)


def test_committed_keys_are_of_the_preset_that_they_stand_under() -> None:
    styles, labels = zip(*(key.split("/", 1) for key in COMMITTED), strict=True)

    assert len(set(COMMITTED)) == len(COMMITTED)
    assert set(styles) <= set(PRESETS["cpu"].styles)
    assert set(labels) <= set(CONCEPTS)


def test_a_split_depends_on_neither_order_nor_hash() -> None:
    backwards = pairs_of(EVERY_PAIR[::-1], 0.1, 0)

    assert pairs_of(EVERY_PAIR, 0.1, 0) == backwards
    assert len(backwards) == pytest.approx(0.1 * len(EVERY_PAIR), abs=1)


def test_a_split_never_takes_the_only_picture_of_a_concept() -> None:
    items = [pair("ghost"), pair("robot"), pair("robot", "noto"), pair("skull"), pair("skull", "noto")]

    taken = pairs_of(items, 1.0, 0)

    assert [key.split("/")[1] for key in taken].count("ghost") == 0
    assert sorted(key.split("/")[1] for key in taken) == ["robot", "skull"]
