"""Source pictures are found by their digests and put back where a recipe left them out."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.unit.client_peer import picture
from unclip.client import Edit, Generate, Interpolate, Recipe, Request, TextDiff, Vary
from unclip.client.recipes import complete, find_sources
from unclip.errors import InvalidRequest
from unclip.wire.images import MAX_BYTES

ONE, OTHER, THIRD = picture(1), picture(2), picture(3)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def recipe(request: Request, *sources: bytes) -> Recipe:
    return Recipe(request, "v1", tuple(digest(source) for source in sources))


def test_sources_are_put_back_by_digest_whatever_their_order() -> None:
    assert complete(recipe(Generate("a cat")), [THIRD]) == Generate("a cat")
    assert complete(recipe(Vary(None, seed=3), ONE), [OTHER, ONE]) == Vary(ONE, seed=3)
    assert complete(recipe(TextDiff(None, "a", "b"), ONE), [ONE]) == TextDiff(ONE, "a", "b")
    assert complete(recipe(Interpolate(None), ONE, OTHER), [OTHER, ONE]) == Interpolate(ONE, OTHER)
    assert complete(recipe(Interpolate(None), ONE, ONE), [ONE]) == Interpolate(ONE, ONE)
    assert complete(recipe(Edit(None, "a cat"), ONE, OTHER), [OTHER, ONE]) == Edit(ONE, "a cat", OTHER)
    assert complete(recipe(Edit(None, "a cat"), ONE), [ONE]) == Edit(ONE, "a cat")
    captioned = Interpolate(None, to_caption="a cat")
    assert complete(recipe(captioned, ONE), [ONE]) == Interpolate(ONE, to_caption="a cat")


def test_every_missing_source_is_named() -> None:
    with pytest.raises(InvalidRequest) as refused:
        complete(recipe(Interpolate(None), ONE, OTHER), [THIRD])
    assert digest(ONE) in str(refused.value)
    assert digest(OTHER) in str(refused.value)


@pytest.mark.parametrize(
    "damaged",
    [
        recipe(Generate("a cat"), ONE),
        recipe(Vary(None)),
        recipe(Edit(None, "a cat")),
        recipe(Edit(None, "a cat"), ONE, OTHER, ONE),
        recipe(Interpolate(None), ONE),
        recipe(Interpolate(None, to_caption="a cat"), ONE, OTHER),
    ],
)
def test_a_recipe_with_too_few_or_too_many_sources_is_damaged(damaged: Recipe) -> None:
    with pytest.raises(InvalidRequest, match="damaged"):
        complete(damaged, [ONE, OTHER])


@pytest.mark.parametrize(
    "several",
    [
        Generate("a cat", image_count=2),
        Generate("a cat", candidates=64),
        Edit(None, "a cat", image_count=16),
        TextDiff(None, "a", "b", thetas=(0.1, 0.2)),
        Interpolate(None, ts=(0.1, 0.2)),
    ],
)
def test_a_recipe_is_of_one_picture(several: Request) -> None:
    with pytest.raises(InvalidRequest, match="recipe: must be of one picture; got one of "):
        complete(recipe(several), [])


def test_sources_are_found_among_files_and_right_inside_folders(tmp_path: Path) -> None:
    (tmp_path / "deeper").mkdir()
    for name, data in (("b.PNG", OTHER), ("a.jpeg", THIRD), ("notes.txt", ONE), ("deeper/one.png", ONE)):
        (tmp_path / name).write_bytes(data)
    wanted = [digest(data) for data in (ONE, OTHER)]
    assert find_sources(wanted, [tmp_path]) == [tmp_path / "b.PNG"]
    assert find_sources(wanted, [tmp_path, tmp_path / "notes.txt"]) == [tmp_path / "b.PNG", tmp_path / "notes.txt"]
    assert find_sources([], [tmp_path]) == []


def test_files_too_large_to_be_sent_are_no_sources(tmp_path: Path) -> None:
    huge = b"\0" * (MAX_BYTES + 1)
    (tmp_path / "huge.png").write_bytes(huge)
    assert find_sources([digest(huge)], [tmp_path]) == []


def test_a_place_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="no such file or folder"):
        find_sources([digest(ONE)], [tmp_path / "nowhere"])


def test_who_needs_no_source_looks_into_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(path: Path) -> None:
        raise PermissionError(path)

    monkeypatch.setattr(Path, "iterdir", closed)
    assert find_sources([], [tmp_path]) == []
